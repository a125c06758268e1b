"""Two results side by side: only like with like, as ratios with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.bench.conditions import differences
from lsd.benchmarks.bench.percentiles import is_measured

# Figures that a gate looks at: one for each question, so that chance has few tries
GATED = ("single-stream p50", "multi-stream p50", "offline time per patch", "server p50")
LEAST_VALUES = 3  # windows or repeats on each side, for an interval
_RESAMPLES = 5000
# settings without which a part measures something else; the others say how long and how often
_OF_PART = {
    "multi-stream": ("patches",),
    "offline": ("batch_size",),
    "stages": ("batch_size",),
    "tile": ("tile_side",),
    "fresh": ("batch_size",),
}


@dataclass(frozen=True)
class Ratio:
    """One figure of the second result divided by that of the first; above 1 is slower, or more memory.

    first, second: means of their windows or repeats, in `unit`. low, high: 95 % bootstrap interval over windows or
    repeats, None with fewer than `LEAST_VALUES` of them on a side.
    """

    name: str
    unit: str
    first: float
    second: float
    ratio: float
    low: float | None
    high: float | None

    def is_slower(self, tolerance: float) -> bool:
        """Whether the whole interval lies above 1 + tolerance."""
        return self.low is not None and self.low > 1.0 + tolerance

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Comparison:
    """differences: conditions that are not alike, in words; versions: those that differ, which is allowed; ratios: of
    every figure that both have; left_out: parts that cannot be compared, and why; cautions: what may have spoilt one of
    both."""

    differences: tuple[str, ...]
    versions: tuple[str, ...]
    ratios: tuple[Ratio, ...]
    left_out: tuple[str, ...]
    cautions: tuple[str, ...]

    def slower(self, tolerance: float) -> list[Ratio]:
        """The gated figures that are slower by more than the tolerance and beyond their noise."""
        return [one for one in self.ratios if one.name in GATED and one.is_slower(tolerance)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**vars(self), "ratios": [one.to_json() for one in self.ratios]}


def compare(a: Mapping[str, Any], b: Mapping[str, Any], seed: int = 0) -> Comparison:
    """Compare two results of lsd-bench; `seed` of the bootstrap."""
    left_out = _left_out(a, b)
    parts = {reason.split(":")[0] for reason in left_out}
    rng = np.random.default_rng(seed)
    first, second = figures_of(a), figures_of(b)
    ratios = [
        _ratio(name, unit, values, second[name][1], rng)
        for name, (unit, values) in first.items()
        if name in second and not any(name.startswith(f"{part} ") for part in parts)
    ]
    return Comparison(
        tuple(differences(a["conditions"], b["conditions"])),
        tuple(differences(a["versions"], b["versions"])),
        tuple(ratios),
        tuple(left_out),
        tuple(f"{which}: {one}" for which, document in (("first", a), ("second", b)) for one in cautions(document)),
    )


def figures_of(document: Mapping[str, Any]) -> dict[str, tuple[str, list[float]]]:
    """Name -> unit and values of its windows or repeats, of every figure in a result of which less is better.

    A percentile stands for a part only if every counted window had the samples for it.
    """
    found: dict[str, tuple[str, list[float]]] = {}
    for part, scenario in document["scenarios"].items():
        windows = [one for one in scenario["windows"] if one["counted"]]
        if part == "offline":
            found["offline time per patch"] = "s", [one["seconds_per_patch"] for one in windows]
            continue
        for key in ("p50_s", "p90_s", "p99_s"):
            if all(key in one for one in windows):
                found[f"{part} {key[:-2]}"] = "s", [one[key] for one in windows]
    for stage, measured in (document["stages"] or {}).items():
        windows = [one for one in measured["windows"] if one["counted"]]
        found[f"stages {stage}"] = "s", [one["seconds_per_patch"] for one in windows]
    if tile := document["tile"]:
        for stage, measured in tile["seconds"].items():
            found[f"tile {stage}"] = "s", measured["values"]
        found["tile whole"] = "s", tile["whole_s"]["values"]
        if is_measured(tile["peak_mb"]):
            found["tile peak memory"] = "MB", tile["peak_mb"]["values"]
    if fresh := document["fresh"]:
        for phase, measured in fresh["seconds"].items():
            found[f"fresh {phase}"] = "s", measured["values"]
        if is_measured(fresh["peak_mb"]):
            found["fresh peak memory"] = "MB", fresh["peak_mb"]["batches"]["values"]
    if is_measured(document["energy"]):
        found["offline energy per patch"] = "J", [document["energy"]["joules_per_patch"]]
    return {name: (unit, values) for name, (unit, values) in found.items() if min(values) > 0}


def cautions(document: Mapping[str, Any]) -> list[str]:
    """What may have spoilt a result: disturbances of the machine, and scenarios whose windows do not agree."""
    unstable = [
        f"{name}: windows do not agree (spread {100 * one['spread']:.1f} %)"
        for name, one in document["scenarios"].items()
        if not one["stable"]
    ]
    return [*document["machine"]["disturbances"], *unstable]


def _left_out(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    found = []
    for part, keys in _OF_PART.items():
        for key in keys:
            one, other = a["settings"][key], b["settings"][key]
            if one != other:
                found.append(f"{part}: {key} {one}, {other}")
    rates = [document["scenarios"].get("server", {}).get("rate_per_s") for document in (a, b)]
    if None not in rates and rates[0] != rates[1]:
        found.append(f"server: {rates[0]:.4g} patches a second, {rates[1]:.4g}; give --rate {rates[0]!r}")
    return found


def _ratio(name: str, unit: str, a: list[float], b: list[float], rng: np.random.Generator) -> Ratio:
    first, second = float(np.mean(a)), float(np.mean(b))
    low = high = None
    if min(len(a), len(b)) >= LEAST_VALUES:
        ratios = _means(b, rng) / _means(a, rng)
        low, high = (float(value) for value in np.quantile(ratios, (0.025, 0.975)))
    return Ratio(name, unit, first, second, second / first, low, high)


def _means(values: list[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """float64 (resamples,): means of values drawn with replacement."""
    drawn = rng.integers(0, len(values), (_RESAMPLES, len(values)))
    return np.asarray(np.array(values)[drawn].mean(axis=1))
