"""Score tiles: windows are read, cut into patches and answered by the chain; memory does not grow with a tile.

Patches that an encoder must be asked about are gathered over windows and tiles until they fill its batch. A tile is
complete when the last of its patches is answered, which may be while the next one is read.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lsd.runtime.ahead import ahead
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.chain import Chain
from lsd.runtime.errors import LsdError
from lsd.runtime.gathering import Gathering
from lsd.runtime.patches import PatchBatch, PatchGrid
from lsd.runtime.pending import Answered, Pending
from lsd.runtime.reader import Window, patch_batches, read_windows
from lsd.runtime.scores import Scores, TileScores
from lsd.runtime.sinks.quicklook import Quicklook
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.tiles import Tile

Item = TypeVar("Item")


@dataclass(frozen=True)
class ScoringOptions:
    """stride_px: step between patches, 1..64. The rest bounds memory and time and never changes a result: patches
    scored together (batch_size), patch rows and columns read together (window_rows, window_columns), patches that wait
    for the encoders at most (waiting; a full batch of them is always allowed, and each of 12 bands takes 200 kB), and
    how long one waits for others (waiting_s), threads that compute statistics and forests (workers)."""

    stride_px: int = PATCH_SIZE_PX
    batch_size: int = 128
    window_rows: int = 1
    window_columns: int = 64
    waiting: int = 256
    waiting_s: float = 5.0
    workers: int = 1


@dataclass
class TileInHand:
    """A tile on its way. scores, quicklook: whole once it is complete. undecided: patches that wait. error: why there
    will be no scores. stopwatch: seconds by stage, of its patches. owner: what `Scoring.take` was given."""

    tile: Tile
    scores: TileScores
    quicklook: Quicklook
    stopwatch: Stopwatch
    undecided: int = 0
    is_read: bool = False
    error: LsdError | None = None
    owner: Any = None

    @property
    def is_complete(self) -> bool:
        """Nothing more comes."""
        return self.error is not None or (self.is_read and self.undecided == 0)


class Scoring:
    """Tiles on their way through a chain. Not for several threads."""

    def __init__(self, chain: Chain, options: ScoringOptions, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds, for how long a patch waits."""
        self.chain = chain
        self._options = options
        self._gathering = Gathering(chain, options.waiting, options.waiting_s, clock)
        self._in_hand: dict[int, TileInHand] = {}
        self._taken = 0

    @property
    def undecided(self) -> int:
        """Patches that wait for the encoders."""
        return len(self._gathering)

    def take(
        self, tile: Tile, stopwatch: Stopwatch, windows: Iterator[Window] | None = None, owner: Any = None
    ) -> Generator[list[TileInHand], None, None]:
        """Score a tile; yields after every batch the tiles that are complete by then, this one or earlier ones.

        At the end patches of it may wait for others still. Windows are read ahead in a thread of their own: memory
        holds three. Seconds go to the stages `read` (of that thread), `wait` (for it), `score` (features and forests)
        and `encode` (encoders, shared among tiles by patches).

        Args:
            windows: the tile's pixels, where they lie in memory already. owner: comes back with the complete tile.
        Raises:
            TileError: the tile is smaller than a patch, or a file cannot be read; nothing of it waits any more.
        """
        grid = PatchGrid(tile.grid.width_px, tile.grid.height_px, self._options.stride_px)
        number, self._taken = self._taken, self._taken + 1
        one = self._in_hand[number] = TileInHand(tile, TileScores(grid), Quicklook(tile), stopwatch, owner=owner)
        reading = Stopwatch()
        try:
            with closing(self._begun(self._batches(one, grid, reading, windows), number, stopwatch)) as begun:
                for answered in begun:
                    self._gathering.keep(answered)
                    one.undecided += sum(map(len, answered.pending))
                    self._put(answered)
                    self._ask(self._gathering.due())
                    yield self._complete()
                    if one.error is not None:
                        return
        except BaseException:
            self._gathering.drop(number)
            self._in_hand.pop(number, None)
            raise
        finally:
            stopwatch.add(reading)
        one.is_read = True
        yield self._complete()

    def _batches(
        self, one: TileInHand, grid: PatchGrid, reading: Stopwatch, windows: Iterator[Window] | None
    ) -> Generator[PatchBatch, None, None]:
        """The patches of a tile; its windows go into its picture, too."""
        options = self._options
        if windows is None:
            windows = read_windows(one.tile, grid, options.window_rows, options.window_columns)
        with closing(ahead(_timed(windows, reading, "read"))) as ready:
            for window in _timed(ready, one.stopwatch, "wait"):
                one.quicklook.add(window)
                yield from _timed(patch_batches(window, grid, options.batch_size), one.stopwatch, "score")

    def _begun(
        self, batches: Generator[PatchBatch, None, None], number: int, stopwatch: Stopwatch
    ) -> Generator[Answered, None, None]:
        """What forests alone say of each batch, in order; up to `workers` batches are worked on at a time."""
        workers = self._options.workers
        with closing(batches), ThreadPoolExecutor(workers, "score") as threads:
            under_way: deque[Future[Answered]] = deque()
            try:
                for batch in batches:
                    under_way.append(threads.submit(self.chain.begin, batch, number))
                    if len(under_way) > workers:
                        yield _awaited(under_way.popleft(), stopwatch)
                while under_way:
                    yield _awaited(under_way.popleft(), stopwatch)
            finally:
                for future in under_way:
                    future.cancel()

    def rest(self) -> list[TileInHand]:
        """Ask about everything that waits: the tiles that this completes."""
        self._ask(self._gathering.rest())
        return self._complete()

    def _ask(self, due: Iterator[Pending]) -> None:
        """Ask the encoders; where they fail, the tiles that were asked about fail."""
        for pending in due:
            counts = Counter(pending.tiles.tolist())
            began_s = time.perf_counter()
            try:
                answered = self._gathering.ask(pending)
            except LsdError as error:
                for number in counts:
                    self._gathering.drop(number)
                    self._in_hand[number].error = error
                continue
            took_s = time.perf_counter() - began_s
            for number, patches in counts.items():
                self._in_hand[number].stopwatch.count("encode", took_s * patches / len(pending))
            self._put(answered)
            for number, done in Counter(answered.tiles.tolist()).items():
                self._in_hand[number].undecided -= done

    def _put(self, answered: Answered) -> None:
        """Each answer into the scores of its tile."""
        numbers = np.unique(answered.tiles)
        for number in numbers.tolist():
            of_it = answered.tiles == number
            scores = answered.scores
            if len(numbers) > 1:
                scores = Scores(**{name: values[of_it] for name, values in vars(scores).items()})
            self._in_hand[number].scores.put(answered.rows[of_it], answered.columns[of_it], scores)

    def _complete(self) -> list[TileInHand]:
        """Let go of the tiles that are complete, in the order in which they came."""
        numbers = [number for number, one in self._in_hand.items() if one.is_complete]
        return [self._in_hand.pop(number) for number in numbers]


def score_tile(tile: Tile, chain: Chain, options: ScoringOptions, stopwatch: Stopwatch) -> tuple[TileScores, Quicklook]:
    """Answers for every patch of one tile, and its picture as it was read; see `Scoring.take`.

    Raises:
        TileError: the tile is smaller than a patch, or a file cannot be read. BackendError: an encoder failed.
    """
    scoring = Scoring(chain, options)
    for complete in (*scoring.take(tile, stopwatch), scoring.rest()):
        for one in complete:
            if one.error is not None:
                raise one.error
            return one.scores, one.quicklook
    raise AssertionError("a tile was read and never completed")


def _awaited(future: Future[Answered], stopwatch: Stopwatch) -> Answered:
    with stopwatch.stage("score"):
        return future.result()


def _timed(items: Iterator[Item], stopwatch: Stopwatch, stage: str) -> Generator[Item, None, None]:
    """The items; what it takes to come by each counts for the stage. They are closed in the thread that takes them: it
    opened the files that they come from, and GDAL's environment is that of a thread."""
    try:
        while True:
            with stopwatch.stage(stage):
                item = next(items, None)
            if item is None:
                return
            yield item
    finally:
        if isinstance(items, Generator):
            items.close()
