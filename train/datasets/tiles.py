"""Patches cut from georeferenced tiles, labelled by what is known of the ground under them."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import PATCH_SIZE_PX, in_order
from lsd.runtime.errors import LsdError, PatchFileError, SourceError, TableError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import TileReader, patch_batches, read_windows
from lsd.runtime.sources import TileFailure, tiles_of
from lsd.runtime.tiles import Tile
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.ground_labels import SLIDE, UNKNOWN, GroundLabels
from lsd.train.datasets.label_rule import LabelRule
from lsd.train.datasets.shared_ground import groups_of_tiles

OPEN_TILES = 4  # a thread keeps open
TOO_LITTLE, NOT_KNOWN, HIDDEN = "with too little slide for either label", "of unknown label", "not valid enough"

_log = logging.getLogger(__name__)

Cell = tuple[int, int, int]  # row, column in the tile's patch grid, label


def tile_dataset(
    folder: Path,
    ground: GroundLabels,
    rule: LabelRule | None = None,
    strict: bool = False,
    advance: Callable[[int], object] = lambda n: None,
) -> PatchDataset:
    """The patches of the regular 64 px grid of all tiles in a folder that the rule can label: `TILE_r012_c034`.

    Tiles are read as lsd-run reads them: once now, to see which patches are valid, then patch by patch when asked for.
    None is held in memory. Bands are those that all tiles have. Groups are tiles, those on common ground together.
    Events are the event times of tile files, where all tiles state one. What is left out is told by the log.

    Args:
        rule: None is the default rule.
        strict: a tile that cannot be used is an error; else it is told and left out.
        advance: called with the number of patches looked at.
    Raises:
        SourceError: no tile can be used. TableError: no band is in all tiles, or all labels are the same.
        LsdError: `strict`, and a tile or its labels cannot be used.
    """
    rule = rule or LabelRule()
    tiles = _with_common_bands(_tiles_in(folder, strict))
    left_out: Counter[str] = Counter()
    used: list[Tile] = []
    failed: list[LsdError] = []
    cells: list[list[Cell]] = []
    for tile in tiles:
        try:
            found, others = _labelled(tile, ground, rule, advance)
        except LsdError as error:
            if strict:
                raise
            failed.append(error)
            _log.warning("tile %s left out: %s", tile.id, error)
            continue
        used.append(tile)
        cells.append(found)
        left_out += others
    if not used:
        raise SourceError(f"{folder}: none of {len(tiles)} tiles can be used; the first: {failed[0]}")
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        _log.warning(
            "%d of %d patches left out: %s", left_out.total(), left_out.total() + sum(map(len, cells)), reasons
        )
    return _dataset(f"{folder.name} labelled by {ground.name}", used, cells)


def _dataset(source: str, tiles: Sequence[Tile], cells: Sequence[Sequence[Cell]]) -> PatchDataset:
    groups = groups_of_tiles([tile.id for tile in tiles], [tile.grid for tile in tiles])
    times = [tile.event_time for tile in tiles]
    which = [i for i, found in enumerate(cells) for _ in found]
    places = np.array([cell for found in cells for cell in found], np.int32).reshape(-1, 3)
    ids = tuple(f"{tiles[i].id}_r{row:03d}_c{column:03d}" for i, (row, column, _) in zip(which, places, strict=True))
    labels = places[:, 2].astype(np.int8)
    if not len(labels) or labels.min() == labels.max():
        found = f"all {len(labels)} labels are {labels[0]}" if len(labels) else "no patch has a label"
        raise TableError(f"{source}: {found}; training needs both classes")
    listing = "\n".join(f"{name},{label}" for name, label in zip(ids, labels, strict=True))
    return PatchDataset(
        ids=ids,
        labels=labels,
        bands=in_order(tiles[0].bands),
        reader=_PatchReader(tiles, np.array(which, np.int32), places[:, :2]),
        source=source,
        sha256=hashlib.sha256(listing.encode()).hexdigest(),
        groups=tuple(groups[i] for i in which),
        events=None if None in times else tuple(str(times[i]) for i in which),
    )


def _tiles_in(folder: Path, strict: bool) -> list[Tile]:
    tiles: list[Tile] = []
    failures: list[TileFailure] = []
    for found in tiles_of([folder]):
        if isinstance(found, Tile):
            tiles.append(found)
        elif strict:
            raise found.error
        else:
            failures.append(found)
            _log.warning("tile %s left out: %s", found.id, found.error)
    if not tiles:
        raise SourceError(f"{folder}: no tile can be used; the first: {failures[0].error}")
    return tiles


def _with_common_bands(tiles: Sequence[Tile]) -> list[Tile]:
    """The tiles with the bands that all have: a forest must not learn which tile lacks what."""
    common = set(tiles[0].bands).intersection(*(tile.bands for tile in tiles))
    others = in_order({band for tile in tiles for band in tile.bands} - common)
    if not common:
        raise TableError(f"no band is in all {len(tiles)} tiles; train on tiles of the same bands")
    if others:
        _log.warning("bands %s left out: not all %d tiles have them", ", ".join(others), len(tiles))
    return [replace(tile, bands={name: tile.bands[name] for name in in_order(common)}) for tile in tiles]


def _labelled(
    tile: Tile, ground: GroundLabels, rule: LabelRule, advance: Callable[[int], object]
) -> tuple[list[Cell], Counter[str]]:
    """The patches of a tile with their labels, and how many are left out for what reason; one row at a time.

    Patches that would have to be shifted inward to fit the tile are none of the regular grid.
    """
    grid = PatchGrid(tile.grid.width_px, tile.grid.height_px)
    bands = in_order(tile.bands)
    pixel_m2 = tile.grid.gsd_m**2
    found: list[Cell] = []
    left_out: Counter[str] = Counter()
    with ground.of_tile(tile) as labels_at:
        for window in read_windows(tile, grid):
            labels = labels_at(window.y_px, window.x_px, *window.out_of_range.shape)
            for batch in patch_batches(window, grid, len(window.columns)):
                valid = batch.valid_fraction(bands)
                for row, column, share in zip(batch.rows.tolist(), batch.columns.tolist(), valid, strict=True):
                    if grid.is_shifted(row, column):
                        continue
                    y, x = grid.y_px(row) - window.y_px, grid.x_px(column) - window.x_px
                    here = labels[y : y + PATCH_SIZE_PX, x : x + PATCH_SIZE_PX]
                    label = rule.label(int((here == SLIDE).sum()), pixel_m2)
                    if (here == UNKNOWN).any():
                        left_out[NOT_KNOWN] += 1
                    elif label is None:
                        left_out[TOO_LITTLE] += 1
                    elif share < rule.min_valid:
                        left_out[HIDDEN] += 1
                    else:
                        found.append((row, column, label))
                advance(len(batch))
    return found, left_out


class _PatchReader:
    """Reads patches of tiles. Threads and forked processes may share it: each opens files of its own."""

    def __init__(self, tiles: Sequence[Tile], which: NDArray[np.int32], places: NDArray[np.int32]) -> None:
        self._tiles, self._which, self._places = tiles, which, places
        self._opened = _OpenTiles()

    def __call__(self, position: int) -> NDArray[np.float32]:
        number = int(self._which[position])
        row, column = (int(cell) for cell in self._places[position])
        tile = self._tiles[number]
        try:
            reader = self._opened.reader(number, tile)
            pixels, _, _ = reader.read(row * PATCH_SIZE_PX, column * PATCH_SIZE_PX, PATCH_SIZE_PX, PATCH_SIZE_PX)
        except LsdError as error:
            raise PatchFileError(f"{tile.id} row {row} column {column}: {error}") from error
        return pixels


class _OpenTiles(threading.local):
    """The tiles that one thread of one process read last, open."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._readers: OrderedDict[int, TileReader] = OrderedDict()

    def reader(self, number: int, tile: Tile) -> TileReader:
        """The open reader of a tile; the one that was not used for longest is closed for it."""
        if self._process != os.getpid():  # forked: file positions are shared with the parent
            self._process, self._readers = os.getpid(), OrderedDict()
        if number not in self._readers:
            while len(self._readers) >= OPEN_TILES:
                self._readers.popitem(last=False)[1].__exit__(None, None, None)
            self._readers[number] = TileReader(tile).__enter__()
        self._readers.move_to_end(number)
        return self._readers[number]
