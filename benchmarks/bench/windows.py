"""Stretches of a measurement, repeated until they agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import ConfigurationError


@dataclass(frozen=True, eq=False)
class Window:
    """One stretch; equal to itself only.

    begin_s, end_s: by the clock of the measurement. latencies_s: float64 (queries,), in their order. patches: of all
    its queries. overloaded: the stretch was given up, since queries waited longer and longer.
    """

    begin_s: float
    end_s: float
    latencies_s: NDArray[np.float64]
    patches: int
    overloaded: bool = False

    @property
    def seconds_per_patch(self) -> float:
        """Wall time of the stretch, by patch."""
        return (self.end_s - self.begin_s) / self.patches

    @property
    def median_s(self) -> float:
        """Median latency."""
        return float(np.median(self.latencies_s))


@dataclass(frozen=True)
class Rule:
    """When a measurement is done.

    window_s: length of a window, at least. agree: number of windows in a row that must agree, 2 or more. most: windows
    after which it ends anyway, `agree` or more. tolerance: they agree where the largest exceeds the smallest by at most
    this share. warm_up_s: seconds before the first window, not counted.
    """

    window_s: float = 2.0
    agree: int = 5
    most: int = 15
    tolerance: float = 0.05
    warm_up_s: float = 1.0

    def __post_init__(self) -> None:
        if not (self.window_s > 0 and self.warm_up_s >= 0 and self.tolerance > 0 and 2 <= self.agree <= self.most):
            raise ConfigurationError(
                "a stability rule needs window and tolerance above 0, warm-up of 0 or more, and 2 or more windows that "
                f"agree out of as many or more; is {self}"
            )


@dataclass(frozen=True)
class Windows:
    """Every window of a measurement.

    counted: those that its figures come from: the ones that agree, the last ones, or all where none did. spread: of
    their value, largest over smallest minus 1.
    """

    every: tuple[Window, ...]
    counted: tuple[Window, ...]
    stable: bool
    spread: float

    @property
    def latencies_s(self) -> NDArray[np.float64]:
        """float64 (queries,) of all counted windows."""
        return np.concatenate([window.latencies_s for window in self.counted])

    @property
    def overloaded(self) -> bool:
        """Whether the last window was given up."""
        return self.every[-1].overloaded


def until_stable(next_window: Callable[[], Window], value: Callable[[Window], float], rule: Rule) -> Windows:
    """Take windows until the last `rule.agree` of them agree on `value`, `rule.most` are there, or one is overloaded.

    Args:
        next_window: makes the next one. value: above 0, what must agree, such as the median latency.
    """
    every: list[Window] = []
    while len(every) < rule.most:
        every.append(next_window())
        last = every[-rule.agree :]
        if every[-1].overloaded:
            break
        if len(last) == rule.agree and _spread(last, value) <= rule.tolerance:
            return Windows(tuple(every), tuple(last), True, _spread(last, value))
    return Windows(tuple(every), tuple(every), False, _spread(every, value))


def _spread(windows: Sequence[Window], value: Callable[[Window], float]) -> float:
    values = [value(window) for window in windows]
    return max(values) / min(values) - 1.0 if min(values) > 0 else 0.0 if max(values) == 0 else float("inf")
