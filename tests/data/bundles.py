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
from lsd.runtime.combination import equal
from lsd.runtime.features.sets import FeatureSet, feature_set
from lsd.runtime.forest.table import ForestTable, forest_to_bytes
from lsd.runtime.manifest import Configuration, Manifest, Member, Part
from lsd.runtime.npz import npz_bytes
from lsd.runtime.scores import Scores

CONFIGURATIONS = {"all": BAND_NAMES, "optical": of_modality("optical"), "desc_post": ("desc_vv", "desc_vh")}


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
    members, sets, chosen = {}, {}, []
    for name in configurations:
        wanted = feature_set("table-85", CONFIGURATIONS[name])
        sets[name] = wanted
        for number, (library, accumulator) in enumerate((("lightgbm", "float64"), ("xgboost", "float32"))):
            key = f"{name}-{library}"
            member = Member(library, name, f"forests/{key}.forest", 30, {})
            members[key] = member, forest_over(wanted, 7 + number, accumulator)
        keys = (f"{name}-lightgbm", f"{name}-xgboost")
        chosen.append(_configuration(name, keys, (0.5, 0.5)))
    return _bundle("random", sets, members, tuple(chosen), min_valid_fraction)


def step_bundle(feature: str, threshold: float) -> Bundle:
    """Optical patches are a slide where a feature of `table-85` exceeds a threshold: an answer that can be foreseen."""
    wanted = feature_set("table-85", CONFIGURATIONS["optical"])
    one = np.array([0, 1], np.int32)
    forest = ForestTable(
        accumulator="float64",
        base_margin=0.0,
        n_features=len(wanted.features),
        node_offset=one,
        leaf_offset=2 * one,
        feature=np.array([wanted.names.index(feature)], np.uint16),
        threshold=np.array([threshold], np.float32),
        default_left=np.ones(1, np.uint8),
        left=np.array([~0], np.int16),
        right=np.array([~1], np.int16),
        leaf_value=np.array([-3.0, 3.0]),
    )
    return _bundle(
        "step",
        {"optical": wanted},
        {"step": (Member("lightgbm", "optical", "forests/step.forest", 1, {}), forest)},
        (_configuration("optical", ("step",), (1.0,)),),
    )


def _configuration(name: str, keys: tuple[str, ...], weights: tuple[float, ...]) -> Configuration:
    parts = (Part("forest", keys, weights),)
    return Configuration(name, CONFIGURATIONS[name], parts, equal(1), Calibration("none"), 0.5, 0.5, 0.2, {})


def _bundle(
    name: str,
    sets: dict[str, FeatureSet],
    members: dict[str, tuple[Member, ForestTable]],
    configurations: tuple[Configuration, ...],
    min_valid_fraction: float = 0.9,
) -> Bundle:
    contents = {member.table: forest_to_bytes(forest) for member, forest in members.values()}
    manifest = Manifest(
        name=name,
        description="Made-up forests for tests.",
        licence="Apache-2.0",
        synthetic=True,
        lsd_version="0",
        min_valid_fraction=min_valid_fraction,
        feature_sets=sets,
        members={key: member for key, (member, _) in members.items()},
        encoders={},
        configurations=configurations,
        training={},
        files={},
    )
    contents[GOLDEN_NAME] = npz_bytes(golden_outputs(Chain(bundle_in_memory(manifest, contents))))
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
