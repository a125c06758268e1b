"""Cloud layers: which classes hide the ground, and whether a layer belongs to the optical bands it came with.

SCL is the scene classification of Sentinel-2 Level-2A (ESA Sentinel-2 Level-2A ATBD, table of classes): 0 no data, 1
saturated, 2 dark or cast shadow of terrain, 3 cloud shadow, 4 vegetation, 5 bare, 6 water, 7 unclassified, 8 and 9
cloud of medium and high probability, 10 cirrus, 11 snow. A `mask` is that of CloudSEN12 as Major TOM stores it: 0
clear, 1 thick cloud, 2 thin cloud, 3 shadow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.projection import placed_bounds
from lsd.runtime.tiles import CloudKind, CloudLayer, Decision, Grid

INVALID: dict[CloudKind, tuple[int, ...]] = {"scl": (0, 1, 3, 8, 9, 10, 11), "mask": (1, 2, 3)}
LARGEST: dict[CloudKind, int] = {"scl": 11, "mask": 3}


def cloud_layer(
    path: Path, index: int, kind: CloudKind, grid: Grid, values: NDArray[np.float64], optical: Grid
) -> tuple[CloudLayer, Decision]:
    """The layer as the reader needs it; whether it is to be believed is told later, by the pixels it calls clear.

    Args:
        index: 1-based band of the file.
        grid: of the layer; 10, 20 and 60 m are ordinary.
        values: float64 (n,), a sample, NaN where it is declared nodata.
        optical: grid of the optical bands.
    Raises:
        TileError: another outline than the optical bands, or values that are no classes of this kind.
    """
    _refuse_other_size(path, kind, grid, optical)
    known = values[np.isfinite(values)]
    strange = known[(known < 0) | (known > LARGEST[kind]) | (known != np.rint(known))]
    if strange.size:
        raise TileError(
            f"{path} is no {kind} layer: classes 0..{LARGEST[kind]} expected, found {strange[0]:g}; give the right "
            "file, or state its kind in a tile file"
        )
    hidden = float(np.isin(known, INVALID[kind]).mean()) if known.size else 1.0
    reason = f"classes {', '.join(map(str, INVALID[kind]))} hide the ground: {hidden:.0%} of its sampled pixels"
    choice = f"masked by the {kind.upper()} layer {path.name}"
    return CloudLayer(path, index, kind, INVALID[kind]), Decision("clouds", choice, reason)


def _refuse_other_size(path: Path, kind: CloudKind, grid: Grid, optical: Grid) -> None:
    """Raise TileError unless both outlines agree to within a pixel of the coarser one.

    A layer in another CRS cannot have the same outline: it has to hold that of the optical bands.
    """
    ours, theirs = _outline(grid), _outline(optical)
    placed = placed_bounds(path, optical.crs, grid.crs, theirs)
    tolerance = 1.01 * max(*_pixel(ours, grid), *_pixel(placed, optical))
    beyond = [sign * (b - a) for a, b, sign in zip(ours, placed, (-1, -1, 1, 1), strict=True)]  # > 0: layer too small
    if max(beyond) > tolerance or (grid.crs == optical.crs and min(beyond) < -tolerance):
        raise TileError(
            f"{path}: the {kind} layer covers {_numbers(ours)} ({grid.width_px} x {grid.height_px} px), the optical "
            f"bands {_numbers(placed)} ({optical.width_px} x {optical.height_px} px): it belongs to another scene or "
            "was cut; fetch the layer of this product, or remove it"
        )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.10g}" for value in values)


def _outline(grid: Grid) -> tuple[float, float, float, float]:
    """Left, bottom, right, top in the grid's CRS."""
    left, top = grid.ground(0, 0)
    right, bottom = grid.ground(grid.width_px, grid.height_px)
    return left, bottom, right, top


def _pixel(outline: tuple[float, float, float, float], grid: Grid) -> tuple[float, float]:
    """Width and height of a pixel in the CRS of an outline."""
    left, bottom, right, top = outline
    return abs(right - left) / grid.width_px, abs(top - bottom) / grid.height_px
