"""F1 and AUC on the real table of 7,147 patches: our recipes beside the paper's settings on the same folds.

    python -m lsd.benchmarks.real_table --table features.csv.gz --network network_oof.csv --cache oof/ -o result.json

Out-of-fold throughout. `--cache` keeps the predictions, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.haze import is_hazy
from lsd.train.configuration import REFERENCE_STATISTICS, SEA_STATISTIC, feature_sets_of
from lsd.train.crossvalidate import combined, out_of_fold
from lsd.train.folds import clusters, group_folds, k_folds
from lsd.train.groups import GROUPS
from lsd.train.metrics import evaluate, is_open_sea, paired_f1_gain
from lsd.train.recipe import Recipe, read_recipe
from lsd.train.samples import Samples
from lsd.train.table import read_table

SEEDS = (42, 43, 44, 45, 46)
FOLDS = 5
CASES = (  # configuration, recipe, seeds
    ("all", "default", SEEDS),
    ("optical", "partial", SEEDS),
    ("sar", "partial", SEEDS),
    ("all", "paper-lightgbm-table", SEEDS),
    ("all", "paper-xgboost-table", SEEDS[:1]),
    ("optical", "paper-lightgbm-table", SEEDS[:1]),
    ("sar", "paper-lightgbm-table", SEEDS[:1]),
)
Array = NDArray[np.float64]


class Bench:
    """The table, and out-of-fold predictions computed once."""

    def __init__(self, table: Path, cache: Path) -> None:
        needed = {name for _, recipe, _ in CASES for name in _statistics(read_recipe(recipe))}
        self.samples: Samples = read_table(table, sorted(needed), REFERENCE_STATISTICS)
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)

    def oof(self, name: str, recipe: Recipe, configuration: str, fold: NDArray[np.int8], seed: int) -> Array:
        """float64 (n,): mean of the members, each sample predicted by forests that did not see its fold."""
        file = self.cache / f"{name}.npy"
        if not file.exists():
            click.echo(f"fitting {name}", err=True)
            sets = feature_sets_of(recipe, GROUPS[configuration])
            matrices = {key: one.of_statistics(self.samples.statistics) for key, one in sets.items()}
            labels = self.samples.labels
            np.save(file, combined(recipe, out_of_fold(recipe, matrices, labels, fold, seed)), allow_pickle=False)
        found: Array = np.load(file, allow_pickle=False)
        return found


def _statistics(recipe: Recipe) -> set[str]:
    return {name for one in feature_sets_of(recipe, GROUPS["all"]).values() for name in one.statistics}


def by_seed(bench: Bench, configuration: str, recipe: str, seeds: tuple[int, ...]) -> dict[int, Array]:
    """Seed of the folds -> out-of-fold probabilities."""
    n = len(bench.samples)
    return {
        seed: bench.oof(
            f"{configuration}-{recipe}-{seed}", read_recipe(recipe), configuration, k_folds(n, FOLDS, seed), seed
        )
        for seed in seeds
    }


def scores(found: dict[int, Array], labels: NDArray[np.int8]) -> dict[str, Any]:
    """F1 at .5 and AUC of each seed and their means; all metrics with intervals for the first seed."""
    each = {seed: evaluate(p, labels) for seed, p in found.items()}
    return {
        "f1_by_seed": {seed: metrics["f1"]["value"] for seed, metrics in each.items()},
        "auc_by_seed": {seed: metrics["auc"]["value"] for seed, metrics in each.items()},
        "f1_mean": float(np.mean([metrics["f1"]["value"] for metrics in each.values()])),
        "auc_mean": float(np.mean([metrics["auc"]["value"] for metrics in each.values()])),
        "first_seed": next(iter(each.values())),
    }


def with_network(found: dict[int, Array], samples: Samples, network: Path) -> dict[str, Any]:
    """The plain mean with a real network's out-of-fold probabilities, on the rows that it has."""
    with network.open(newline="", encoding="utf-8") as lines:
        theirs = {row["ID"]: float(row["eva_oof_prob"]) for row in csv.DictReader(lines)}
    rows = np.array([name in theirs for name in samples.ids])
    p = np.array([theirs[name] for name in samples.ids if name in theirs])
    labels = samples.labels[rows]
    return {
        "rows": int(rows.sum()),
        "network_alone": scores({0: p}, labels)["f1_mean"],
        **scores({seed: (ours[rows] + p) / 2 for seed, ours in found.items()}, labels),
    }


