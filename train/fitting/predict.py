"""Probabilities of a network for patches on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsd.runtime.sigmoid import sigmoid
from lsd.train.datasets.base import PatchDataset
from lsd.train.fitting.augment import keep_only
from lsd.train.fitting.feed import batches
from lsd.train.fitting.machine import Machine
from lsd.train.fitting.world import World

BATCH_SIZE = 64


@torch.inference_mode()
def logits_of(network: nn.Module, patches: Tensor, machine: Machine, flips: bool = False) -> Tensor:
    """float64 (n,) on the CPU. flips: mean over the four flips (METHOD, inference); out of fold there are none."""
    moved = patches.to(machine.device)
    views = [moved, moved.flip(2), moved.flip(3), moved.flip(2, 3)] if flips else [moved]
    with machine.autocast():
        found = [network(view) for view in views]
    return torch.stack([one.double().cpu() for one in found]).mean(dim=0)


def probabilities(
    network: nn.Module,
    dataset: PatchDataset,
    positions: NDArray[np.intp],
    machine: Machine,
    bands: Sequence[str] | None = None,
    flips: bool = False,
    workers: int = 1,
    world: World | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> NDArray[np.float64]:
    """float64 (n,), not calibrated; the network is left in evaluation mode.

    Args:
        dataset: with the bands of the network, in its order.
        bands: only these are shown to the network, the others are invalid; None shows all.
        world: the processes that share the work; every one gets all probabilities.
        advance: called with the number of patches done.
    """
    world = world or World()
    network.eval()
    own = world.share(len(positions))
    mine = positions[own]
    plan = [mine[start : start + BATCH_SIZE] for start in range(0, len(mine), BATCH_SIZE)]
    found = torch.zeros(len(positions), dtype=torch.float64)
    at = own.start
    for chosen, patches in batches(dataset, plan, workers):
        if bands is not None:
            keep_only(patches, dataset.bands, bands)
        found[at : at + len(chosen)] = logits_of(network, patches, machine, flips)
        at += len(chosen)
        advance(len(chosen))
    total = world.sum(found.to(machine.device if machine.device.type == "cuda" else "cpu"))
    return sigmoid(total.cpu().numpy())
