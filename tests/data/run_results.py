"""Writes what a run leaves behind for its page: score grids and quicklooks of made-up tiles, and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scored_tiles import make_scores, make_tile

from lsd.runtime.commit import folder_name
from lsd.runtime.scores import CLOUD, LOOK, NOT_SCORED, SLIDE, TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.quicklook import Quicklook
from lsd.runtime.sinks.score_grid import write_score_grid
from lsd.runtime.sinks.summary import TileResult, done_result
from lsd.runtime.tiles import BandSource, Tile

RGB = ("red", "green", "blue")


class Part:
    """A whole tile as one window."""

    bands, y_px, x_px = RGB, 0, 0

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels


def write_result(out: Path, tile: Tile, scores: TileScores, context: RunContext, picture: bool = True) -> TileResult:
    """Write score grid and quicklook of a tile (hills as picture) and return its result."""
    folder = out / folder_name(tile.id)
    folder.mkdir(parents=True)
    write_score_grid(folder / "scores.tif", tile, scores, context)
    products = {"scores": f"{folder.name}/scores.tif"}
    if picture:
        bands = {band: BandSource(band, Path("t.tif"), 1, None) for band in RGB}
        quicklook = Quicklook(Tile(tile.id, tile.grid, bands), max_size_px=512)
        quicklook.add(Part(hills(tile.grid.height_px, tile.grid.width_px)))
        quicklook.write(folder / "quicklook.png", scores)
        products["quicklook"] = f"{folder.name}/quicklook.png"
    return done_result(tile, scores, context, products, {"read": 1.0})


def hills(height_px: int, width_px: int) -> np.ndarray:
    """float32 (3, y, x) DN: smooth green ground."""
    y, x = np.mgrid[:height_px, :width_px] / 60.0
    relief = np.sin(x + np.cos(y)) * np.cos(y / 1.7) + 0.4 * np.sin(3.1 * x - y)
    return np.stack([1500 + 260 * relief, 1750 + 300 * relief, 1400 + 180 * relief]).astype(np.float32)


def put(scores: TileScores, row: Any, column: Any, decision: int, probability: float = np.nan) -> None:
    """Put one decision into cells; not scored means cloud."""
    scores.decision[row, column] = decision
    scores.probability[row, column] = probability
    if decision == NOT_SCORED:
        scores.status[row, column] = CLOUD
        scores.configuration[row, column] = 0


def busy_result(
    out: Path, context: RunContext, patches: int = 40, seed: int = 0, picture: bool = True, **changes: Any
) -> TileResult:
    """A tile of patches x patches with a cloud, a cluster of slides and some looks."""
    tile = make_tile(64 * patches + 10, 64 * patches - 20, **changes)
    scores = make_scores(tile)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: scores.grid.rows, : scores.grid.columns] / patches
    put(scores, *np.nonzero((x - 0.8) ** 2 + 1.4 * (y - 0.25) ** 2 < 0.03 + 0.02 * np.sin(9 * x)), NOT_SCORED)
    for _ in range(patches // 2):
        row, column = np.clip(rng.normal((0.6, 0.35), 0.12, 2) * patches, 0, patches - 1).astype(int)
        p = float(rng.uniform(0.2, 1.0))
        put(scores, row, column, LOOK if p < 0.35 else SLIDE, p)
    return write_result(out, tile, scores, context, picture)
