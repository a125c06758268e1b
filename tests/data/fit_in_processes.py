"""Fit a network without noise on the patches of `patch_sets`, in as many processes as started this; rank 0 saves it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from patch_sets import TINY_RECIPE, patch_set
from torch import nn

from lsd.runtime.bands import BAND_NAMES
from lsd.train.encoders.recipe import encoder_recipe_of
from lsd.train.fitting.fold import FoldTask, fit_fold
from lsd.train.fitting.machine import machine_of
from lsd.train.fitting.predict import probabilities
from lsd.train.fitting.world import world_from_environment


class Mean(nn.Module):
    """Logistic regression on band means."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(len(BAND_NAMES), 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits (n,)."""
        return self.layer((patches.nan_to_num(0.0).mean(dim=(2, 3)) + 5) / 1000).squeeze(1)


def main(folder: Path) -> None:
    """Fit, predict, save."""
    world = world_from_environment()
    dataset = patch_set(48)
    settings = replace(encoder_recipe_of(TINY_RECIPE, "tiny").fitting, epochs=3, batch_size=12, clip_norm=1.0)
    training, held_out = np.arange(36), np.arange(36, 47)
    job = FoldTask(
        dataset,
        dataset.labels.astype(np.float32),
        training,
        held_out,
        settings,
        7,
        0,
        folder,
        machine_of("cpu", "fp32", 1, 1),
        world,
    )
    model = Mean()
    history = fit_fold(model, job)
    found = probabilities(model, dataset, held_out, job.machine, world=world)
    if world.leads:
        np.savez(folder / "found.npz", weight=model.layer.weight.detach(), p=found, loss=history[-1]["loss"])
    world.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
