"""Every configuration of the reference bundle on the real table: five fold seeds, out of fold, all patches and land.

    python -m lsd.benchmarks.configurations --table features.csv.gz --cache oof/ -o result.json

Calibrated as the bundle shows probabilities, by what the other folds chose. `--cache` keeps predictions, so that an
interrupted run goes on where it stopped; half an hour on one core.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.calibrate import Nested, nested
from lsd.train.configuration import REFERENCE_STATISTICS, SEA_STATISTIC, feature_sets_of
from lsd.train.crossvalidate import combined, out_of_fold
from lsd.train.folds import k_folds
from lsd.train.groups import CONFIGURATIONS, GROUPS, bands_of_groups, name_of, recipe_of
from lsd.train.metrics import evaluate, is_open_sea
from lsd.train.recipe import read_recipe
from lsd.train.samples import Samples
from lsd.train.table import read_table

SEEDS = (42, 43, 44, 45, 46)
FOLDS = 5
REPORTED = ("f1", "auc", "ece", "precision_at_recall_0.9")
Array = NDArray[np.float64]


def out_of_fold_of(samples: Samples, configuration: str, seed: int, cache: Path) -> Array:
    """float64 (n,): mean of the members, not calibrated, each sample predicted by forests that did not see its fold."""
    file = cache / f"{name_of(configuration)}-{recipe_of(configuration)}-{seed}.npy"
    if not file.exists():
        click.echo(f"fitting {file.stem}", err=True)
        recipe = read_recipe(recipe_of(configuration))
        sets = feature_sets_of(recipe, bands_of_groups(configuration))
        matrices = {key: one.of_statistics(samples.statistics) for key, one in sets.items()}
        fold = k_folds(len(samples), FOLDS, seed)
        found = combined(recipe, out_of_fold(recipe, matrices, samples.labels, fold, seed))
        np.save(file, found, allow_pickle=False)
    kept: Array = np.load(file, allow_pickle=False)
    return kept


def measured(samples: Samples, found: dict[int, Array], rows: NDArray[np.bool_]) -> dict[str, Any]:
    """Metrics by seed and in the mean over some rows; the first seed with its intervals.

    f1_at_half: of the plain mean of the forests at p > .5. f1 and the rest: calibrated and cut by what other folds
    chose. look: share of the patches that are worth a look, and recall of detections and looks together.
    """
    labels = samples.labels
    cut: dict[int, Nested] = {seed: nested(p, labels, k_folds(len(labels), FOLDS, seed)) for seed, p in found.items()}
    each = {
        seed: evaluate(one.probability[rows], labels[rows], decision=one.decision[rows]) for seed, one in cut.items()
    }
    plain = {seed: evaluate(p[rows], labels[rows])["f1"]["value"] for seed, p in found.items()}
    values = {name: {seed: one[name]["value"] for seed, one in each.items()} for name in REPORTED}
    values["f1_at_half"] = plain
    slides = (labels == 1) & rows
    values["look_share"] = {seed: float(one.look[rows].mean()) for seed, one in cut.items()}
    values["look_recall"] = {seed: float((one.look | one.decision)[slides].mean()) for seed, one in cut.items()}
    return {
        "by_seed": values,
        "mean": {name: float(np.mean(list(found.values()))) for name, found in values.items()},
        "first_seed": {name: each[SEEDS[0]][name] for name in REPORTED},
    }


@click.command(cls=LsdCommand)
@click.option("--table", required=True, type=click.Path(path_type=Path), help="The published feature table.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder that keeps predictions.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(table: Path, cache: Path, output: Path, commit: str) -> None:
    """Measure F1, AUC, calibration error and precision at recall .9 of every configuration."""
    cache.mkdir(parents=True, exist_ok=True)
    recipes = [read_recipe(name) for name in ("default", "partial")]
    needed = {
        name for one in recipes for sets in feature_sets_of(one, GROUPS["all"]).values() for name in sets.statistics
    }
    samples = read_table(table, sorted(needed), REFERENCE_STATISTICS)
    land = ~is_open_sea(samples.statistics[SEA_STATISTIC])
    result: dict[str, Any] = {
        "conditions": {"commit": commit, **facts()},
        "rows": len(samples),
        "positives": int(samples.labels.sum()),
        "land_rows": int(land.sum()),
        "configurations": {},
    }
    for configuration in CONFIGURATIONS:
        found = {seed: out_of_fold_of(samples, configuration, seed, cache) for seed in SEEDS}
        scopes = {"all": np.ones(len(samples), bool), "land": land}
        one = {scope: measured(samples, found, rows) for scope, rows in scopes.items()}
        result["configurations"][name_of(configuration)] = one
        means = " ".join(f"{name} {value:.4f}" for name, value in one["all"]["mean"].items())
        click.echo(f"{name_of(configuration):<20} {means} | land auc {one['land']['mean']['auc']:.4f}")
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
