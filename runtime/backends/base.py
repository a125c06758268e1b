"""What every encoder backend takes and gives: a graph of the bundle in, a session out.

A backend module offers one function, `open_session(graph, options) -> EncoderSession`; `registry` finds it by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

if TYPE_CHECKING:  # `--help` reads the names of precisions here
    import numpy as np
    from numpy.typing import NDArray

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class EncoderGraph:
    """One ONNX graph of a bundle, its hash checked when it was read.

    name: how messages call it, e.g. `bundle: encoders/all-net.0.fp16.onnx`. content: the ONNX file. external: name in
    the graph -> bytes of the data files beside it (only above 2 GiB). sha256: of `content`, hexadecimal. bands: names
    in the order of the graph's input. precision: what the graph is to compute in; input and output are float32 at each.
    """

    name: str
    content: bytes = field(repr=False)
    external: dict[str, bytes] = field(repr=False)
    sha256: str
    bands: tuple[str, ...]
    precision: Precision


@dataclass(frozen=True)
class SessionOptions:
    """How to open a graph; None is the library's default.

    threads: of the CPU, inside one call. provider: of ONNX Runtime, `cpu`, `cuda` or `tensorrt`. engines: folder of the
    engine cache (TensorRT backend only).
    """

    threads: int | None = None
    provider: str = "cpu"
    engines: Path | None = None


class EncoderSession(Protocol):
    """An opened graph. Not for two threads at once: a backend may reuse its buffers between calls."""

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,) of raw patches float32 (n, band, 64, 64), NaN where invalid, n >= 1.

        Raises:
            UsageError: another dtype or shape, or no patch at all.
        """
        ...

    def start(self, patches: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """Begin what `run` does, and return a function, to be called once, that waits and gives the logits.

        A device works meanwhile; a CPU has done it when this returns. Two calls may be under way, and are to be ended
        in their order; `patches` may be changed at once.

        Raises:
            UsageError: as `run`.
        """
        ...

    def describe(self) -> dict[str, str]:
        """Backend, version, device, precision as really used, threads and the like, for reports."""
        ...

    def close(self) -> None:
        """Release the session's memory; `run` must not be called again."""
        ...
