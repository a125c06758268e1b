"""A look at a tile before it is scored: can its cloud layer be believed, do its pixels look like those of training?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.haze import HAZE_WARNING_SHARE, hazy_share
from lsd.runtime.ingest import plausibility
from lsd.runtime.reader import TileReader
from lsd.runtime.tiles import Decision, Tile

WINDOWS = 4  # by as many, spread evenly over the tile, of a patch each


def inspected(tile: Tile) -> Tile:
    """The tile with what a sample of its pixels tells: warnings, and a cloud layer that is trusted or not.

    Raises:
        TileError: a file cannot be read, or the data prove a fault (a difference that is 0 throughout).
    """
    samples = sampled(tile)
    warnings: list[str] = []
    decisions: list[Decision] = []
    layer = tile.clouds
    if {"red", "blue"} <= set(samples):
        share = hazy_share(samples["red"], samples["blue"])
        hazy = share >= HAZE_WARNING_SHARE
        if layer is not None:
            layer = replace(layer, trusted=not hazy)
            reason = f"{share:.0%} of what it calls clear is bright as cloud, haze or snow in a sample of the tile"
            choice = "not believed: the haze test stays in force" if hazy else "believed"
            decisions.append(Decision("cloud layer", choice, reason))
        if hazy:
            of = "what its cloud layer calls clear" if layer else "the scene"
            warnings.append(
                f"{share:.0%} of {of} is bright as cloud, haze or snow: look at the picture before trusting it"
            )
    warnings += plausibility.warnings_of(samples, f"tile {tile.id}")
    return replace(tile, clouds=layer, warnings=(*tile.warnings, *warnings), decisions=(*tile.decisions, *decisions))


def sampled(tile: Tile) -> dict[str, NDArray[np.float64]]:
    """Canonical name -> float64 (n,) of the same pixels in canonical units, NaN where invalid or marked by clouds.

    16 windows of a patch, spread over the tile; they overlap in a small one.
    """
    height, width = min(PATCH_SIZE_PX, tile.grid.height_px), min(PATCH_SIZE_PX, tile.grid.width_px)
    places = [(y, x) for y in _starts(tile.grid.height_px, height) for x in _starts(tile.grid.width_px, width)]
    with TileReader(tile) as reader:
        parts = [reader.read(y, x, height, width)[0].reshape(len(reader.bands), -1) for y, x in places]
        pixels = np.concatenate(parts, axis=1).astype(np.float64)
        return dict(zip(reader.bands, pixels, strict=True))


def _starts(size_px: int, window_px: int) -> list[int]:
    """Where windows begin along one axis."""
    most = size_px - window_px
    return sorted({round(most * (i + 0.5) / WINDOWS) for i in range(WINDOWS)}) if most > 0 else [0]
