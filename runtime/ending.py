"""How tiles end: products in place, then the journal has them as done, then everyone hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lsd.runtime.behind import Behind
from lsd.runtime.commit import tile_folder
from lsd.runtime.errors import LsdError, OutputError
from lsd.runtime.scoring import TileInHand
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.summary import TileResult, done_result, failed_result
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.stream.events import Listener, TileEnded
from lsd.runtime.stream.output import Output

# Tiles whose products wait to be written while others are scored; each takes a few MB
WRITTEN_BEHIND = 2


@dataclass(frozen=True)
class BegunTile:
    """A tile that the journal has as begun. context: of the bundle that answers it. stopwatch: seconds by stage."""

    folder: str
    key: str
    context: RunContext
    stopwatch: Stopwatch


class Ending:
    """Ends tiles in the order given; products are written in a thread behind. Context manager; for one thread.

    Leaving it waits for the products that are being written; those that were not begun are left, as after a kill.
    """

    def __init__(
        self,
        output: Output,
        extras: Sequence[str],
        limited: Callable[[], AbstractContextManager[Any]],
        patiently: Callable[[Callable[[], None]], None],
        tell: Listener,
    ) -> None:
        """extras: products beside the usual ones. limited: makes the limits under which GDAL writes. patiently: does
        what writes into the output. tell: hears of tiles that ended."""
        self._output, self._extras, self._limited = output, tuple(extras), limited
        self._patiently, self._tell = patiently, tell
        self._behind = Behind(WRITTEN_BEHIND)
        self.ended: dict[str, str] = {}  # folder -> key

    def __len__(self) -> int:
        return len(self._behind)

    def write(self, begun: BegunTile, one: TileInHand) -> None:
        """Have the products of a complete tile written; `take` ends it once they are in place."""
        self._behind.give(lambda: self._written(begun, one), lambda result_of: self._placed(begun, one, result_of))

    def take(self, everything: bool = False) -> None:
        """End the tiles whose products are in place by now; all, if they are to be waited for.

        Raises:
            OutputError: products or journal cannot be written, and that is not to be waited for.
        """
        self._behind.take(everything)

    def note(self, begun: BegunTile, result: TileResult) -> None:
        """Have the journal know how a tile ended, and tell it."""

        def work() -> None:
            self._output.check()
            self._output.journal.end(begun.folder, result)

        self._patiently(work)
        self.ended[begun.folder] = begun.key
        self._tell(TileEnded(result))

    def _placed(self, begun: BegunTile, one: TileInHand, result_of: Callable[[], TileResult]) -> None:
        """End a tile; where the output failed behind, its products are written once more, here."""
        tries = iter([result_of])
        results: list[TileResult] = []

        def work() -> None:
            self._output.check()
            results.append(next(tries, lambda: self._written(begun, one))())

        try:
            self._patiently(work)
        except OutputError:
            raise
        except LsdError as error:
            results.append(failed_result(one.tile.id, error, one.stopwatch.seconds))
        self.note(begun, results[-1])

    def _written(self, begun: BegunTile, one: TileInHand) -> TileResult:
        """Products of one tile, in place when this returns; what stood there of an earlier input is replaced."""
        from lsd.runtime.sinks.products import PRODUCTS, write_products  # after the first patch

        tile, stopwatch = one.tile, Stopwatch()
        with (
            self._limited(),
            stopwatch.stage("write"),
            tile_folder(self._output.folder, tile.id, True, PRODUCTS["scores"]) as folder,
        ):
            written = write_products(folder, tile, one.scores, one.quicklook, begun.context, self._extras)
        products = {kind: f"{begun.folder}/{name}" for kind, name in written.items()}
        stopwatch.add(one.stopwatch)
        return done_result(tile, one.scores, begun.context, products, stopwatch.seconds)

    def __enter__(self) -> Ending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._behind.__exit__(kind, error, trace)
