"""The text that Prometheus collects: counters, gauges and histograms with labels, in text exposition format 0.0.4.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. Nothing here is thread-safe; the owner locks.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES = 100  # of one family; what comes later is counted under OTHER, so that no input makes a family grow
OTHER = "other"

Values = tuple[str, ...]  # of the labels, in the order of their names


class Family:
    """A counter or gauge: one number for each set of label values."""

    def __init__(self, kind: Literal["counter", "gauge"], name: str, about: str, labels: Sequence[str] = ()) -> None:
        self.kind: str = kind
        self.name = name
        self.about = about
        self.labels = tuple(labels)
        self._numbers: dict[Values, float] = {}

    def add(self, amount: float, *values: str) -> None:
        """Count `amount` more; 0 makes the series appear."""
        key = bounded(values, self._numbers)
        self._numbers[key] = self._numbers.get(key, 0) + amount

    def put(self, number: float, *values: str) -> None:
        """Replace the number."""
        self._numbers[bounded(values, self._numbers)] = number

    def clear(self) -> None:
        """Forget every series."""
        self._numbers.clear()

    def lines(self) -> Iterator[str]:
        """Help, type and one line a series; nothing for a family without series."""
        if self._numbers:
            yield from self._head()
        for values, number in self._numbers.items():
            yield f"{self.name}{labelled(self.labels, values)} {number_text(number)}"

    def _head(self) -> Iterator[str]:
        about = self.about.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {self.name} {about}"
        yield f"# TYPE {self.name} {self.kind}"


class Histogram(Family):
    """Counts of observations up to each of `bounds` (ascending), with their sum, for each set of label values."""

    def __init__(self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__("gauge", name, about, labels)
        self.kind = "histogram"
        self.bounds = tuple(bounds)
        self._observed: dict[Values, list[int]] = {}  # observations in each bucket alone, the last one unbounded

    def observe(self, number: float, *values: str) -> None:
        """Count one observation."""
        key = bounded(values, self._observed)
        buckets = self._observed.setdefault(key, [0] * (len(self.bounds) + 1))
        buckets[bisect.bisect_left(self.bounds, number)] += 1
        self._numbers[key] = self._numbers.get(key, 0) + number

    def lines(self) -> Iterator[str]:
        """Help, type, cumulative buckets, sum and count of each series."""
        if self._observed:
            yield from self._head()
        for values, buckets in self._observed.items():
            count = 0
            for bound, here in zip((*self.bounds, math.inf), buckets, strict=True):
                count += here
                labels = labelled((*self.labels, "le"), (*values, number_text(bound)))
                yield f"{self.name}_bucket{labels} {count}"
            yield f"{self.name}_sum{labelled(self.labels, values)} {number_text(self._numbers[values])}"
            yield f"{self.name}_count{labelled(self.labels, values)} {count}"


def bounded(values: Values, known: dict[Values, float] | dict[Values, list[int]]) -> Values:
    """The label values, or OTHER for each where the family is full and does not have them."""
    return values if values in known or len(known) < MOST_SERIES else (OTHER,) * len(values)


def labelled(names: Sequence[str], values: Sequence[str]) -> str:
    """`{stage="read"}`, values escaped; empty without labels. Raises ValueError where their numbers differ."""
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    plain = value.encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    return plain.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def number_text(number: float) -> str:
    """A number as Prometheus reads it: `3`, `0.25`, `+Inf`, `NaN`."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(float(number))
