"""Score one tile: windows are read, cut into patches and answered by the chain; memory does not grow with the tile.

Patches that an encoder must be asked about are gathered over windows until they fill its batch.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from lsd.runtime.ahead import ahead
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.chain import Chain
from lsd.runtime.patches import PatchBatch, PatchGrid
from lsd.runtime.pending import Answered, Pending, joined
from lsd.runtime.reader import patch_batches, read_windows
from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.quicklook import Quicklook
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.tiles import Tile

Item = TypeVar("Item")


@dataclass(frozen=True)
class ScoringOptions:
    """stride_px: step between patches, 1..64. The rest bounds memory and never changes a result: patches scored
    together (batch_size), patch rows and columns read together (window_rows, window_columns), patches that wait for the
    encoders at most (waiting; a full batch of them is always allowed, and each of 12 bands takes 200 kB)."""

    stride_px: int = PATCH_SIZE_PX
    batch_size: int = 128
    window_rows: int = 1
    window_columns: int = 64
    waiting: int = 256


class Gathering:
    """The patches of one tile that wait for encoders, by configuration. Not for several threads.

    Full batches are asked as soon as they are there, the rest where `most` is exceeded or at the end. Encoders run at
    one fixed batch shape, so that it does not matter to a patch with which others it is asked.
    """

    def __init__(self, chain: Chain, most: int, stopwatch: Stopwatch) -> None:
        """most: patches that may wait between two calls, in all; a batch of the encoders may in any case."""
        self._chain = chain
        self._full = chain.encoder_options.batch_size
        self._most = max(most, self._full)
        self._stopwatch = stopwatch
        self._waiting: dict[int, Pending] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, batch: PatchBatch) -> Iterator[Answered]:
        """Score patches; what is done comes back, of these or of earlier ones."""
        with self._stopwatch.stage("score"):
            answered = self._chain.begin(batch)
        yield self._kept(answered)
        while (number := self._due()) is not None:
            one = self._waiting.pop(number)
            whole = len(one) // self._full * self._full or len(one)
            if whole < len(one):
                self._waiting[number] = one.some(slice(whole, None))
                one = one.some(slice(whole))
            yield self._asked(one)

    def rest(self) -> Iterator[Answered]:
        """Ask about everything that waits still."""
        while self._waiting:
            yield self._asked(self._waiting.pop(min(self._waiting)))

    def _due(self) -> int | None:
        """The configuration that most patches wait for, if they fill a batch or too many wait in all."""
        if not self._waiting:
            return None
        number = max(self._waiting, key=lambda one: len(self._waiting[one]))
        return number if len(self._waiting[number]) >= self._full or len(self) > self._most else None

    def _asked(self, pending: Pending) -> Answered:
        with self._stopwatch.stage("encode"):
            answered = self._chain.resume(pending)
        return self._kept(answered)

    def _kept(self, answered: Answered) -> Answered:
        for pending in answered.pending:
            before = self._waiting.get(pending.number)
            self._waiting[pending.number] = pending if before is None else joined([before, pending])
        return answered


def score_tile(tile: Tile, chain: Chain, options: ScoringOptions, stopwatch: Stopwatch) -> tuple[TileScores, Quicklook]:
    """Answers for every patch of the tile, and its picture as it was read.

    Windows are read ahead in a thread of their own: memory holds three. Seconds go to the stages `read` (of that
    thread), `wait` (for it), `score` (features and forests) and `encode` (encoders).

    Raises:
        TileError: the tile is smaller than a patch, or a file cannot be read.
    """
    grid = PatchGrid(tile.grid.width_px, tile.grid.height_px, options.stride_px)
    scores, quicklook = TileScores(grid), Quicklook(tile)
    gathering = Gathering(chain, options.waiting, stopwatch)
    reading = Stopwatch()
    read = _timed(read_windows(tile, grid, options.window_rows, options.window_columns), reading, "read")
    with closing(ahead(read)) as windows:
        for window in _timed(windows, stopwatch, "wait"):
            quicklook.add(window)
            for batch in _timed(patch_batches(window, grid, options.batch_size), stopwatch, "score"):
                for answered in gathering.add(batch):
                    scores.put(answered.rows, answered.columns, answered.scores)
    for answered in gathering.rest():
        scores.put(answered.rows, answered.columns, answered.scores)
    stopwatch.add(reading)
    return scores, quicklook


def _timed(items: Iterator[Item], stopwatch: Stopwatch, stage: str) -> Generator[Item, None, None]:
    """The items; what it takes to come by each counts for the stage."""
    while True:
        with stopwatch.stage(stage):
            item = next(items, None)
        if item is None:
            return
        yield item
