"""How many ordinary scenes each plausibility check flags, and how many faulty ones it finds.

    python -m lsd.benchmarks.plausibility --table features.csv.gz -o result.json

Scenes are samples of surrogates of all rows of the published table: of patches of similar ground (200 and 25 clusters)
and of three kinds of ground mixed. Faults are arithmetic on the samples; benchmarks/faults.py writes them to disk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.simulated_scenes import needed_statistics, patches_of
from lsd.runtime.acquisition.change import level_of
from lsd.runtime.acquisition.gate import judged
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.samples import Samples
from lsd.train.table import read_table

Scene = dict[str, NDArray[np.float64]]
Fault = Callable[[Scene], Scene]
PIXELS_OF_PATCH = 256
SEGMENT_PX = 16  # pixels side by side, in which they are drawn
MOST_PATCHES, LEAST_PATCHES = 40, 10  # of a scene
CHUNK = 256
SEED = 5
CLOUD_DN = 7000.0
DISPLAY_DB = (-25.0, 0.0)  # a usual range for pictures

OPTICAL, LEVELS, CHANGES = of_modality("optical"), of_modality("sar"), of_modality("sar_diff")


def _changed(bands: Sequence[str], change: Callable[[Any], Any]) -> Fault:
    """A change of some bands, where a scene has them."""
    return lambda scene: {**scene, **{band: change(scene[band]) for band in bands if band in scene}}


def _swapped(pairs: Mapping[str, str]) -> Fault:
    """Bands under each other's names; one that has no partner in a scene stays."""
    partner = {**pairs, **{b: a for a, b in pairs.items()}}
    return lambda scene: {band: scene.get(partner.get(band, band), scene[band]) for band in scene}


def _other_direction(bands: Sequence[str]) -> dict[str, str]:
    return {band: band.replace("desc", "asc") for band in bands if band.startswith("desc")}


def _reversed(scene: Scene) -> Scene:
    """Before and after exchanged in levels and differences alike."""
    pairs = {name: level_of(name) for name in CHANGES if {name, level_of(name)} <= set(scene)}
    before = {level: scene[level] - scene[name] for name, level in pairs.items()}
    return {**scene, **before, **{name: -scene[name] for name in pairs}}


