"""Which patches come in which order: fixed by seed, fold and epoch alone, so that a resumed run is the same run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]


def generator(seed: int, *place: int) -> np.random.Generator:
    """A generator of its own for each place (fold, epoch, step, purpose) of a run."""
    return np.random.default_rng([seed, *place])


def epoch_batches(
    positions: Positions, labels: NDArray[np.int8], sampling: str, batch_size: int, least: int, rng: np.random.Generator
) -> list[Positions]:
    """The batches of one epoch.

    Args:
        positions: (n,) of the training patches. labels: of all patches, indexed by position.
        sampling: `plain`: each patch once; `balanced`: n draws, half of them from each class, each class gone through
            whole before a patch of it comes again.
        least: a last batch of fewer patches joins the one before it: batch normalisation needs two in every part.
    Returns:
        arrays of batch_size positions, the last one shorter or longer.
    """
    order = rng.permutation(positions) if sampling == "plain" else _balanced(positions, labels, rng)
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] < least:
        cuts.pop()
    return np.split(order, cuts)


def _balanced(positions: Positions, labels: NDArray[np.int8], rng: np.random.Generator) -> Positions:
    half = -(-len(positions) // 2)
    drawn = []
    for label in (0, 1):
        own = positions[labels[positions] == label]
        rounds = [rng.permutation(own) for _ in range(-(-half // len(own)))]
        drawn.append(np.concatenate(rounds)[:half])
    return rng.permutation(np.concatenate(drawn))[: len(positions)]
