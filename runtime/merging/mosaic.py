"""One grid over several tiles: the most certain class at each place, and how many tiles looked there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from lsd.runtime.bands import PATCH_GSD_M, PATCH_SIZE_PX
from lsd.runtime.ingest.projection import placed_bounds
from lsd.runtime.merging.ground import MM_PER_M, transformed
from lsd.runtime.merging.scored_tile import ScoredTile, class_of
from lsd.runtime.scores import LOOK_CLASS, NOTHING_SEEN, POSSIBLE

# Tiles of Sentinel-2 lie 100 km apart, 10,000 px of 10 m: their grids of 64 px patches differ by multiples of 16 px.
CELL_PX = 16
CELL_M = CELL_PX * PATCH_GSD_M
MAX_CELLS = 2**23  # a larger mosaic has cells of twice the side, and so on


@dataclass(frozen=True)
class Mosaic:
    """Cells (y, x) in one CRS.

    certainty: float64, see `ScoredTile.certainty`; 0 not observed. n_tiles: tiles that have the cell's middle, 0
    outside of all; n_tiles_seen, n_tiles_slide: of these, with a scored patch and with a detection there; all uint16.
    """

    crs: CRS
    transform: Affine
    certainty: NDArray[np.float64]
    n_tiles: NDArray[np.uint16]
    n_tiles_seen: NDArray[np.uint16]
    n_tiles_slide: NDArray[np.uint16]

    @property
    def cell_m(self) -> float:
        """Side of a cell in metres."""
        return float(self.transform.a)

    def classes(self) -> NDArray[np.uint8]:
        """uint8 (y, x), codes of `scores.CLASS_TEXT`; 0 also outside of all tiles."""
        return class_of(self.certainty)

    def unseen_rings(self) -> Iterator[NDArray[np.float64]]:
        """Closed rings (n, 5, 2) in the CRS around the cells inside a tile that none looked at, joined along a row."""
        unseen = (self.n_tiles > 0) & (self.n_tiles_seen == 0)
        steps = np.diff(np.pad(unseen, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(steps == 1)
        ends = np.nonzero(steps == -1)[1]
        t = self.transform
        left, right = t.c + t.a * starts, t.c + t.a * ends
        top, bottom = t.f + t.e * rows, t.f + t.e * (rows + 1)
        x, y = np.stack([left, left, right, right, left], 1), np.stack([top, bottom, bottom, top, top], 1)
        yield np.stack([x, y], axis=2)


def mosaic_of(tiles: Sequence[ScoredTile], crs: CRS) -> Mosaic:
    """All tiles on one grid of cells of `CELL_M`, twice that and so on above `MAX_CELLS` cells.

    A cell takes what the patches over its middle say; a finding also marks the cell of its own middle, so that none is
    lost where cells are larger than patches. The grid begins on the lattice of the westernmost, then northernmost tile
    of that CRS.
    """
    bounds = [_bounds(tile, crs) for tile in tiles]
    transform, height, width = _grid(tiles, crs, bounds)
    found = Mosaic(
        crs,
        transform,
        np.zeros((height, width), np.float64),
        *(np.zeros((height, width), np.uint16) for _ in range(3)),
    )
    for tile, (left, bottom, right, top) in zip(tiles, bounds, strict=True):
        rows = np.arange(*_range((transform.f - top) / transform.a, (transform.f - bottom) / transform.a, height))
        columns = np.arange(*_range((left - transform.c) / transform.a, (right - transform.c) / transform.a, width))
        _add(found, tile, rows, columns)
    return found


def _add(mosaic: Mosaic, tile: ScoredTile, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
    """Look up one tile in the cells where these rows and columns meet."""
    t = mosaic.transform
    east = np.broadcast_to(t.c + t.a * (columns + 0.5), (len(rows), len(columns)))
    north = np.broadcast_to((t.f + t.e * (rows + 0.5))[:, None], east.shape)
    middles = transformed(np.stack([east, north], axis=2).reshape(-1, 2), mosaic.crs, tile.grid.crs)
    found_there, within = tile.certainty_at(middles)
    certainty, inside = found_there.reshape(east.shape), within.reshape(east.shape)
    if mosaic.cell_m > PATCH_SIZE_PX * tile.grid.gsd_m:
        found = np.nonzero(tile.classes >= LOOK_CLASS)
        squares = tile.boxes(*found) / MM_PER_M
        own = transformed((squares[:, :2] + squares[:, 2:]) / 2, tile.grid.crs, mosaic.crs)
        x = np.clip(np.floor((own[:, 0] - t.c) / t.a).astype(np.intp) - columns[0], 0, len(columns) - 1)
        y = np.clip(np.floor((own[:, 1] - t.f) / t.e).astype(np.intp) - rows[0], 0, len(rows) - 1)
        np.maximum.at(certainty, (y, x), tile.certainty()[found])
        inside[y, x] = True
    codes = class_of(certainty)
    here = np.ix_(rows, columns)
    mosaic.certainty[here] = np.maximum(mosaic.certainty[here], certainty)
    mosaic.n_tiles[here] += inside
    mosaic.n_tiles_seen[here] += codes >= NOTHING_SEEN
    mosaic.n_tiles_slide[here] += codes >= POSSIBLE


def _bounds(tile: ScoredTile, crs: CRS) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a tile in metres of a CRS."""
    left, bottom, right, top = (float(edge) for edge in tile.outline()[0] / MM_PER_M)
    return placed_bounds(tile.folder, tile.grid.crs, crs, (left, bottom, right, top))


def _grid(
    tiles: Sequence[ScoredTile], crs: CRS, bounds: Sequence[tuple[float, float, float, float]]
) -> tuple[Affine, int, int]:
    """Transform, height and width of the mosaic."""
    own = [tile.outline()[0] / MM_PER_M for tile in tiles if tile.grid.crs == crs]
    west, _, _, north = min(own, key=lambda box: (box[0], -box[3]))
    corners = np.array(bounds)
    left, bottom, right, top = corners[:, 0].min(), corners[:, 1].min(), corners[:, 2].max(), corners[:, 3].max()
    cell = CELL_M
    while True:
        before, above = np.ceil((west - left) / cell), np.ceil((top - north) / cell)
        x0, y0 = west - before * cell, north + above * cell
        width, height = max(int(np.ceil((right - x0) / cell)), 1), max(int(np.ceil((y0 - bottom) / cell)), 1)
        if width * height <= MAX_CELLS:
            return Affine(cell, 0, float(x0), 0, -cell, float(y0)), height, width
        cell *= 2


def _range(first: float, last: float, size: int) -> tuple[int, int]:
    """Whole cells from the one that holds `first` to the one that holds `last`; never empty within the grid."""
    start = min(max(int(np.floor(first)), 0), size - 1)
    return start, max(min(int(np.ceil(last)), size), start + 1)
