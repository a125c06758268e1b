"""How many ordinary scenes each plausibility check flags, and how many faulty ones it finds.

    python -m lsd.benchmarks.plausibility --table features.csv.gz -o result.json

Scenes are samples of surrogates of all rows of the published table: of patches of similar ground (200 and 25 clusters)
and of three kinds of ground mixed. Faults are arithmetic on the samples; benchmarks/faults.py writes them to disk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.simulated_scenes import needed_statistics, patches_of
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import TileError
from lsd.runtime.ingest.plausibility import warnings_of
from lsd.train.samples import Samples
from lsd.train.table import read_table

Scene = dict[str, NDArray[np.float64]]
PIXELS_OF_PATCH = 256
MOST_PATCHES, LEAST_PATCHES = 40, 10  # of a scene
CHUNK = 256
SEED = 5

OPTICAL, LEVELS, CHANGES = of_modality("optical"), of_modality("sar"), of_modality("sar_diff")


def _changed(bands: tuple[str, ...], change: Callable[[Any], Any]) -> Callable[[Scene], Scene]:
    return lambda scene: scene | {band: change(scene[band]) for band in bands}


def _swapped(a: str, b: str) -> Callable[[Scene], Scene]:
    return lambda scene: scene | {a: scene[b], b: scene[a]}


FAULTS: dict[str, Callable[[Scene], Scene]] = {
    "no fault": lambda scene: scene,
    "red and blue swapped": _swapped("red", "blue"),
    "offset added twice": _changed(OPTICAL, lambda x: x + 1000),
    "offset missing": _changed(OPTICAL, lambda x: x - 1000),
    "VV and VH swapped, descending": _swapped("desc_vv", "desc_vh"),
    "power declared as amplitude": _changed((*LEVELS, *CHANGES), lambda x: 2 * x),
    "amplitude declared as power": _changed((*LEVELS, *CHANGES), lambda x: x / 2),
    "radar 1 dB too high": _changed(LEVELS, lambda x: x + 1),
    "differences averaged (spread x .6)": _changed(CHANGES, lambda x: 0.6 * x),
    "differences of one constant": _changed(CHANGES, lambda x: 0 * x + 0.7),
    "other scene before the event (+ 3 dB)": _changed(CHANGES, lambda x: x + 3),
}
# words of a warning -> name of its check
CHECKS = {
    "darkest": "offset",
    "bluer": "red and blue",
    "exceeds": "VV against VH",
    "over the scene": "median of a difference",
    "varies": "spread of a difference",
    "outside": "level",
}


def sampled_pixels(samples: Samples, seed: int = SEED) -> NDArray[np.float32]:
    """float32 (n, band, 256): some pixels of the surrogate of every row, the same places in all bands."""
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, len(samples), CHUNK):
        patches = patches_of(samples, np.arange(first, min(first + CHUNK, len(samples))), seed + first)
        flat = patches.reshape(*patches.shape[:2], -1)
        parts.append(flat[:, :, rng.choice(flat.shape[2], PIXELS_OF_PATCH, replace=False)])
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


def rates(scenes: list[Scene], fault: Callable[[Scene], Scene]) -> dict[str, Any]:
    """Numbers of scenes refused and flagged, the latter by check."""
    refused = flagged = 0
    checks: Counter[str] = Counter()
    for scene in scenes:
        try:
            lines = warnings_of(fault(scene), "scene")
        except TileError:
            refused += 1
            continue
        flagged += bool(lines)
        checks.update({name for line in lines for words, name in CHECKS.items() if words in line})
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
