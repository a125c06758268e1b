"""Score one tile: windows are read, cut into patches and answered by the chain; memory does not grow with the tile."""

from __future__ import annotations

from dataclasses import dataclass

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.chain import Chain
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import patch_batches, read_windows
from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.quicklook import Quicklook
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.tiles import Tile


@dataclass(frozen=True)
class ScoringOptions:
    """stride_px: step between patches, 1..64. The rest bounds memory and never changes a result: patches scored
    together (batch_size), patch rows and columns read together (window_rows, window_columns)."""

    stride_px: int = PATCH_SIZE_PX
    batch_size: int = 128
    window_rows: int = 1
    window_columns: int = 64


def score_tile(tile: Tile, chain: Chain, options: ScoringOptions, stopwatch: Stopwatch) -> tuple[TileScores, Quicklook]:
    """Answers for every patch of the tile, and its picture as it was read.

    Raises:
        TileError: the tile is smaller than a patch, or a file cannot be read.
    """
    grid = PatchGrid(tile.grid.width_px, tile.grid.height_px, options.stride_px)
    scores, quicklook = TileScores(grid), Quicklook(tile)
    windows = read_windows(tile, grid, options.window_rows, options.window_columns)
    while True:
        with stopwatch.stage("read"):
            window = next(windows, None)
        if window is None:
            return scores, quicklook
        quicklook.add(window)
        with stopwatch.stage("score"):
            for batch in patch_batches(window, grid, options.batch_size):
                scores.put(batch, chain.score(batch))
