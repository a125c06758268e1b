"""What the training patches held, band by band, as the training card says, and whether a tile lies outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsd.runtime.acquisition.finding import Finding, Outcome, Unjudged
from lsd.runtime.acquisition.names import RANGE
from lsd.runtime.acquisition.sample import LEAST_PIXELS, SampledScene
from lsd.runtime.bands import BY_NAME, in_order
from lsd.runtime.errors import BundleError

KEY = "band_ranges"  # in a manifest's `training`, or in that of one run
SCHEMA_VERSION = 1
QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
STATISTICS = ("mean", "min", "max")

_LOWEST, _LOW, _MIDDLE, _HIGH, _HIGHEST = range(5)
# Of a normal distribution between the quantiles .01 and .99, in standard deviations
_SIGMAS = 4.6527
# Pixels beyond what one training patch in a thousand reaches with a single pixel
MOST_BEYOND_SHARE = 0.01


@dataclass(frozen=True)
class BandRange:
    """Quantiles (`QUANTILES`) over the training patches of a band's mean, minimum and maximum in a patch.

    In canonical units (DN or dB).
    """

    mean: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]

    @property
    def middle(self) -> float:
        """Median of the patch means."""
        return self.mean[_MIDDLE]

    @property
    def cuts(self) -> tuple[float, float, float]:
        """The quantiles .01, .5 and .99 of the patch means."""
        return self.mean[_LOW], self.mean[_MIDDLE], self.mean[_HIGH]

    @property
    def spread(self) -> float:
        """Spread of the patch means as a standard deviation, from the quantiles .01 and .99; above 0."""
        return max((self.mean[_HIGH] - self.mean[_LOW]) / _SIGMAS, 1e-6)


Ranges = Mapping[str, BandRange]


def ranges_of(training: Mapping[str, Any]) -> Ranges | None:
    """Canonical band name -> its range, from a manifest's `training`; None where the card has none.

    `training["band_ranges"]`, else that of each run (`training["all"]["band_ranges"]`), the first that has a band.

    Raises:
        BundleError: of an unknown schema, an unknown band, or no rising finite numbers.
    """
    runs = [run for run in training.values() if isinstance(run, Mapping)]
    stored = [training[KEY]] if KEY in training else [run[KEY] for run in runs if KEY in run]
    found: dict[str, BandRange] = {}
    for document in stored:
        for band, one in _parsed(document).items():
            found.setdefault(band, one)
    return {band: found[band] for band in in_order(found)} or None


def _parsed(document: Any) -> dict[str, BandRange]:
    where = f"manifest: {KEY}"
    if not isinstance(document, Mapping) or document.get("schema_version") != SCHEMA_VERSION:
        version = document.get("schema_version") if isinstance(document, Mapping) else document
        raise BundleError(
            f"{where} should be of schema_version {SCHEMA_VERSION}, is {version!r}; export the bundle again"
        )
    if list(document.get("quantiles", ())) != list(QUANTILES) or not isinstance(document.get("bands"), Mapping):
        raise BundleError(
            f"{where} should hold the quantiles {', '.join(map(str, QUANTILES))} of each band, holds "
            f"{document.get('quantiles')!r}; export the bundle again"
        )
    found = {}
    for band, statistics in document["bands"].items():
        if band not in BY_NAME:
            raise BundleError(f"{where} names the band {band!r}, which is unknown; export the bundle again")
        found[band] = BandRange(**{name: _rising(statistics, band, name, where) for name in STATISTICS})
    return found


def _rising(statistics: Any, band: str, name: str, where: str) -> tuple[float, ...]:
    values = statistics.get(name) if isinstance(statistics, Mapping) else None
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (len(QUANTILES),) or not np.isfinite(numbers).all() or (np.diff(numbers) < 0).any():
        raise BundleError(
            f"{where}: {name} of {band} should be {len(QUANTILES)} rising numbers, is {values!r}; "
            "export the bundle again"
        )
    return tuple(numbers.tolist())


def training_range(scene: SampledScene, ranges: Ranges | None) -> list[Outcome]:
    """A band whose level no training patch had, or with pixels that hardly one training patch had.

    Says nothing where the training card has no ranges.
    """
    found: list[Outcome] = []
    for name, one in (ranges or {}).items():
        values = scene.valid(name)
        if values.size < LEAST_PIXELS:
            if values.size:
                found.append(Unjudged(RANGE, f"{name} has {values.size} valid pixels in the sample"))
            continue
        unit = BY_NAME[name].unit
        middle = float(np.median(values))
        low, high = one.mean[_LOWEST], one.mean[_HIGHEST]
        beyond = float(((values < one.min[_LOWEST]) | (values > one.max[_HIGHEST])).mean())
        if not low <= middle <= high:
            text = (
                f"{name} has the median {middle:.5g} {unit}; of 1,000 training patches 998 have a mean of {low:.5g} to "
                f"{high:.5g} {unit}"
            )
        elif beyond > MOST_BEYOND_SHARE:
            text = (
                f"{beyond:.0%} of {name} lies outside of {one.min[_LOWEST]:.5g} to {one.max[_HIGHEST]:.5g} {unit}, "
                "which 998 of 1,000 training patches keep to"
            )
        else:
            continue
        found.append(Finding(RANGE, "likely", f"{text}: the probabilities were not trained for it"))
    return found
