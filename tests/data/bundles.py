"""Small bundles of random forests: they test machinery, their answers mean nothing. No training library needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from forests import random_forest

from lsd.export.golden import golden_outputs
from lsd.export.write import bundle_in_memory, write_bundle
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.bundle import GOLDEN_NAME, Bundle
from lsd.runtime.calibration import Calibration
from lsd.runtime.chain import Chain
from lsd.runtime.features.sets import FeatureSet, feature_set
from lsd.runtime.forest.table import ForestTable, forest_to_bytes
from lsd.runtime.manifest import Configuration, Manifest, Member
from lsd.runtime.npz import npz_bytes
from lsd.runtime.scores import Scores

CONFIGURATIONS = {"all": BAND_NAMES, "optical": of_modality("optical")}


def forest_over(wanted: FeatureSet, seed: int, accumulator: str) -> ForestTable:
    """A random forest whose thresholds lie where the features of simulated patches lie."""
    from lsd.export.adversarial import simulated_patches

    rows = wanted.of_patches(simulated_patches(12, seed), BAND_NAMES)
    forest = random_forest(seed, n_features=len(wanted.features), n_trees=30, accumulator=accumulator)
    rng = np.random.default_rng(seed)
    threshold = rows[rng.integers(0, len(rows), len(forest.feature)), forest.feature]
    return replace(forest, threshold=np.nan_to_num(threshold).astype(np.float32))


def random_bundle(min_valid_fraction: float = 0.9, configurations: tuple[str, ...] = ("all", "optical")) -> Bundle:
    """Two members (float64 and float32 sums) for each configuration, over the published table's features."""
    members, sets, contents, chosen = {}, {}, {}, []
    for name in configurations:
        wanted = feature_set("table-85", CONFIGURATIONS[name])
        sets[name] = wanted
        for number, (library, accumulator) in enumerate((("lightgbm", "float64"), ("xgboost", "float32"))):
            key = f"{name}-{library}"
            contents[f"forests/{key}.forest"] = forest_to_bytes(forest_over(wanted, 7 + number, accumulator))
            members[key] = Member(library, name, f"forests/{key}.forest", 30, {})
        keys = (f"{name}-lightgbm", f"{name}-xgboost")
        chosen.append(Configuration(name, CONFIGURATIONS[name], keys, (0.5, 0.5), Calibration("none"), 0.5, 0.2, {}))
    manifest = Manifest(
        name="random",
        description="Random forests for tests.",
        licence="Apache-2.0",
        synthetic=True,
        lsd_version="0",
        min_valid_fraction=min_valid_fraction,
        feature_sets=sets,
        members=members,
        configurations=tuple(chosen),
        training={},
        files={},
    )
    chain = Chain(bundle_in_memory(manifest, contents))
    contents[GOLDEN_NAME] = npz_bytes(golden_outputs(chain))
    return bundle_in_memory(manifest, contents)


def write(bundle: Bundle, folder: Path) -> Path:
    """The bundle as a folder."""
    folder.mkdir(parents=True)
    write_bundle(folder, bundle)
    return folder


def scores_equal(a: Scores, b: Scores) -> bool:
    """True if every array is the same, NaN included."""
    return all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )
