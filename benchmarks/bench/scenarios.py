"""The four questions of MLPerf Inference, asked of any function that answers n patches.

V. J. Reddi et al., MLPerf Inference Benchmark, ISCA 2020, section IV, and the rules of MLPerf Inference since v2.0,
where a multi-stream query follows the one before. What differs: all percentiles are told for which samples suffice, and
runs are shorter, as windows are repeated until they agree instead of for ten minutes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lsd.benchmarks.bench.clock import Clock
from lsd.benchmarks.bench.windows import Rule, Window, Windows, until_stable
from lsd.runtime.errors import ConfigurationError

Query = Callable[[int], object]  # answers that many patches and returns when they are answered

LEAST_QUERIES = 20  # a window has as many or more, however slow they are
LEAST_BATCHES = 3
# The queue of an overloaded server grows without end: given up when a query waits longer than this many windows
_MOST_WINDOWS_LATE = 2.0


def single_stream(query: Query, clock: Clock, rule: Rule, patches: int = 1, least: int = LEAST_QUERIES) -> Windows:
    """One query after another, each of one patch: how long does an answer take?

    With more `patches` this is multi-stream: how long does the answer to several take, asked at once?

    Args:
        least: queries of a window.
    """
    _closed_loop(query, clock, patches, rule.warm_up_s, 1)
    return until_stable(
        lambda: _closed_loop(query, clock, patches, rule.window_s, least), lambda window: window.median_s, rule
    )


def offline(query: Query, clock: Clock, rule: Rule, batch: int, least: int = LEAST_BATCHES) -> Windows:
    """All patches are there, and batches follow each other: how many patches a second?"""
    _closed_loop(query, clock, batch, rule.warm_up_s, 1)
    return until_stable(
        lambda: _closed_loop(query, clock, batch, rule.window_s, least), lambda window: window.seconds_per_patch, rule
    )


def server(query: Query, clock: Clock, rule: Rule, rate_per_s: float, seed: int) -> Windows:
    """Patches arrive one by one at random (a Poisson process) and are answered in their order, one at a time.

    A latency lasts from the arrival to the answer: it holds the time in the queue, and the clock's own lateness.

    Args:
        rate_per_s: arrivals a second on average, above 0. seed: of the arrivals.
    Raises:
        ConfigurationError: the rate is not above 0.
    """
    if not 0 < rate_per_s < float("inf"):
        raise ConfigurationError(f"the rate of arrivals must be above 0 patches a second, is {rate_per_s:g}")
    _closed_loop(query, clock, 1, rule.warm_up_s, 1)
    arrivals = _Arrivals(query, clock, rate_per_s, seed, rule.window_s)
    return until_stable(arrivals.window, lambda window: window.median_s, rule)


def _closed_loop(query: Query, clock: Clock, patches: int, seconds: float, least: int) -> Window:
    """Queries one after another for so long, and at least so many.

    The clock is asked once a query: one latency ends where the next begins, and holds all that lies between.
    """
    now = clock.now
    times = [now()]
    stop = times[0] + seconds
    while times[-1] < stop or len(times) <= least:
        query(patches)
        times.append(now())
    latencies = np.diff(times)
    return Window(times[0], times[-1], latencies, patches * len(latencies))


class _Arrivals:
    """A stream of arrivals, in windows that follow each other without a gap."""

    def __init__(self, query: Query, clock: Clock, rate_per_s: float, seed: int, window_s: float) -> None:
        self._query, self._clock, self._rate_per_s = query, clock, rate_per_s
        self._rng = np.random.default_rng(seed)
        self._count = max(LEAST_QUERIES, round(rate_per_s * window_s))
        self._most_late_s = _MOST_WINDOWS_LATE * self._count / rate_per_s
        self._last_s = clock.now()

    def window(self) -> Window:
        gaps = self._rng.exponential(1.0 / self._rate_per_s, self._count)
        arrivals = (self._last_s + np.cumsum(gaps)).tolist()
        begin_s, self._last_s = self._last_s, arrivals[-1]
        query, now, wait_until = self._query, self._clock.now, self._clock.wait_until
        latencies: list[float] = []
        for arrival in arrivals:
            wait_until(arrival)
            query(1)
            latencies.append(now() - arrival)
            if latencies[-1] > self._most_late_s:
                break
        overloaded = latencies[-1] > self._most_late_s
        return Window(begin_s, now(), np.array(latencies), len(latencies), overloaded)
