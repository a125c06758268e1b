"""Wall time by stage, for the run's report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds by stage name. Not thread-safe.

    moved: called at the begin of every stage, for whoever must know that the work goes on.
    """

    def __init__(self, moved: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._moved = moved

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent in the block for `name`."""
        self._moved()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.count(name, time.perf_counter() - start)

    def count(self, name: str, seconds: float) -> None:
        """Count seconds for `name` that were measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def add(self, other: Stopwatch) -> None:
        """Add what another stopwatch counted."""
        for name, seconds in other.seconds.items():
            self.count(name, seconds)
