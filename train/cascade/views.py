"""What an ensemble run, and the forest that is to be asked first, say of samples that neither saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.train.ensembles.nesting import MAX_FOLDS, MIN_FOLDS, Nesting, outcome_of

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
KFOLD, CLUSTERS = "kfold", "leave_cluster_out"


@dataclass(frozen=True)
class View:
    """n samples under one way of holding out; read-only.

    first: float64 (n,), probability of the forest, not calibrated. whole, decision: calibrated probability and decision
    of the whole ensemble, nested: by what the other folds chose. labels: int8 (n,). fold: int8 (n,), over which exits
    are chosen nested. scopes: `all` and, where it is known, `land` -> bool (n,).
    """

    name: str
    first: Array
    whole: Array
    decision: Mask
    labels: NDArray[np.int8]
    fold: NDArray[np.int8]
    scopes: Mapping[str, Mask]

    def __len__(self) -> int:
        return len(self.labels)


def cluster_view(
    probability: Array,
    column: int,
    cluster_probability: Array,
    cluster_fold: NDArray[np.int8],
    labels: NDArray[np.int8],
    method: str,
    scopes: Mapping[str, Mask],
) -> View | str:
    """The ensemble with a forest that saw nothing of a sample's region, chosen nested over regions; or why not.

    The other members' probabilities stay as they are: out of fold, but by their own folds.

    Args:
        probability: float64 (n, member), out of fold; `column` is the forest's. method: of the ensemble.
        cluster_probability: float64 (n,), of the forest with whole regions held out, by `cluster_fold` int8 (n,).
    """
    folds = np.unique(cluster_fold)
    if not MIN_FOLDS <= len(folds) <= MAX_FOLDS:
        return f"the forest's regions lie in {len(folds)} folds, expected {MIN_FOLDS} to {MAX_FOLDS}"
    for value in (0, 1):
        if len(np.unique(cluster_fold[labels == value])) < MIN_FOLDS:
            return f"samples with label {value} lie in fewer than {MIN_FOLDS} folds of regions"
    replaced = probability.copy()
    replaced[:, column] = cluster_probability
    cut = outcome_of(Nesting(replaced, labels, cluster_fold, method)).nested
    return View(CLUSTERS, cluster_probability, cut.probability, cut.decision, labels, cluster_fold, scopes)
