"""Early exits on the real table: the forest first, then a real network's out-of-fold predictions.

    python -m lsd.benchmarks.cascade runs/ensemble -o benchmarks/results/cascade.json

RUN is an ensemble of a forest's run and the network's predictions. A minute on one core. Beside what `lsd-train
cascade` measures: pairs set by hand, and how far the shares move with the seed of the ensemble's folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.cascade.choose import choose
from lsd.train.cascade.inputs import read_inputs
from lsd.train.cascade.judged import judged
from lsd.train.cascade.ladder import BY_POINT, CERTIFIED, ladder_of, last_that_meets
from lsd.train.cascade.views import KFOLD, View
from lsd.train.ensembles.nesting import Nesting, outcome_of
from lsd.train.folds import k_folds
from lsd.train.run import OOF_NAME
from lsd.train.samples import read_rows
from lsd.train.save import json_bytes

SEEDS = (42, 43, 44, 45, 46)
FOLDS = 5
BY_HAND = ((0.02, 0.98), (0.05, 0.95))


def by_hand(views: Sequence[View]) -> dict[str, Any]:
    """What fixed pairs cost: nothing is chosen, so nothing is nested but the ensemble itself."""
    return {
        f"{low:g},{high:g}": {
            view.name: {
                name: judged(view, np.full(len(view), low), np.full(len(view), high), scope, None)
                for name, scope in view.scopes.items()
            }
            for view in views
        }
        for low, high in BY_HAND
    }


def shares(views: Sequence[View]) -> dict[str, Any]:
    """Greatest shares that may leave: by the upper bounds and by point, K-fold alone and in all views; None: none."""
    ladder = ladder_of(views)
    found: dict[str, Any] = {}
    for scope, names in ((KFOLD, (KFOLD,)), ("all views", None)):
        for policy, measure in ((CERTIFIED, "upper"), (BY_POINT, "share")):
            rung = last_that_meets(ladder, measure, names)
            found[f"{scope}: {policy}"] = None if rung is None else rung.share
    return found


def by_seed(run: Path, views: Sequence[View], members: Sequence[str], method: str) -> dict[int, Any]:
    """`shares` with the ensemble chosen over other folds; the members' predictions stay as they are."""
    header, rows = read_rows(run / OOF_NAME)
    probability = np.array([[float(row[header.index(name)]) for name in members] for row in rows])
    first, *others = views
    found = {}
    for seed in SEEDS:
        fold = k_folds(len(first), FOLDS, seed)
        cut = outcome_of(Nesting(probability, first.labels, fold, method)).nested
        view = replace(first, whole=cut.probability, decision=cut.decision, fold=fold)
        found[seed] = shares((view, *others))
    return found


@click.command(cls=LsdCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(run: Path, output: Path, commit: str) -> None:
    """Measure the exits of the ensemble in RUN."""
    inputs = read_inputs(run)
    report = choose(inputs, CERTIFIED).report
    report["ladder"] = [rung for rung in report["ladder"] if round(100 * rung["asked_share"]) % 5 == 0]
    method = str(inputs.document["combination"]["method"])
    seeds = by_seed(run, inputs.views, report["members"], method)
    result = {
        "conditions": {"commit": commit, **facts()},
        **report,
        "by_hand": by_hand(inputs.views),
        "by_seed": seeds,
    }
    output.write_bytes(json_bytes(result))
    for name, rung in report["policies"].items():
        for view, scopes in (rung or {"nested": {}})["nested"].items():
            row = scopes["all"]
            changes, lost, labels = (row[key] for key in ("label_changes", "found_slides_lost", "slides_left_low"))
            click.echo(
                f"{name:<10} {view:<18} leave {100 * row['exit']['share']:.1f} % | changes {changes['number']} "
                f"(at most {100 * changes['upper']:.2f} %) | found slides lost {lost['number']} of {lost['of']} "
                f"(at most {100 * lost['upper']:.2f} %) | slides left low {labels['number']} of {labels['of']} | "
                f"F1 {row['f1_whole']['value']:.4f} -> {row['f1']['value']:.4f}"
            )
    for seed, found in seeds.items():
        click.echo(f"folds by seed {seed}: " + ", ".join(f"{name} {share}" for name, share in found.items()))


if __name__ == "__main__":
    main()
