"""Train one configuration: out-of-fold predictions, calibration, threshold, metrics, forests fitted on all samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.calibration import Calibration
from lsd.runtime.features.sets import FeatureSet, feature_set
from lsd.train.calibrate import Nested, best_threshold
from lsd.train.crossvalidate import combined, out_of_fold
from lsd.train.folds import both_classes_in_training, clusters, folds_by, group_folds, numbered
from lsd.train.forests import FittedForest, fit
from lsd.train.judgement import judge, scopes
from lsd.train.metrics import evaluate, is_open_sea
from lsd.train.recipe import Recipe
from lsd.train.samples import Samples

SEA_STATISTIC = "desc_vh_mean"
# read where they are there, whatever the bands of the configuration: they tell land from sea, and clusters of ground
REFERENCE_STATISTICS = tuple(f"{band}_mean" for band in BAND_NAMES)


@dataclass(frozen=True)
class Trained:
    """Everything a run folder holds, before it is written.

    member_oof, mean_oof: not calibrated, by `fold`. cluster_oof: as mean_oof with whole clusters left out, by
    `cluster_fold`.
    """

    feature_sets: dict[str, FeatureSet]
    matrices: dict[str, NDArray[np.float32]]
    fold: NDArray[np.int8]
    member_oof: dict[str, NDArray[np.float64]]
    mean_oof: NDArray[np.float64]
    cluster_fold: NDArray[np.int8]
    cluster_oof: NDArray[np.float64]
    nested: Nested
    calibration: Calibration
    threshold: float
    look_threshold: float
    forests: dict[str, FittedForest]
    report: dict[str, Any]


def feature_sets_of(recipe: Recipe, bands: tuple[str, ...]) -> dict[str, FeatureSet]:
    """Feature set name -> the set over these bands, for every member of a recipe."""
    return {member.feature_set: feature_set(member.feature_set, bands) for member in recipe.members}


def fits_of(recipe: Recipe, folds: int) -> int:
    """Number of fits that `train_configuration` makes: by K-fold, by clusters, and the final ones."""
    return len(recipe.members) * (2 * folds + 1)


def train_configuration(
    samples: Samples,
    recipe: Recipe,
    bands: tuple[str, ...],
    folds: int,
    seed: int,
    threads: int = 1,
    advance: Callable[[], object] = lambda: None,
    kept_together: str = "kfold",
) -> Trained:
    """Train and evaluate.

    Args:
        samples: with every statistic that the recipe needs for these bands.
        folds, seed: of the folds that give the out-of-fold predictions, 3 or more; the forests use the same seed.
        advance: called after each fit.
        kept_together: kind of these folds, see `folds_by`.
    Raises:
        TableError: too few samples, positives or clusters for the folds, or no groups or events to fold by.
    """
    sets = feature_sets_of(recipe, bands)
    matrices = {name: one.of_statistics(samples.statistics) for name, one in sets.items()}
    labels = samples.labels
    fold = folds_by(kept_together, len(samples), folds, seed, samples.groups, samples.events)
    regions, regions_are = regions_of(samples, folds)
    group_fold = group_folds(regions, folds)
    for one in (fold, group_fold):
        both_classes_in_training(labels, one)

    member_oof = out_of_fold(recipe, matrices, labels, fold, seed, threads, advance)
    mean_oof = combined(recipe, member_oof)
    cluster_oof = combined(recipe, out_of_fold(recipe, matrices, labels, group_fold, seed, threads, advance))
    forests = {}
    for member in recipe.members:
        forests[member.id] = fit(member, matrices[member.feature_set], labels, seed, threads)
        advance()

    land = ~is_open_sea(samples.statistics[SEA_STATISTIC]) if SEA_STATISTIC in samples.statistics else None
    judged = judge(mean_oof, labels, fold, land)
    report = {
        "note": (
            "Out-of-fold: each sample predicted by forests that did not see it; the exported forests are fitted on all "
            "samples. kfold: mean of the members' probabilities at .5. nested: calibrated and cut by what the other "
            "folds chose (calibration by log loss, threshold by F1). "
            "leave_cluster_out: whole events held out where the data name them, else whole clusters of similar ground, "
            "a proxy for a changed region, at .5."
        ),
        "clusters": len(np.unique(regions)),
        "clusters_are": regions_are,
        "land": None if land is None else {"share": float(land.mean()), "positives": int(labels[land].sum())},
        "kfold": judged.metrics["kfold"],
        "nested": judged.metrics["nested"],
        "leave_cluster_out": scopes(cluster_oof, labels, land),
        "members": {name: evaluate(p, labels) for name, p in member_oof.items()},
        "look": judged.metrics["look"],
        "nested_choices": {
            "calibration": list(judged.nested.methods),
            "threshold": list(judged.nested.thresholds),
        },
        "importance": importance(recipe, forests, sets),
        "best_threshold_in_sample": best_threshold(mean_oof, labels),
    }
    return Trained(
        feature_sets=sets,
        matrices=matrices,
        fold=fold,
        member_oof=member_oof,
        mean_oof=mean_oof,
        cluster_fold=group_fold,
        cluster_oof=cluster_oof,
        nested=judged.nested,
        calibration=judged.calibration,
        threshold=judged.threshold,
        look_threshold=judged.look_threshold,
        forests=forests,
        report=report,
    )


def regions_of(samples: Samples, folds: int) -> tuple[NDArray[np.int32], str]:
    """int32 (n,), what leave-cluster-out holds out together, and what it is.

    `events` that the data name, if there is one for each fold; else clusters of `similar ground`.
    """
    if samples.events is not None and len(set(samples.events)) >= folds:
        return numbered(samples.events), "events"
    known = {name: samples.statistics[name] for name in REFERENCE_STATISTICS if name in samples.statistics}
    return clusters(known), "similar ground"


def importance(recipe: Recipe, forests: Mapping[str, FittedForest], sets: Mapping[str, FeatureSet]) -> dict[str, float]:
    """Feature name -> share of the split gain, mean over the members by weight; all features, greatest first."""
    gain: dict[str, float] = {}
    for member, weight in zip(recipe.members, recipe.weights, strict=True):
        names = sets[member.feature_set].names
        for name, share in zip(names, forests[member.id].gains(len(names)), strict=True):
            gain[name] = gain.get(name, 0.0) + weight * float(share)
    return dict(sorted(gain.items(), key=lambda item: (-item[1], item[0])))
