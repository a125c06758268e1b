"""What the tests of lsd-bench share: a clock moved by hand, backends of known latency, results made up of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lsd.benchmarks.bench import content, figures
from lsd.benchmarks.bench.measurement import KIND, SCHEMA_VERSION
from lsd.benchmarks.bench.options import BenchOptions
from lsd.benchmarks.bench.windows import Window, Windows


class HandClock:
    """A clock that moves only when it is told to; counts how often it was asked."""

    def __init__(self) -> None:
        self.time_s, self.asked = 1000.0, 0

    def now(self) -> float:
        """Seconds now."""
        self.asked += 1
        return self.time_s

    def wait_until(self, at_s: float) -> None:
        """Move on to `at_s`."""
        self.time_s = max(self.time_s, at_s)


class TimedBackend:
    """Answers any number of patches in the next of `seconds`; remembers what it was asked and how long it took."""

    def __init__(self, clock: HandClock, seconds: Iterable[float]) -> None:
        self.clock, self._seconds = clock, iter(seconds)
        self.asked: list[int] = []
        self.took: list[float] = []

    def __call__(self, patches: int) -> None:
        """Answer."""
        self.asked.append(patches)
        self.took.append(next(self._seconds))
        self.clock.time_s += self.took[-1]


def exponential(mean_s: float, seed: int = 0) -> Iterator[float]:
    """Endless times of a known distribution."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.exponential(mean_s, 1000).tolist()


def windows_of(medians_s: Iterable[float], patches: int = 1, queries: int = 1000) -> Windows:
    """Windows of equal latencies, all counted."""
    every, begin_s = [], 0.0
    for median_s in medians_s:
        end_s = begin_s + queries * median_s
        every.append(Window(begin_s, end_s, np.full(queries, median_s), queries * patches))
        begin_s = end_s
    return Windows(tuple(every), tuple(every), True, 0.0)


def result(medians_s: Iterable[float] = (0.010, 0.0101, 0.0099, 0.01, 0.0102)) -> dict[str, Any]:
    """A result as lsd-bench writes it, each scenario with these medians."""
    medians = tuple(medians_s)
    options = BenchOptions()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "begun": "2026-11-26T00:00:00+00:00",
        "seconds": 60.0,
        "conditions": {
            "bundle": {"name": "made up", "sha256": "ab" * 32},
            "configuration": "all",
            "options": options.of_answers,
            "exits": None,
            "content": content.NOTE,
            "machine": {
                "system": "Linux",
                "processor": "made up",
                "memory": "1 GiB",
                "cores": 2,
                "gpus": [],
                "power_mode": {"nvpmodel": "MAXN", "governor": {"not_measured": "none"}},
                "environment": {},
            },
        },
        "settings": options.settings,
        "versions": {"lsd-edge": "0.1"},
        "answers": {"status": {"scored": 256}},
        "encoders": {},
        "accuracy": {
            "note": "made up",
            "synthetic": True,
            "metrics": {"f1": {"value": 0.88, "low": 0.87, "high": 0.89}},
            "certificate": {"not_measured": "none"},
        },
        "scenarios": {
            "single-stream": figures.latency_figures(windows_of(medians), 1),
            "multi-stream": figures.latency_figures(windows_of(medians, 8), 8),
            "offline": figures.throughput_figures(windows_of(medians, 128), 128),
            "server": figures.server_figures(windows_of(medians), 50.0, 100.0),
        },
        "stages": {"forest": {"about": "made up", **figures.throughput_figures(windows_of(medians, 128), 128)}},
        "backends": {
            "native": {
                size: figures.throughput_figures(windows_of(medians, patches), patches)
                for size, patches in (("one", 1), ("batch", 128))
            },
            "compiled": {"not_measured": "none"},
        },
        "tile": None,
        "fresh": None,
        "energy": {"not_measured": "no meter"},
        "overhead": {"closed_loop_s": 1e-7, "hand_over_s": 1e-6, "share": {"single-stream": 1e-5}},
        "machine": {
            "before": machine_state(),
            "after": machine_state(),
            "throttling": {"cpu": {"events": 0}, "gpu": {"not_measured": "no GPU"}},
            "disturbances": [],
        },
    }


def machine_state() -> dict[str, Any]:
    """A machine at rest."""
    return {
        "cpu_mhz": {"min": 1500.0, "max": 1500.0},
        "gpu_mhz": None,
        "hottest_c": 40.0,
        "throttle_count": 0,
        "load_1_min": 0.0,
        "steal_s": 0.0,
        "waited_s": 0.0,
        "gpus": [],
    }


def changed(document: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """A copy with something changed."""
    other = copy.deepcopy(document)
    change(other)
    return other
