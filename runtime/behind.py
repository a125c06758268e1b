"""Work done behind, in a thread of its own: the products of a tile are written while the next one is scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any


class Behind:
    """Runs what it is given one after the other; each end is taken in order, in the thread that gave it.

    Context manager: leaving it waits for what is under way and forgets what was not begun. For one thread.
    """

    def __init__(self, depth: int) -> None:
        """depth: works that may be unfinished, 1 or more; giving another waits."""
        self._depth = depth
        self._thread = ThreadPoolExecutor(1, "behind")
        self._given: deque[tuple[Future[Any], Callable[[Callable[[], Any]], None]]] = deque()

    def __len__(self) -> int:
        return len(self._given)

    def give(self, work: Callable[[], Any], end: Callable[[Callable[[], Any]], None]) -> None:
        """Begin `work` as soon as what was given before is done.

        Args:
            end: called by `take` with a function that gives the result of `work`, or raises what it raised.
        """
        while len(self._given) >= self._depth:
            self._end(*self._given[0])
        self._given.append((self._thread.submit(work), end))

    def take(self, everything: bool = False) -> None:
        """Call the ends of what is done by now; of all that was given, if it is to be waited for."""
        while self._given and (everything or self._given[0][0].done()):
            self._end(*self._given[0])

    def _end(self, future: Future[Any], end: Callable[[Callable[[], Any]], None]) -> None:
        self._given.popleft()
        end(future.result)

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
