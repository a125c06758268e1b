"""A distilled student beside its teacher and beside the same network without one.

    python -m lsd.benchmarks.student --teacher RUN --student RUN --untaught RUN --forest RUN --patches DIR -o FILE

Accuracy is out of fold on the same rows and labels. Milliseconds are of one thread: a network of one fold in FP32 by
torch, and the forest with its statistics by the runtime's own code. The networks' pixels are surrogates (synthetic); a
member of the teacher that is known by its predictions only has no time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.features.sets import named_statistics
from lsd.train.datasets.npy import npy_dataset
from lsd.train.encoder_run import load_encoder_run
from lsd.train.metrics import evaluate, paired_f1_gain
from lsd.train.predictions import OutOfFold, read_out_of_fold
from lsd.train.predictors import fitted_member, predictor_from_run
from lsd.train.run import load_run

BATCH, REPEATS = 32, 7


def best_ms(work: Callable[[], object], patches: int) -> float:
    """Milliseconds a patch, the best of some repeats."""
    best = float("inf")
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started_s)
    return round(1000 * best / patches, 3)


def network_ms(run: Path, pixels: torch.Tensor) -> dict[str, float]:
    """One network of the run, a patch at a time and in batches."""
    network = load_encoder_run(run).networks[0]
    with torch.inference_mode():
        single = best_ms(lambda: network(pixels[:1]), 1)
        return {"ms_per_patch_batch_1": single, f"ms_per_patch_batch_{BATCH}": best_ms(lambda: network(pixels), BATCH)}


def forest_ms(run: Path, pixels: np.ndarray) -> dict[str, float]:
    """Statistics and trees of a forest run, in a batch."""
    loaded, predictor = load_run(run), predictor_from_run(run)
    members = [one for feature_set in loaded.feature_sets.values() for one in feature_set.statistics]
    statistics = best_ms(lambda: named_statistics(pixels, BAND_NAMES, list(dict.fromkeys(members))), BATCH)
    rows = {name: np.asarray(matrix[:BATCH]) for name, matrix in loaded.rows.items()}
    forests = [(fitted_member(member), rows[member.feature_set]) for member in loaded.members]
    trees = best_ms(lambda: [forest.probabilities(matrix) for forest, matrix in forests], BATCH)
    return {"trees": predictor.trees, "ms_per_patch_statistics": statistics, f"ms_per_patch_trees_batch_{BATCH}": trees}


def accuracy(run: OutOfFold, rows: dict[str, int], labels: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """F1 at p > .5 and AUC of the common rows, and the decisions."""
    at = np.array([rows[name] for name in run.ids if name in rows])
    probability = np.empty(len(rows))
    probability[at] = [p for name, p in zip(run.ids, run.probability, strict=True) if name in rows]
    found = evaluate(probability, labels)
    return {name: found[name] for name in ("f1", "auc", "ece")}, probability > 0.5


@click.command(cls=LsdCommand)
@click.option("--teacher", required=True, type=click.Path(path_type=Path), help="Run that taught.")
@click.option("--student", required=True, type=click.Path(path_type=Path), help="Encoder run that was taught.")
@click.option("--untaught", required=True, type=click.Path(path_type=Path), help="The same network on labels alone.")
@click.option("--forest", required=True, type=click.Path(path_type=Path), help="Forest in the teacher.")
@click.option("--patches", required=True, type=click.Path(path_type=Path), help="Patches to time with.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(teacher: Path, student: Path, untaught: Path, forest: Path, patches: Path, output: Path, commit: str) -> None:
    """Accuracy, size and time of teacher, student, and the student's untaught twin."""
    torch.set_num_threads(1)
    runs = {name: read_out_of_fold(run) for name, run in (("teacher", teacher), ("student", student))}
    runs["untaught"] = read_out_of_fold(untaught)
    common = sorted(set.intersection(*(set(run.ids) for run in runs.values())))
    rows = {name: i for i, name in enumerate(common)}
    label_of = dict(zip(runs["teacher"].ids, runs["teacher"].labels.tolist(), strict=True))  # type: ignore[union-attr]
    labels = np.array([label_of[name] for name in common], np.int8)
    found: dict[str, Any] = {}
    decisions = {}
    for name, run in runs.items():
        found[name], decisions[name] = accuracy(run, rows, labels)
    dataset = npy_dataset(patches)
    pixels = np.stack([dataset.read(i) for i in range(BATCH)])
    for name, folder in (("student", student), ("untaught", untaught)):
        found[name] |= {
            "parameters": load_encoder_run(folder).parameters,
            **network_ms(folder, torch.from_numpy(pixels)),
        }
    found["teacher"] |= {"forest": forest_ms(forest, pixels)}
    gain = paired_f1_gain([decisions["student"]], [decisions["untaught"]], labels)
    for name, one in found.items():
        click.echo(f"{name:<9} F1 {one['f1']['value']:.4f} AUC {one['auc']['value']:.4f} {one}")
    click.echo(f"student over untaught, F1: {gain}")
    result = {
        "conditions": {"commit": commit, **facts(), "torch_threads": 1},
        "pixels": "surrogate (synthetic) for the networks; the teacher saw real statistics and real pixels",
        "samples": len(common),
        "runs": found,
        "gain_of_student_over_untaught": gain,
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
