"""A look at a tile before it is scored: can its cloud layer be believed, do its pixels look like those of training?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.acquisition.clouds import bright_share
from lsd.runtime.acquisition.finding import Force
from lsd.runtime.acquisition.gate import Verdict, decisions_of, judged, refuse_certain
from lsd.runtime.acquisition.ranges import Ranges
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.haze import HAZE_WARNING_SHARE
from lsd.runtime.reader import TileReader
from lsd.runtime.tiles import CloudLayer, Decision, Tile

WINDOWS = 4  # by as many, spread evenly over the tile, of a patch each


@dataclass(frozen=True)
class Inspection:
    """What a look at a tile gave.

    tile: with warnings, decisions and a cloud layer that is trusted or not. samples: as `sampled` gives them. verdict:
    what the checks found.
    """

    tile: Tile
    samples: Mapping[str, NDArray[np.float64]]
    verdict: Verdict


def inspection(tile: Tile, force: Force = False, ranges: Ranges | None = None) -> Inspection:
    """Look at a sample of a tile.

    Args:
        force: checks whose certain faults do not refuse the tile: names, or True for all; kept in its decisions.
        ranges: of the bundle's training card (`lsd.runtime.acquisition.ranges.ranges_of`), None if it has none.
    Raises:
        TileError: a file cannot be read, or the data prove a fault (a difference that is 0 throughout) that is not
            forced; the message names the check.
    """
    samples = sampled(tile)
    scene = SampledScene(samples, tile.clouds is not None)
    verdict = judged(scene, ranges)
    refuse_certain(verdict, f"tile {tile.id}", force)
    layer, decisions = _clouds(tile.clouds, scene)
    seen = replace(
        tile,
        clouds=layer,
        warnings=(*tile.warnings, *verdict.warnings),
        decisions=(*tile.decisions, *decisions, *decisions_of(verdict, force)),
    )
    return Inspection(seen, samples, verdict)


def _clouds(layer: CloudLayer | None, scene: SampledScene) -> tuple[CloudLayer | None, list[Decision]]:
    """The layer, trusted or not by how bright it is where it says clear, and that decision."""
    share = bright_share(scene)
    if layer is None or share is None:
        return layer, []
    hazy = share >= HAZE_WARNING_SHARE
    reason = f"{share:.0%} of what it calls clear is bright as cloud, haze or snow in a sample of the tile"
    choice = "not believed: the haze test stays in force" if hazy else "believed"
    return replace(layer, trusted=not hazy), [Decision("cloud layer", choice, reason)]


def sampled(tile: Tile) -> dict[str, NDArray[np.float64]]:
    """Canonical name -> float64 (n,) of the same pixels in canonical units, NaN where invalid or marked by clouds.

    16 windows of a patch, spread over the tile, row by row; they overlap in a small one.
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
