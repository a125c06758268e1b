"""Peers timed in turns: a busy moment of the machine meets all of them, so that ratios hold where seconds do not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TURNS = 9
TURN_S, MOST_CALLS = 0.02, 2000  # a turn is made of so many calls that it takes this long
SLOW_S, SLOW_TURNS = 1.0, 4  # a call that takes longer has fewer turns
VERY_SLOW_S, VERY_SLOW_TURNS = 5.0, 2


@dataclass(frozen=True)
class Timed:
    """One peer. us: microseconds of one item, one value a turn, in the order of the turns."""

    us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """Median over the turns."""
        return statistics.median(self.us)

    def to_json(self) -> dict[str, Any]:
        """Median with the least and the most beside it."""
        return {
            "median_us": _rounded(self.median_us),
            "least_us": _rounded(min(self.us)),
            "most_us": _rounded(max(self.us)),
            "turns": len(self.us),
        }


@dataclass(frozen=True)
class Work:
    """What a peer does in one turn. call: does it once. items: patches or rows that one call answers."""

    call: Callable[[], object]
    items: int


def in_turns(works: Mapping[str, Work], turns: int = TURNS) -> dict[str, Timed]:
    """Time every peer; each turn begins with another one.

    A first call of each warms up and is not counted; where it is slow, the peer takes part in the first turns only.
    """
    left = {name: _turns(work, turns) for name, work in works.items()}
    spent: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for turn in range(turns):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            if turn < left[name]:
                spent[name].append(1e6 * _seconds(works[name].call) / works[name].items)
    return {name: Timed(tuple(us)) for name, us in spent.items()}


def ratio(peer: Timed, ours: Timed) -> dict[str, float]:
    """How many times as long as ours the peer takes: median, least and most over the turns that both took part in."""
    ratios = [theirs / own for theirs, own in zip(peer.us, ours.us, strict=False)]
    return {
        "median": _rounded(statistics.median(ratios)),
        "least": _rounded(min(ratios)),
        "most": _rounded(max(ratios)),
    }


def calls_for(call: Callable[[], object]) -> int:
    """How often to repeat a short call, warm already, so that a turn takes 20 ms: clock and loop then do not count."""
    once_s = _seconds(call)
    if once_s < TURN_S:
        once_s = min(once_s, *(_seconds(call) for _ in range(3)))
    return max(1, min(MOST_CALLS, round(TURN_S / max(once_s, 1e-9))))


def repeated(call: Callable[[], object], items: int) -> Work:
    """The work of a call that answers so many items, as often as `calls_for` says."""
    times = calls_for(call)

    def several() -> None:
        for _ in range(times):
            call()

    return Work(several, times * items)


def _turns(work: Work, turns: int) -> int:
    warm_up_s = _seconds(work.call)
    if warm_up_s > VERY_SLOW_S:
        return min(turns, VERY_SLOW_TURNS)
    return min(turns, SLOW_TURNS) if warm_up_s > SLOW_S else turns


def _seconds(call: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def _rounded(value: float) -> float:
    """Four significant digits: more is noise."""
    return float(f"{value:.4g}")