def nested_choice(bench: Bench, seed: int) -> dict[str, Any]:
    """Choose the recipe inside each training part, by F1 of an inner cross-validation over its four folds.

    A forest trained without folds j and k serves outer fold j with inner fold k and the other way round: ten pairs.
    """
    default = read_recipe("default")
    plain = replace(
        default, name="default-table", members=tuple(replace(m, feature_set="table-85") for m in default.members)
    )
    candidates = {
        "paper-lightgbm-table": read_recipe("paper-lightgbm-table"),
        "default-table": plain,
        "default": default,
    }
    labels = bench.samples.labels
    fold = k_folds(len(labels), FOLDS, seed)
    pair_fold = {}
    for j in range(FOLDS):
        for k in range(j + 1, FOLDS):
            held = np.isin(fold, (j, k))
            for name, recipe in candidates.items():
                two = np.where(held, 0, -1).astype(np.int8)
                pair_fold[name, j, k] = pair_fold[name, k, j] = bench.oof(
                    f"pair-{name}-{seed}-{j}{k}", recipe, "all", two, seed
                )
    outer = {name: bench.oof(f"all-{name}-{seed}", recipe, "all", fold, seed) for name, recipe in candidates.items()}
    chosen, inner, p = [], [], np.empty(len(labels))
    for j in range(FOLDS):
        f1 = {}
        for name in candidates:
            parts = [(pair_fold[name, j, k][fold == k], labels[fold == k]) for k in range(FOLDS) if k != j]
            called = np.concatenate([part > 0.5 for part, _ in parts])
            truth = np.concatenate([truth for _, truth in parts])
            f1[name] = float(2 * (called & (truth == 1)).sum() / (called.sum() + truth.sum()))
        best = max(f1, key=lambda name: f1[name])
        chosen.append(best)
        inner.append(f1)
        p[fold == j] = outer[best][fold == j]
    return {"chosen_by_outer_fold": chosen, "inner_f1": inner, **scores({seed: p}, labels)}


def left_out_clusters(bench: Bench) -> dict[str, Any]:
    """Both recipes with whole clusters of similar ground held out."""
    statistics = bench.samples.statistics
    groups = clusters({name: statistics[name] for name in REFERENCE_STATISTICS})
    fold = group_folds(groups, FOLDS)
    names = ("default", "paper-lightgbm-table")
    found = {name: bench.oof(f"clusters-{name}", read_recipe(name), "all", fold, 42) for name in names}
    labels = bench.samples.labels
    gain = paired_f1_gain([found[names[0]] > 0.5], [found[names[1]] > 0.5], labels)
    return {**{name: evaluate(p, labels) for name, p in found.items()}, "f1_gain": gain}


def under_haze(bench: Bench, p: Array) -> dict[str, int]:
    """Patches without a detection, and slides missed in them, where the mean colour looks like haze and where not."""
    labels, statistics = bench.samples.labels, bench.samples.statistics
    hazy, missed = is_hazy(statistics["red_mean"], statistics["blue_mean"]), p <= 0.5
    return {
        "hazy_patches": int(hazy.sum()),
        "hazy_not_called": int((hazy & missed).sum()),
        "hazy_slides_missed": int((hazy & missed & (labels == 1)).sum()),
        "clear_not_called": int((~hazy & missed).sum()),
        "clear_slides_missed": int((~hazy & missed & (labels == 1)).sum()),
    }


@click.command(cls=LsdCommand)
@click.option("--table", required=True, type=click.Path(path_type=Path), help="The published feature table.")
@click.option("--network", required=True, type=click.Path(path_type=Path), help="CSV of ID and eva_oof_prob.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder that keeps predictions.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(table: Path, network: Path, cache: Path, output: Path, commit: str) -> None:
    """Measure every figure that docs/performance.md quotes about accuracy on the real table."""
    bench = Bench(table, cache)
    labels = bench.samples.labels
    found = {
        (configuration, recipe): by_seed(bench, configuration, recipe, seeds) for configuration, recipe, seeds in CASES
    }
    ours, paper = found["all", "default"], found["all", "paper-lightgbm-table"]
    land = ~is_open_sea(bench.samples.statistics[SEA_STATISTIC])
    result: dict[str, Any] = {
        "conditions": {"commit": commit, **facts()},
        "rows": len(labels),
        "positives": int(labels.sum()),
        "cases": {f"{c} {r}": scores(one, labels) for (c, r), one in found.items()},
        "land": {
            "share": float(land.mean()),
            "positives": int(labels[land].sum()),
            **scores({seed: p[land] for seed, p in ours.items()}, labels[land]),
        },
        "f1_gain_over_paper": paired_f1_gain([ours[s] > 0.5 for s in SEEDS], [paper[s] > 0.5 for s in SEEDS], labels),
        "mean_with_network": {
            "default": with_network(ours, bench.samples, network),
            "paper-lightgbm-table": with_network(paper, bench.samples, network),
        },
        "nested_choice": nested_choice(bench, SEEDS[0]),
        "leave_cluster_out": left_out_clusters(bench),
        "under_haze": {
            "all": under_haze(bench, ours[SEEDS[0]]),
            "optical": under_haze(bench, found["optical", "partial"][SEEDS[0]]),
        },
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for case, one in result["cases"].items():
        seeds = " ".join(f"{value:.4f}" for value in one["f1_by_seed"].values())
        click.echo(f"{case:<32} F1 {one['f1_mean']:.4f} AUC {one['auc_mean']:.4f} | {seeds}")
    gain = result["f1_gain_over_paper"]
    click.echo(f"gain over the paper's settings: {gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})")


if __name__ == "__main__":
    main()
