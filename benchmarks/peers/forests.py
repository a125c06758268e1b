"""Forests: margins of the same models by every library that evaluates them here, single rows and batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.benchmarks.peers.forest_models import COLUMNS, NAN_SHARE, SIZES, Model, Rows, models, rows_of
from lsd.benchmarks.peers.forest_peers import BATCH, OURS, PEERS, SINGLE, Margins, Predict, names_for
from lsd.benchmarks.peers.result import AbsentError, ResultFile, case_of, conditions_of, show
from lsd.benchmarks.peers.turns import TURNS, Work, calls_for, in_turns, repeated
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import LsdError

BATCH_ROWS, SEED = 5000, 42
THREADS = (1, 2)
OURS_ONE_THREAD = f"{OURS}, one thread"


def reference_margins(model: Model, rows: Rows) -> Margins:
    """What the library that trained the model says, with one thread: float64 (LightGBM) or float32 (XGBoost)."""
    peer = "LightGBM" if model.library == "lightgbm" else "XGBoost DMatrix"
    return PEERS[peer](model, 1)(rows)


def opened(
    model: Model, batch: str, threads: int, asked: Collection[str] = ()
) -> tuple[dict[str, Predict], dict[str, str]]:
    """Name -> what evaluates, and name -> why it cannot."""
    found: dict[str, Predict] = {}
    missing: dict[str, str] = {}
    for name in names_for(model, batch, asked):
        try:
            found[name] = PEERS[name](model, threads)
        except (AbsentError, LsdError, ImportError) as error:
            missing[name] = " ".join(str(error).split())
    return found, missing


def one_after_another(predict: Predict, rows: Rows) -> Callable[[], list[Margins]]:
    """A call that asks about every row alone: another row each time, as tiles bring them."""
    singles = [np.ascontiguousarray(row[None, :]) for row in rows]
    return lambda: [predict(row) for row in singles]


def single_rows(predict: Predict, rows: Rows) -> Work:
    """Enough single rows for a turn: those at hand, again from the first where they are too few."""
    singles = cycle([np.ascontiguousarray(row[None, :]) for row in rows])
    items = calls_for(lambda: predict(next(singles)))

    def call() -> None:
        for _ in range(items):
            predict(next(singles))

    return Work(call, items)


def exactness(found: Margins, reference: Margins) -> dict[str, Any]:
    """How far margins are from the reference, and whether they are the same bits once both are of its type."""
    difference = np.abs(found.astype(np.float64) - reference.astype(np.float64))
    same = bool((found.astype(reference.dtype) == reference).all()) and found.dtype == reference.dtype
    most = float(difference.max())
    return {"max_difference": most, "equal": same, "exactness": "equal" if same else f"differs by {most:.1e}"}


def measure(
    model: Model, batch: str, threads: int, rows: Rows, turns: int, asked: Collection[str] = ()
) -> dict[str, Any]:
    """One model, one batch size, one number of threads: every peer asked for in turns, and how exact each is."""
    predicts, missing = opened(model, batch, threads, asked)
    if threads > 1 and batch == BATCH and OURS in predicts:  # in the same turns: how two threads scale
        predicts[OURS_ONE_THREAD] = PEERS[OURS](model, 1)
    checked = rows if batch == BATCH else rows[:200]
    reference = reference_margins(model, rows)[: len(checked)]
    exact, works = {}, {}
    for name, predict in predicts.items():
        if batch == BATCH:
            margins = predict(rows)
            works[name] = repeated(lambda predict=predict: predict(rows), len(rows))  # type: ignore[misc]
        else:
            margins = np.concatenate(one_after_another(predict, checked)())
            works[name] = single_rows(predict, rows)
        exact[name] = exactness(margins, reference)
    return case_of(in_turns(works, turns), OURS, exact, missing)


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option(
    "--cache", required=True, type=click.Path(path_type=Path), help="Folder of the models; those not there are trained."
)
@click.option(
    "--model", "names", multiple=True, type=click.Choice(list(SIZES)), help="May be given again.  [default: all]"
)
@click.option(
    "--peer", "asked", multiple=True, type=click.Choice(list(PEERS)), help="May be given again.  [default: all]"
)
@click.option("--threads", multiple=True, type=int, default=THREADS, show_default=True, help="May be given again.")
@click.option("--rows", "n_rows", default=BATCH_ROWS, show_default=True, help="Of the batch.")
@click.option("--turns", default=TURNS, show_default=True, help="Of every peer; slow ones take fewer.")
def forests(
    output: Path,
    commit: str,
    cache: Path,
    names: Sequence[str],
    asked: Sequence[str],
    threads: Sequence[int],
    n_rows: int,
    turns: int,
) -> None:
    """Margins of LightGBM and XGBoost models by every library that is here, in turns (half an hour, all models)."""
    settings = {"rows": n_rows, "columns": COLUMNS, "nan_share": NAN_SHARE, "turns": turns}
    result = ResultFile(output, conditions_of(commit, **settings))
    rows = rows_of(n_rows, SEED)
    for model in models(cache, names or list(SIZES)):
        for batch in (SINGLE, BATCH):
            for count in threads:
                case = f"{model.name}, batch {1 if batch == SINGLE else n_rows}, threads {count}"
                if not result.has(case):
                    result.put(case, measure(model, batch, count, rows, turns, asked))
                show(case, result.cases[case])
