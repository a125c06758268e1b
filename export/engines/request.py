"""What is to be built, as the parent hands it to the child process and as it is left behind after a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from lsd.runtime.backends.base import PRECISIONS, EncoderGraph, Precision
from lsd.runtime.errors import BundleError, UsageError

GRAPH_NAME = "graph.onnx"
BATCHES = (1, 8, 32)  # patches: one tile's rest, a row of windows, a full batch


@dataclass(frozen=True)
class EngineRequest:
    """One plan to build.

    name: of the plan's file, without its key. onnx: the graph, as bytes or as a file.
    external: name in the graph -> bytes of its external data. precision: that the graph claims to have; checked.
    batch: least, best and most patches in one call. memory_limit_mb: of the builder's scratch memory, MiB; None is the
    library's default. timing_cache: file of measured timings, None for the one in the engine folder.
    """

    name: str
    onnx: Path | bytes = field(repr=False)
    precision: Precision
    batch: tuple[int, int, int] = BATCHES
    memory_limit_mb: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    timing_cache: Path | None = None
    external: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        low, best, high = self.batch
        if not 1 <= low <= best <= high:
            raise UsageError(f"batch sizes must rise from 1 on, as in 1,8,32; found {low},{best},{high}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}; found {self.precision!r}")
        if self.memory_limit_mb is not None and self.memory_limit_mb < 1:
            raise UsageError(f"the memory limit must be at least 1 MiB, found {self.memory_limit_mb}")
        for name in self.external:
            if PurePosixPath(name).name != name:
                raise BundleError(f"{self.name}: its external data {name!r} leaves the folder; do not trust this graph")

    def content(self) -> bytes:
        """The ONNX file; raises UsageError if it cannot be read."""
        if isinstance(self.onnx, bytes):
            return self.onnx
        try:
            return self.onnx.read_bytes()
        except OSError as error:
            raise UsageError(f"{self.onnx}: cannot be read ({error.strerror})") from error

    def options(self) -> dict[str, object]:
        """What changes a plan beyond its key, for the report."""
        return {"memory_limit_mb": self.memory_limit_mb}

    def to_json(self, timing_cache: Path | None) -> str:
        """The request file of the child process; the graph lies beside it as graph.onnx."""
        stored = {key: value for key, value in asdict(self).items() if key not in ("onnx", "external")}
        return json.dumps({**stored, "timing_cache": timing_cache and str(timing_cache)}, indent=1) + "\n"


def request_from_file(path: Path) -> EngineRequest:
    """Read a request file; `onnx` is the graph beside it."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    cache = stored["timing_cache"]
    changed = {"batch": tuple(stored["batch"]), "timing_cache": Path(cache) if cache else None}
    return EngineRequest(**{**stored, **changed}, onnx=path.with_name(GRAPH_NAME))


def request_of(graph: EncoderGraph, name: str, batch: tuple[int, int, int] = BATCHES) -> EngineRequest:
    """The request for a graph of a bundle; `dataclasses.replace` adds options."""
    return EngineRequest(name, graph.content, graph.precision, batch, external=graph.external)