def _cloud(dn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The second half of the pixels under thick cloud."""
    return np.where(np.arange(dn.size) >= dn.size // 2, CLOUD_DN + 0.2 * dn, dn)


FAULTS: dict[str, Fault] = {
    "no fault": lambda scene: scene,
    "red and blue swapped": _swapped({"red": "blue"}),
    "offset added twice": _changed(OPTICAL, lambda x: x + 1000),
    "offset missing": _changed(OPTICAL, lambda x: x - 1000),
    "optical bands 1.5 times as bright": _changed(OPTICAL, lambda x: 1000 + 1.5 * (x - 1000)),
    "cloud over half, called clear": _changed(OPTICAL, _cloud),
    "VV and VH swapped, descending": _swapped({"desc_vv": "desc_vh"}),
    "VV and VH swapped": _swapped({"desc_vv": "desc_vh", "asc_vv": "asc_vh"}),
    "VV and VH swapped in the differences only": _swapped({"desc_dvv": "desc_dvh", "asc_dvv": "asc_dvh"}),
    "directions swapped": _swapped(_other_direction((*LEVELS, *CHANGES))),
    "directions swapped in the differences only": _swapped(_other_direction(CHANGES)),
    "before and after reversed in all": _reversed,
    "before and after reversed in the differences only": _changed(CHANGES, lambda x: -x),
    "power declared as amplitude": _changed((*LEVELS, *CHANGES), lambda x: 2 * x),
    "amplitude declared as power": _changed((*LEVELS, *CHANGES), lambda x: x / 2),
    "radar 1 dB too high": _changed(LEVELS, lambda x: x + 1),
    "radar scaled for display (-25 to 0 dB)": _changed(LEVELS, lambda x: np.clip(x, *DISPLAY_DB)),
    "differences averaged (spread x .6)": _changed(CHANGES, lambda x: 0.6 * x),
    "differences of one constant": _changed(CHANGES, lambda x: 0 * x + 0.7),
    "differences NaN": _changed(CHANGES, lambda x: np.nan * x),
    "other scene before the event (+ 3 dB)": _changed(CHANGES, lambda x: x + 3),
    "red of one value": _changed(("red",), lambda x: 0 * x + 1500),
    "VV of one value": _changed(("desc_vv", "asc_vv"), lambda x: 0 * x - 10),
    "red cut off at its brightest tenth": _changed(("red",), lambda x: np.minimum(x, np.nanquantile(x, 0.9))),
}


def with_speckle(scene: Scene) -> Scene:
    """The scene with the speckle of its differences in its levels, as two acquisitions of equal noise have it.

    Of a difference n1 - n2 the best guess of n1 is its half; the mean change of a patch is no speckle. Surrogates make
    level and difference apart.
    """
    found = dict(scene)
    for name in CHANGES:
        patches = scene[name].reshape(-1, PIXELS_OF_PATCH)
        speckle = (patches - patches.mean(axis=1, keepdims=True)) / 2
        found[level_of(name)] = scene[level_of(name)] + speckle.ravel()
    return found


def sampled_pixels(samples: Samples, seed: int = SEED) -> NDArray[np.float32]:
    """float32 (n, band, 256): segments of the surrogate of every row, the same places in all bands."""
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, len(samples), CHUNK):
        patches = patches_of(samples, np.arange(first, min(first + CHUNK, len(samples))), seed + first)
        flat = patches.reshape(*patches.shape[:2], -1)
        segments = flat.reshape(*flat.shape[:2], -1, SEGMENT_PX)
        chosen = rng.choice(segments.shape[2], PIXELS_OF_PATCH // SEGMENT_PX, replace=False)
        parts.append(segments[:, :, chosen].reshape(*flat.shape[:2], PIXELS_OF_PATCH))
    return np.concatenate(parts)


def scenes_of(samples: Samples, pixels: NDArray[np.float32], seed: int = SEED) -> list[Scene]:
    """Scenes: one of each of 200 clusters, eight of each of 25, 200 of three of the smaller clusters together."""
    from sklearn.cluster import KMeans

    statistics = samples.statistics
    means = np.stack([statistics[f"{band}_mean"] for band in BAND_NAMES], axis=1)
    spreads = np.log(np.maximum(np.stack([statistics[f"{band}_std"] for band in BAND_NAMES], axis=1), 1e-3))
    table = np.concatenate([means, spreads], axis=1).astype(np.float64)
    table = (table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-9)
    rng = np.random.default_rng(seed)
    chosen: list[NDArray[np.intp]] = []
    small = np.empty(0)
    for number, times in ((200, 1), (25, 8)):
        groups = KMeans(min(number, len(table) // 2), n_init=3, random_state=0).fit_predict(table)
        small = groups if times == 1 else small
        members = [np.flatnonzero(groups == group) for group in range(number)]
        members = [one for one in members if len(one) >= LEAST_PATCHES]
        chosen += [rng.permutation(one)[:MOST_PATCHES] for one in members for _ in range(times)]
    for _ in range(200):
        mixed = np.flatnonzero(np.isin(small, rng.choice(np.unique(small), 3, replace=False)))
        chosen.append(rng.permutation(mixed)[:MOST_PATCHES])
    return [{band: pixels[rows, i].ravel().astype(np.float64) for i, band in enumerate(BAND_NAMES)} for rows in chosen]


def rates(scenes: list[Scene], fault: Fault) -> dict[str, Any]:
    """Numbers of scenes refused and flagged, the latter by check."""
    refused = flagged = 0
    checks: Counter[str] = Counter()
    for scene in scenes:
        verdict = judged(SampledScene(fault(scene)))
        if verdict.certain:
            refused += 1
            continue
        flagged += bool(verdict.findings)
        checks.update({one.check.replace("-", " ") for one in verdict.findings})
    return {"refused": refused, "flagged": flagged, "by_check": dict(checks)}


@click.command(cls=LsdCommand)
@click.option("--table", required=True, type=click.Path(path_type=Path), help="The published feature table.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(table: Path, output: Path, commit: str) -> None:
    """Measure the plausibility checks on scenes made of the published table (five minutes)."""
    samples = read_table(table, needed_statistics())
    scenes = scenes_of(samples, sampled_pixels(samples))
    found = {name: rates(scenes, fault) for name, fault in FAULTS.items()}
    for name, one in found.items():
        click.echo(
            f"{name:<40} refused {one['refused']:>3} flagged {one['flagged']:>3} of {len(scenes)} {one['by_check']}"
        )
    result = {"conditions": {"commit": commit, **facts()}, "scenes": len(scenes), "faults": found}
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
