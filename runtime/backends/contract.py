"""The contract of an encoder graph, checked: what goes in, what comes out, and under which names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import BundleError, UsageError

INPUT = "patches"
OUTPUT = "logit"


def checked_patches(patches: NDArray[Any], graph: EncoderGraph) -> NDArray[np.float32]:
    """The patches, C-contiguous.

    Raises:
        UsageError: not float32 (n, band, 64, 64) with the bands of the graph, or n is 0.
    """
    expected = (len(graph.bands), PATCH_SIZE_PX, PATCH_SIZE_PX)
    if patches.dtype != np.float32 or patches.ndim != 4 or patches.shape[1:] != expected or len(patches) == 0:
        raise UsageError(
            f"{graph.name}: expected patches float32 (n, {', '.join(map(str, expected))}) with n >= 1 and the bands "
            f"{', '.join(graph.bands)}, found {patches.dtype} {patches.shape}"
        )
    return np.ascontiguousarray(patches)


def require_contract(graph: EncoderGraph, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    """Refuse a graph whose ends are not those of the contract.

    Args:
        inputs, outputs: name -> `type (shape)` as the library reads them; the first axis of a shape is the batch and is
            not looked at.
    Raises:
        BundleError: other names, types or shapes.
    """
    expected = [
        {INPUT: described("float32", ("n", len(graph.bands), PATCH_SIZE_PX, PATCH_SIZE_PX))},
        {OUTPUT: described("float32", ("n",))},
    ]
    if [inputs, outputs] != expected:
        raise BundleError(
            f"{graph.name}: expected the input {_listed(expected[0])} and the output {_listed(expected[1])}, found "
            f"{_listed(inputs)} and {_listed(outputs)}; export the bundle again"
        )


def described(dtype: str, shape: tuple[Any, ...]) -> str:
    """`float32 (n, 12, 64, 64)`; whatever the first axis is called, it is `n`."""
    return f"{dtype} ({', '.join(['n', *map(str, shape[1:])])})" if shape else f"{dtype} scalar"


def _listed(ends: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in ends.items()) or "none"
