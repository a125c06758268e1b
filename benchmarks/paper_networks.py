"""The paper's seven networks on this machine: parameters, and one epoch on surrogate patches.

    python -m lsd.benchmarks.paper_networks --patches DIR -o result.json

Synthetic pixels and one epoch: the losses say that the machinery moves, nothing about slides.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.npy import npy_dataset
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import known_encoder_recipes, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.fitting.fold import FoldTask, fit_fold
from lsd.train.fitting.machine import Machine, machine_of

SEED = 42
TRAINING, HELD_OUT = 128, 32


def one_epoch(name: str, dataset: PatchDataset, machine: Machine) -> dict[str, Any]:
    """Build a recipe and train it for one epoch; seconds, parameters, losses."""
    recipe = read_encoder_recipe(name)
    torch.manual_seed(SEED)
    network = network_from_recipe(recipe, paper_scaling(recipe.scaling.kind))
    started_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task = FoldTask(
            dataset=dataset.arranged(recipe.bands),
            targets=dataset.labels.astype(np.float32),
            training=np.arange(TRAINING),
            held_out=np.arange(TRAINING, len(dataset)),
            fitting=replace(recipe.fitting, epochs=1),
            seed=SEED,
            fold=0,
            folder=Path(folder),
            machine=machine,
        )
        history = fit_fold(network, task)
    seconds = time.perf_counter() - started_s
    return {
        "encoders": [one.backbone for one in recipe.network.encoders],
        "parameters": sum(value.numel() for value in network.parameters()),
        "batch_size": recipe.fitting.batch_size,
        "seconds": round(seconds, 1),
        "ms_per_patch_trained": round(1000 * seconds / TRAINING, 1),
        "loss": history[0]["loss"],
        "held_out_log_loss": history[0]["held_out_log_loss"],
    }


@click.command(cls=LsdCommand)
@click.option("--patches", required=True, type=click.Path(path_type=Path), help="Folder of lsd-train surrogate.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:NUMBER.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, bf16 or fp16: the latter two are mixed.")
def main(patches: Path, output: Path, commit: str, threads: int, device: str, precision: str) -> None:
    """Train each of the paper's networks for one epoch on 128 surrogates, 32 held out (ten minutes on a CPU)."""
    whole = npy_dataset(patches, None)
    rng = np.random.default_rng(SEED)
    dataset = whole.subset(np.sort(rng.choice(len(whole), TRAINING + HELD_OUT, replace=False)))
    machine = machine_of(device, precision, threads, 1)
    found = {}
    for name in (name for name in known_encoder_recipes() if name.startswith("paper-")):
        found[name] = one = one_epoch(name, dataset, machine)
        click.echo(
            f"{name:<12} {one['parameters']:>12,} parameters {one['seconds']:>7.1f} s "
            f"{one['ms_per_patch_trained']:>7.1f} ms a patch, loss {one['loss']:.3f}"
        )
    conditions = {"commit": commit, **facts(), "torch": torch.__version__, **machine.describe()}
    result = {"conditions": conditions, "synthetic": True, "training": TRAINING, "held_out": HELD_OUT, "recipes": found}
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
