"""The time of a measurement: the machine's, or one that a test moves by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

# A sleep ends late, by up to a tick of a busy machine: the last stretch before an arrival is spent asking the time
_SPIN_S = 0.002


class Clock(Protocol):
    """Seconds that never go back; only differences mean something."""

    @property
    def now(self) -> Callable[[], float]:
        """Function that tells the seconds now, without looking anything up: it is called once a query."""
        ...

    def wait_until(self, at_s: float) -> None:
        """Return at `at_s`, at once if that is past."""
        ...


class SystemClock:
    """`time.perf_counter`; waits asleep, the last 2 ms awake. Threads may share it."""

    now = staticmethod(time.perf_counter)

    def wait_until(self, at_s: float) -> None:
        """Return at `at_s`, at once if that is past."""
        while (left_s := at_s - time.perf_counter()) > 0:
            if left_s > _SPIN_S:
                time.sleep(left_s - _SPIN_S)
