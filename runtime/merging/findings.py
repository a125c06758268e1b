"""Findings of several tiles as one list: what two tiles found at one place is one finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from lsd.runtime.bands import PATCH_GSD_M, PATCH_SIZE_PX
from lsd.runtime.merging.ground import MM_PER_M, corners_m, overlap_area, quad_area, transformed
from lsd.runtime.merging.scored_tile import ScoredTile, class_of
from lsd.runtime.scores import LOOK_CLASS, NOTHING_SEEN, POSSIBLE

# Findings of different tiles whose squares overlap by more than this share of the smaller one are the same finding.
SAME_SHARE = 0.5
# Two squares that share more than half have their middles less than a side apart, in any rotation.
_BUCKET_M = PATCH_SIZE_PX * PATCH_GSD_M


@dataclass(frozen=True)
class Finding:
    """A patch decided `slide` or worth a look, the most certain of those that tiles have at its place.

    tile: position in the list of tiles. code: class, of `scores.CLASS_TEXT`. also: ids of the detections of other tiles
    that are the same. n_tiles_seen, n_tiles_slide: tiles with a scored patch, and with a detection, over its middle.
    corners: of its square in the merged CRS, float64 (4, 2).
    """

    tile: int
    row: int
    column: int
    code: int
    also: tuple[str, ...]
    n_tiles_seen: int
    n_tiles_slide: int
    corners: NDArray[np.float64]

    @property
    def is_detection(self) -> bool:
        """Decided `slide`, so that the tile's GeoJSON has it."""
        return self.code >= POSSIBLE

    @property
    def is_disputed(self) -> bool:
        """A tile looked at its middle and has no detection there."""
        return self.n_tiles_slide < self.n_tiles_seen


class _Squares:
    """The squares of all findings of all tiles, in the order of their tiles."""

    def __init__(self, tiles: Sequence[ScoredTile], crs: CRS) -> None:
        self._tiles = tiles
        cells = [np.nonzero(tile.classes >= LOOK_CLASS) for tile in tiles]
        self.tile = np.repeat(np.arange(len(tiles)), [len(rows) for rows, _ in cells])
        self.row = np.concatenate([rows for rows, _ in cells])
        self.column = np.concatenate([columns for _, columns in cells])
        self.certainty = np.concatenate(
            [tile.certainty()[found] for tile, found in zip(tiles, cells, strict=True)], dtype=np.float64
        )
        self.boxes = np.concatenate([tile.boxes(*found) for tile, found in zip(tiles, cells, strict=True)])
        own = [tile.grid.crs for tile in tiles]
        self.merged = self._in(crs, own)
        # corners in every CRS that a tile has, each square transformed once
        self.corners = {tile.crs_name: self._in(tile.grid.crs, own) for tile in tiles}

    def __len__(self) -> int:
        return len(self.tile)

    def _in(self, crs: CRS, own: Sequence[CRS]) -> NDArray[np.float64]:
        corners = corners_m(self.boxes)
        for number, source in enumerate(own):
            corners[self.tile == number] = transformed(corners[self.tile == number], source, crs)
        return corners

    def share(self, one: int, others: NDArray[np.intp]) -> NDArray[np.float64]:
        """Share of the smaller square in each pair that both have, in the CRS of the one."""
        crs_name = self._tiles[self.tile[one]].crs_name
        box = np.repeat(self.boxes[one : one + 1] / MM_PER_M, len(others), axis=0)
        quads = self.corners[crs_name][others]
        own = quad_area(self.corners[crs_name][one : one + 1])
        # a millimetre a side is the resolution of the squares: halves must not flip by rounding
        return np.asarray(np.round(overlap_area(quads, box) / np.minimum(quad_area(quads), own), 9), np.float64)


def findings_of(tiles: Sequence[ScoredTile], crs: CRS) -> list[Finding]:
    """Findings of all tiles, those of different tiles that are the same told once; by tile, row and column.

    The most certain finding (class, then probability) is kept first, and takes those of other tiles that share more
    than `SAME_SHARE` with it; overlapping patches of one tile are never joined. Equals are ordered by the tile's place
    in `tiles`, row and column.
    """
    squares = _Squares(tiles, crs)
    if not len(squares):
        return []
    order = np.lexsort((squares.column, squares.row, squares.tile, -squares.certainty))
    taken = np.zeros(len(squares), bool)
    neighbours = _Neighbours(squares.merged.mean(axis=1))
    kept: dict[int, tuple[str, ...]] = {}
    for one in order.tolist():
        if taken[one]:
            continue
        taken[one] = True
        near = neighbours.of(one)
        near = near[~taken[near] & (squares.tile[near] != squares.tile[one])]
        same = near[squares.share(one, near) > SAME_SHARE] if len(near) else near
        taken[same] = True
        kept[one] = tuple(
            _id(tiles, squares, other) for other in same.tolist() if class_of(squares.certainty[other]) >= POSSIBLE
        )
    chosen = np.array(sorted(kept), np.intp)  # squares are in the order of tile, row, column
    seen, slide = _witnesses(tiles, squares, chosen)
    return [
        Finding(
            tile=int(squares.tile[one]),
            row=int(squares.row[one]),
            column=int(squares.column[one]),
            code=int(class_of(squares.certainty[one])),
            also=tuple(sorted(kept[one])),
            n_tiles_seen=n_seen,
            n_tiles_slide=n_slide,
            corners=squares.merged[one],
        )
        for one, n_seen, n_slide in zip(chosen.tolist(), seen.tolist(), slide.tolist(), strict=True)
    ]


class _Neighbours:
    """Squares by the bucket of their middle."""

    def __init__(self, middles: NDArray[np.float64]) -> None:
        self._bucket = np.floor(middles / _BUCKET_M).astype(np.int64)
        self._found: dict[tuple[int, int], list[int]] = {}
        for number, (x, y) in enumerate(self._bucket.tolist()):
            self._found.setdefault((x, y), []).append(number)

    def of(self, one: int) -> NDArray[np.intp]:
        """Numbers of the squares in the same and in the eight adjacent buckets, ascending."""
        x, y = self._bucket[one].tolist()
        near = [number for i in (-1, 0, 1) for j in (-1, 0, 1) for number in self._found.get((x + i, y + j), ())]
        return np.array(sorted(near), np.intp)


def _id(tiles: Sequence[ScoredTile], squares: _Squares, one: int) -> str:
    cell = int(squares.row[one]), int(squares.column[one])
    return str(tiles[squares.tile[one]].features[cell]["id"])


def _witnesses(
    tiles: Sequence[ScoredTile], squares: _Squares, chosen: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number of tiles with a scored patch, and with a detection, over the middle of each square: intp (n,) both."""
    seen, slide = np.zeros(len(chosen), np.intp), np.zeros(len(chosen), np.intp)
    for number, tile in enumerate(tiles):
        middles = squares.corners[tile.crs_name][chosen].mean(axis=1)
        codes = class_of(tile.certainty_at(middles)[0])
        own = squares.tile[chosen] == number
        seen += own | (codes >= NOTHING_SEEN)
        slide += codes >= POSSIBLE
    return seen, slide
