"""Feature sets: named, versioned lists of features. The manifest carries the whole list and its hash.

`feature_set(name, bands)` builds the list for the bands of one configuration; `FeatureSet.of_patches` and
`.of_statistics` compute it, in training and at run time alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, INDEX_NAMES, in_order, indices_of
from lsd.runtime.errors import BundleError
from lsd.runtime.features.formulas import STATISTIC, Feature, Plan
from lsd.runtime.features.statistics import STATISTICS, patch_statistics

PAPER_INDICES = INDEX_NAMES[:6]
TABLE_INDICES = ("ndvi", "ndwi")
TABLE_STATISTICS = ("mean", "std", "min", "max", "kurtosis", "skew")  # the published table's order, no medians
_CHANNELS = (*BAND_NAMES, *INDEX_NAMES)


@dataclass(frozen=True)
class FeatureSet:
    """An ordered list of features over named bands. Immutable; threads may share it."""

    name: str
    version: int
    bands: tuple[str, ...]
    features: tuple[Feature, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics (`red_mean`) that the formulas need, sorted by channel."""
        columns = {feature.name for feature in self.features if feature.operator != STATISTIC}
        needed = {operand for feature in self.features for operand in feature.operands} - columns
        return tuple(sorted(needed, key=lambda name: (_CHANNELS.index(split(name)[0]), split(name)[1])))

    @cached_property
    def definition_sha256(self) -> str:
        """SHA-256 of the definition as canonical JSON: two sets with one hash compute the same numbers."""
        text = json.dumps(self._definition(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "bands": list(self.bands),
            "features": [[feature.name, feature.operator, *feature.operands] for feature in self.features],
        }

    def to_json(self) -> dict[str, Any]:
        """The definition with its hash, as the manifest carries it."""
        return {**self._definition(), "sha256": self.definition_sha256}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FeatureSet:
        """Read a definition and check it against its own hash and, if this version knows its name, against ours.

        Raises:
            BundleError: the list does not have the hash it states, or differs from ours of the same name and version.
        """
        features = tuple(Feature(row[0], row[1], tuple(row[2:])) for row in stored["features"])
        found = cls(stored["name"], stored["version"], in_order(stored["bands"]), features)
        columns: set[str] = set()
        for feature in features:
            for operand in feature.operands:
                if feature.operator == STATISTIC or operand not in columns:
                    split(operand)
            columns.add(feature.name)
        if found.definition_sha256 != stored["sha256"]:
            raise BundleError(
                f"feature set {found.name} v{found.version}: the manifest states definition {stored['sha256'][:12]}, "
                f"its list has {found.definition_sha256[:12]}; export the bundle again"
            )
        if found.name in SETS and SETS[found.name][0] == found.version:
            ours = feature_set(found.name, found.bands)
            if ours.definition_sha256 != found.definition_sha256:
                raise BundleError(
                    f"feature set {found.name} v{found.version} of the bundle has definition "
                    f"{found.definition_sha256[:12]}, ours has {ours.definition_sha256[:12]}; export the bundle again"
                )
        return found

    def of_statistics(self, statistics: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float32]:
        """float32 (n, feature) from named statistics, as a feature table holds them."""
        return self._plan.evaluate(statistics)

    @cached_property
    def _plan(self) -> Plan:
        return Plan.of(self.features)

    def of_patches(self, pixels: NDArray[np.float32], bands: Sequence[str]) -> NDArray[np.float32]:
        """Features of raw patches.

        Args:
            pixels: float32 (n, band, y, x), DN or dB, NaN where invalid; not modified.
            bands: canonical names along axis 1; must include `self.bands`.
        Returns:
            float32 (n, feature); a row depends on its own patch only.
        """
        return self.of_statistics(named_statistics(pixels, bands, self.statistics))


def named_statistics(
    pixels: NDArray[np.float32], bands: Sequence[str], names: Sequence[str], threads: int = 1
) -> dict[str, NDArray[np.float64]]:
    """Statistic name -> float64 (n,) for raw patches, as `patch_statistics` computes them."""
    found = patch_statistics(pixels, bands, _by_channel(tuple(names)), threads)
    return {f"{channel}_{statistic}": values for (channel, statistic), values in found.items()}


@lru_cache(maxsize=64)
def _by_channel(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Channel -> statistics wanted. Not to be changed: it is shared."""
    wanted: dict[str, list[str]] = {}
    for channel, statistic in map(split, names):
        wanted.setdefault(channel, []).append(statistic)
    return {channel: tuple(some) for channel, some in wanted.items()}


def split(name: str) -> tuple[str, str]:
    """`desc_vv_mean` -> (`desc_vv`, `mean`).

    Raises:
        BundleError: no such channel or statistic.
    """
    channel, _, statistic = name.rpartition("_")
    if channel not in _CHANNELS or statistic not in STATISTICS:
        raise BundleError(f"unknown statistic {name!r}: expected CHANNEL_STATISTIC with one of {', '.join(STATISTICS)}")
    return channel, statistic


def _statistics_of(channel_names: Sequence[str], statistics: Sequence[str]) -> list[Feature]:
    names = [f"{channel}_{statistic}" for channel in channel_names for statistic in statistics]
    return [Feature(name, STATISTIC, (name,)) for name in names]


def paper(bands: tuple[str, ...]) -> list[Feature]:
    """The paper's 126 statistics: 7 of each band and of each of the six indices (METHOD, v18b and v44)."""
    indices = [index.name for index in indices_of(bands) if index.name in PAPER_INDICES]
    return _statistics_of([*bands, *indices], STATISTICS)


def table(bands: tuple[str, ...]) -> list[Feature]:
    """The published table's 85 columns: brightness, then 6 statistics of each band, NDVI and NDWI."""
    indices = [index.name for index in indices_of(bands) if index.name in TABLE_INDICES]
    rest = _statistics_of([*bands, *indices], TABLE_STATISTICS)
    if {"red", "green", "blue"} <= set(bands):
        return [Feature("brightness", "mean_of_three", ("blue_mean", "green_mean", "red_mean")), *rest]
    return rest


OPTICAL_PAIRS = (
    ("nir", "blue"), ("nir", "green"), ("nir", "red"), ("red", "green"), ("red", "blue"), ("green", "blue"),
)  # fmt: skip
RADAR_PAIRS = (
    ("desc_vv", "desc_vh"), ("desc_dvv", "desc_dvh"), ("asc_vv", "asc_vh"), ("asc_dvv", "asc_dvh"),
    ("asc_vv", "desc_vv"), ("asc_vh", "desc_vh"), ("asc_dvv", "desc_dvv"), ("asc_dvh", "desc_dvh"),
)  # fmt: skip
LEVELS = ("mean", "std", "min", "max")
QUANTILES = ("q05", "q50", "q95")


def second_order(bands: tuple[str, ...]) -> list[Feature]:
    """Statistics without medians, and how bands relate: contrasts of pairs, spread, asymmetry, approximated quantiles.

    376 columns for all bands, 144 optical, 232 radar. Chosen on the real table with fold seeds that are not reported;
    docs/performance.md says what each group adds.
    """
    indices = [index.name for index in indices_of(bands) if index.name in TABLE_INDICES]
    optical = [pair for pair in OPTICAL_PAIRS if set(pair) <= set(bands)]
    radar = [pair for pair in RADAR_PAIRS if set(pair) <= set(bands)]
    features = _statistics_of([*bands, *indices], TABLE_STATISTICS)
    for operator in ("normalised_difference", "ratio"):
        features += _pairs(operator, optical, ("mean", "std", "max"))
    for operator in ("difference", "sum"):
        features += _pairs(operator, radar, LEVELS)
    for band in bands:
        mean, std, least, most = (f"{band}_{statistic}" for statistic in LEVELS)
        features += [
            Feature(f"{band}_range", "difference", (most, least)),
            Feature(f"{band}_variation", "ratio_to_magnitude", (std, mean)),
            Feature(f"{band}_upper", "standardised_difference", (most, mean, std)),
            Feature(f"{band}_lower", "standardised_difference", (mean, least, std)),
        ]
    features += _pairs("difference", optical, LEVELS)
    if len(indices) == len(TABLE_INDICES):
        features += _pairs("sum", [TABLE_INDICES], ("skew", "kurtosis"))
    features += _pairs("difference", [*optical, *radar], ("skew", "kurtosis"))
    for channel in (*bands, *indices):
        operands = tuple(f"{channel}_{statistic}" for statistic in (*LEVELS, "skew", "kurtosis"))
        features += [Feature(f"{channel}_{q}", f"approximate_quantile_{q[1:]}", operands) for q in QUANTILES]
    for operator in ("difference", "sum"):
        features += _pairs(operator, radar, QUANTILES)
    return features


def _pairs(operator: str, pairs: Sequence[tuple[str, ...]], suffixes: Sequence[str]) -> list[Feature]:
    return [
        Feature(f"{operator}({a}_{suffix},{b}_{suffix})", operator, (f"{a}_{suffix}", f"{b}_{suffix}"))
        for a, b in pairs
        for suffix in suffixes
    ]


SETS: dict[str, tuple[int, Callable[[tuple[str, ...]], list[Feature]]]] = {  # name: (version, list of a set of bands)
    "paper-126": (1, paper),
    "table-85": (1, table),
    "second-order": (1, second_order),
}


def feature_set(name: str, bands: Sequence[str]) -> FeatureSet:
    """The registered set `name` for these bands (canonical names, any order).

    Raises:
        BundleError: no set of that name.
    """
    if name not in SETS:
        raise BundleError(f"unknown feature set {name!r}, known: {', '.join(SETS)}")
    version, build = SETS[name]
    ordered = in_order(bands)
    return FeatureSet(name, version, ordered, tuple(build(ordered)))
