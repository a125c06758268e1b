"""Out-of-fold predictions of a recipe: every sample is predicted by forests that have not seen it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lsd.train.forests import fit
from lsd.train.recipe import Recipe


def out_of_fold(
    recipe: Recipe,
    matrices: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.int8],
    fold: NDArray[np.int8],
    seed: int,
    threads: int = 1,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Uncalibrated probabilities of each member.

    Args:
        matrices: feature set name -> float32 (n, feature).
        labels: (n,), 0 or 1.
        fold: (n,), fold in which a sample is held out; -1: never, its prediction stays NaN.
        seed: of the forests.
        advance: called after each fit.
    Returns:
        member -> float64 (n,).
    """
    found = {member.id: np.full(len(labels), np.nan) for member in recipe.members}
    for number in np.unique(fold[fold >= 0]):
        held_out = fold == number
        for member in recipe.members:
            rows = matrices[member.feature_set]
            forest = fit(member, rows[~held_out], labels[~held_out], seed, threads)
            found[member.id][held_out] = forest.probabilities(rows[held_out])
            advance()
    return found


def combined(recipe: Recipe, members: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """float64 (n,): weighted mean of the members' probabilities."""
    parts = [weight * members[member.id] for member, weight in zip(recipe.members, recipe.weights, strict=True)]
    return np.asarray(np.sum(parts, axis=0), np.float64)
