"""Writes output folders as lsd-run leaves them, by its own sinks, from made-up scores; counts their ground slowly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from contexts import context
from rasterio.warp import transform
from scored_tiles import answer, make_scores, make_tile

from lsd.runtime.scores import LOOK, NO_SLIDE, NOT_SCORED, SLIDE, TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.geojson import write_detections
from lsd.runtime.sinks.score_grid import write_score_grid
from lsd.runtime.tiles import Tile


def named_tile(name: str, width_px: int, height_px: int, **place: Any) -> Tile:
    """A tile of 10 m with this id; `place`: epsg, x, y and fields of `Tile`."""
    return replace(make_tile(width_px, height_px, **place), id=name)


def random_scores(tile: Tile, stride_px: int, rng: np.random.Generator) -> TileScores:
    """Every decision somewhere, each with a probability of its own."""
    scores = make_scores(tile, stride_px)
    for decision, share in ((NOT_SCORED, 0.3), (LOOK, 0.1), (SLIDE, 0.2)):
        for row, column in np.argwhere(rng.random(scores.decision.shape) < share):
            answer(scores, row, column, decision)
    scored = scores.decision != NOT_SCORED
    low, high = {NO_SLIDE: (0.0, 0.2), LOOK: (0.2, 0.4), SLIDE: (0.4, 1.0)}, scores.decision
    for decision, (least, most) in low.items():
        cells = scored & (high == decision)
        scores.probability[cells] = rng.uniform(least, most, int(cells.sum()))
    return scores


def write_scored(
    out: Path, tile: Tile, scores: TileScores, about: RunContext | None = None, folder: str | None = None
) -> Path:
    """Write the two products that a merge reads."""
    place = out / (folder or tile.id)
    place.mkdir(parents=True)
    write_detections(place / "detections.geojson", tile, scores, about or context())
    write_score_grid(place / "scores.tif", tile, scores, about or context())
    return place


def region(out: Path, names: str = "abcd") -> Path:
    """Write up to four tiles that overlap, `a` and `b` with a detection in common; returns the folder."""
    rng = np.random.default_rng(5)
    places = {"a": (0, 0), "b": (150, 10), "c": (40, 130), "d": (160, 160)}
    made = {}
    for name, (dx, dy) in places.items():
        tile = named_tile(name, 200, 190, x=500_000.0 + 10 * dx, y=5_200_000.0 - 10 * dy)
        made[name] = tile, random_scores(tile, 64, rng)
    answer(made["a"][1], 0, 3, SLIDE)  # these two share two thirds
    answer(made["b"][1], 0, 0, SLIDE)
    for name in names:
        write_scored(out, *made[name])
    return out


def counted_px(tiles: Sequence[tuple[Tile, TileScores]], decisions: Sequence[int] | None) -> int:
    """Pixels of the ground inside a patch with one of these decisions (None: inside a tile), by painting all of it.

    All tiles must lie on one lattice of 10 m.
    """
    left = min(tile.grid.transform.c for tile, _ in tiles)
    top = max(tile.grid.transform.f for tile, _ in tiles)
    ground = np.zeros((4000, 4000), bool)
    for tile, scores in tiles:
        x0, y0 = round((tile.grid.transform.c - left) / 10), round((top - tile.grid.transform.f) / 10)
        if decisions is None:
            ground[y0 : y0 + tile.grid.height_px, x0 : x0 + tile.grid.width_px] = True
            continue
        for row, column in np.argwhere(np.isin(scores.decision, decisions)):
            y, x = y0 + scores.grid.y_px(row), x0 + scores.grid.x_px(column)
            ground[y : y + 64, x : x + 64] = True
    return int(ground.sum())


def painted(tile: Tile, scores: TileScores, decisions: Sequence[int] | None) -> np.ndarray:
    """bool (y, x) of the tile's pixels: inside a patch with one of these decisions (None: everywhere)."""
    ground = np.full((tile.grid.height_px, tile.grid.width_px), decisions is None)
    for row, column in np.argwhere(np.isin(scores.decision, decisions or ())):
        y, x = scores.grid.y_px(row), scores.grid.x_px(column)
        ground[y : y + 64, x : x + 64] = True
    return ground


def only_in_second_m2(
    first: tuple[Tile, TileScores], second: tuple[Tile, TileScores], decisions: Sequence[int] | None, samples: int = 2
) -> float:
    """Ground of the second tile, m2 in its own CRS, that the first does not have; `samples` squared places a pixel."""
    mine, theirs = painted(*first, decisions), painted(*second, decisions)
    rows, columns = np.nonzero(theirs)
    found = 0
    steps = (np.arange(samples) + 0.5) / samples
    for down in steps:
        for right in steps:
            east, north = second[0].grid.ground(columns + right, rows + down)
            x, y = first[0].grid.pixel(
                *(np.array(axis) for axis in transform(second[0].grid.crs, first[0].grid.crs, east, north))
            )
            x, y = np.floor(x).astype(int), np.floor(y).astype(int)
            inside = (x >= 0) & (y >= 0) & (x < mine.shape[1]) & (y < mine.shape[0])
            found += int((~inside).sum() + (~mine[y[inside], x[inside]]).sum())
    return found * 100 / samples**2
