"""Forests of the real table with the real network's out-of-fold predictions: plain mean, fitted weights, pruning.

    lsd-train forest --table features.csv.gz --recipe default -o runs/forest
    lsd-train forest --table features.csv.gz --recipe paper-xgboost-table -o runs/xgboost
    lsd-train forest --table features.csv.gz --recipe paper-lightgbm-table -o runs/lightgbm
    python -m lsd.benchmarks.ensembles runs/forest runs/xgboost runs/lightgbm --network network_oof.csv -o result.json

Measures the network with each run alone, with each pair of runs and with all of them. The forests take a quarter of an
hour on one core, the ensembles some minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.ensembles.joint import Joint, join
from lsd.train.ensembles.nesting import Nesting, outcome_of
from lsd.train.ensembles.training import train_ensemble
from lsd.train.folds import k_folds
from lsd.train.metrics import evaluate
from lsd.train.predictions import OutOfFold, read_external, read_out_of_fold
from lsd.train.save import json_bytes

SEEDS = (42, 43, 44, 45, 46)  # of the ensemble's folds; the first gives the intervals
FOLDS = 5
METRICS = ("f1", "auc", "log_loss", "ece")
WAYS = {"mean": ("mean", False), "chosen": ("chosen", False), "chosen, pruned": ("chosen", True)}


def subsets(members: Sequence[OutOfFold], network: OutOfFold) -> list[tuple[OutOfFold, ...]]:
    """The network with one run, with two, and so on."""
    sizes = range(1, len(members) + 1)
    return [(*some, network) for size in sizes for some in combinations(members, size)]


def by_seed(joint: Joint) -> dict[str, Any]:
    """F1 and AUC, calibrated and cut nested, by seed of the ensemble's folds; who has no weight on all samples."""
    found: dict[str, Any] = {}
    for way, (method, prune) in WAYS.items():
        values: dict[str, dict[int, float]] = {"f1": {}, "auc": {}}
        methods: set[str] = set()
        unasked: set[str] = set()
        for seed in SEEDS:
            nesting = Nesting(joint.probability, joint.labels, k_folds(len(joint), FOLDS, seed), method, prune)
            outcome = outcome_of(nesting)
            cut = outcome.nested
            metrics = evaluate(cut.probability, joint.labels, decision=cut.decision)
            for name in values:
                values[name][seed] = metrics[name]["value"]
            methods |= {one.method for one in outcome.by_fold}
            weights = outcome.final.weights
            unasked |= {name for name, weight in zip(joint.names, weights, strict=True) if weight == 0}
        means = {name: float(np.mean(list(one.values()))) for name, one in values.items()}
        found[way] = {"by_seed": values, "mean": means, "methods": sorted(methods), "unasked": sorted(unasked)}
    return found


def measured(joint: Joint) -> dict[str, Any]:
    """The report of an ensemble, cut down to what is quoted."""
    report = train_ensemble(joint, folds=FOLDS, seed=SEEDS[0]).report
    ways = {
        way: {cut: {name: one[cut][name] for name in METRICS} for cut in ("at_half", "nested")}
        for way, one in report["ways"].items()
    }
    kept = ("samples", "positives", "left_out", "gain_over_mean", "combination", "combination_by_fold")
    return {
        **{name: report[name] for name in (*kept, "correlation", "adds", "pruning")},
        "members": list(joint.names),
        "ways": ways,
        "seeds": by_seed(joint),
    }


@click.command(cls=LsdCommand)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--network", required=True, type=click.Path(path_type=Path), help="CSV: ID and the network's probability."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(runs: tuple[Path, ...], network: Path, output: Path, commit: str) -> None:
    """Measure ensembles of run folders of forests with the network's predictions."""
    result: dict[str, Any] = {"conditions": {"commit": commit, **facts()}, "ensembles": {}}
    for members in subsets([read_out_of_fold(run) for run in runs], read_external(network, "network")):
        joint = join(members)
        name = "+".join(joint.names)
        one = measured(joint)
        result["ensembles"][name] = one
        plain, ours = one["ways"]["mean of all"]["at_half"], one["ways"]["ensemble"]["nested"]
        click.echo(
            f"{name:<36} plain mean at .5: F1 {plain['f1']['value']:.4f} AUC {plain['auc']['value']:.4f} | nested: "
            f"F1 {ours['f1']['value']:.4f} AUC {ours['auc']['value']:.4f} | "
            f"could go: {', '.join(one['pruning']['could_go']) or 'none'}"
        )
    output.write_bytes(json_bytes(result))


if __name__ == "__main__":
    main()
