"""Statistics of each band over all valid pixels of a data set, gathered patch by patch in constant memory.

Mean and variance are merged by the pairwise update of T. F. Chan, G. H. Golub and R. J. LeVeque (Algorithms for
computing the sample variance, The American Statistician 37(3), 1983). Quantiles come from a histogram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BY_NAME
from lsd.runtime.errors import RunFolderError
from lsd.train.datasets.base import Units

QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


@dataclass(frozen=True)
class Resolution:
    """A histogram of values rounded to a multiple of `step`; what lies outside of low..high counts as its end."""

    step: float
    low: float
    high: float


DN, DECIBEL, RELATIVE = Resolution(1.0, 0.0, 65_535.0), Resolution(0.01, -100.0, 100.0), Resolution(0.001, -50.0, 50.0)


@dataclass(frozen=True)
class BandStatistics:
    """By band name: moments and quantiles of the valid pixels in the band's unit, NaN where there is none.

    std: population. q05, q50, q95: smallest rounded value that so many of the pixels do not exceed (the inverse of the
    empirical distribution); rounding is to 1 DN, .01 dB, or .001 in relative units. valid: number of valid pixels.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]
    min: Mapping[str, float]
    max: Mapping[str, float]
    q05: Mapping[str, float]
    q50: Mapping[str, float]
    q95: Mapping[str, float]
    valid: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """One object a band; floats keep every digit, NaN is null."""
        columns = asdict(self)
        return {band: {name: _or_none(column[band]) for name, column in columns.items()} for band in columns["valid"]}

    @classmethod
    def from_json(cls, stored: Any) -> BandStatistics:
        """Read what `to_json` gave.

        Raises:
            RunFolderError: it is something else.
        """
        try:
            columns: dict[str, dict[str, float]] = {
                field.name: {
                    str(band): math.nan if values[field.name] is None else float(values[field.name])
                    for band, values in stored.items()
                }
                for field in fields(cls)
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"band statistics cannot be read ({type(error).__name__}: {error})") from error
        valid = {band: int(count) for band, count in columns.pop("valid").items()}
        return cls(**columns, valid=valid)


class BandAccumulator:
    """Gathers the statistics of bands: add patches, merge what other processes gathered, take the result.

    Memory is one histogram a band (at most 0.8 MB), however many patches. Not thread-safe.
    """

    def __init__(self, bands: Sequence[str], units: Units = "canonical") -> None:
        self._channels = {band: _Channel(_resolution(band, units)) for band in bands}

    def add(self, pixels: NDArray[np.float32]) -> None:
        """Count a patch: float32 (band, y, x), bands as given, NaN where not valid."""
        for channel, band in zip(self._channels.values(), pixels, strict=True):
            channel.add(band[~np.isnan(band)].astype(np.float64))

    def merge(self, other: BandAccumulator) -> None:
        """Count what another one, of the same bands and units, has counted."""
        for band, channel in self._channels.items():
            channel.merge(other._channels[band])

    def result(self) -> BandStatistics:
        """The statistics so far."""
        rows = {band: channel.row() for band, channel in self._channels.items()}
        columns = {name: {band: row[name] for band, row in rows.items()} for name in _Channel(DN).row()}
        return BandStatistics(**columns, valid={band: one.count for band, one in self._channels.items()})


class _Channel:
    def __init__(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.count = 0
        self.mean = self.squares = 0.0  # squares: sum of squared deviations from the mean
        self.least, self.most = math.inf, -math.inf
        self.histogram = np.zeros(round((resolution.high - resolution.low) / resolution.step) + 1, np.int64)

    def add(self, values: NDArray[np.float64]) -> None:
        if not values.size:
            return
        mean = float(values.mean())
        self._combine(values.size, mean, float(np.square(values - mean).sum()))
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        r = self.resolution
        bins = np.rint((np.clip(values, r.low, r.high) - r.low) / r.step).astype(np.int64)
        first, last = int(bins.min()), int(bins.max())
        self.histogram[first : last + 1] += np.bincount(bins - first)

    def merge(self, other: _Channel) -> None:
        if other.count:
            self._combine(other.count, other.mean, other.squares)
            self.least, self.most = min(self.least, other.least), max(self.most, other.most)
            self.histogram += other.histogram

    def _combine(self, count: int, mean: float, squares: float) -> None:
        total = self.count + count
        difference = mean - self.mean
        self.squares += squares + difference**2 * self.count * count / total
        self.mean += difference * count / total
        self.count = total

    def row(self) -> dict[str, float]:
        if not self.count:
            return dict.fromkeys(("mean", "std", "min", "max", *QUANTILES), math.nan)
        below = np.cumsum(self.histogram)
        r = self.resolution
        quantiles = {
            name: float(r.low + r.step * np.searchsorted(below, share * self.count))
            for name, share in QUANTILES.items()
        }
        std = math.sqrt(self.squares / self.count)
        return {"mean": self.mean, "std": std, "min": self.least, "max": self.most, **quantiles}


def _resolution(band: str, units: Units) -> Resolution:
    if units == "relative":
        return RELATIVE
    return DN if BY_NAME[band].unit == "DN" else DECIBEL


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
