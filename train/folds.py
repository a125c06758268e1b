"""Folds: which samples train and which are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import TableError

KINDS = ("kfold", "group", "event")  # what `folds_by` can keep together: nothing, ground, events
CLUSTERS = 25  # proxies of regions: with 25, plain trees lose what METHOD reports for a changed one (docs/decisions.md)
CLUSTER_SEED = 0


def k_folds(n: int, folds: int, seed: int) -> NDArray[np.int8]:
    """int8 (n,): fold of each sample; scikit-learn's KFold(folds, shuffle=True, random_state=seed)."""
    from sklearn.model_selection import KFold

    if not 2 <= folds <= n:
        raise TableError(f"{folds} folds of {n} samples: expected 2 folds or more, and at least one sample each")
    fold = np.empty(n, np.int8)
    for number, (_, held_out) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(np.zeros(n))):
        fold[held_out] = number
    return fold


def clusters(statistics: Mapping[str, NDArray[np.float32]]) -> NDArray[np.int32]:
    """int32 (n,): cluster of each sample by KMeans on its standardised band means (`red_mean`; others are ignored).

    The published table names no region or event: clusters of similar ground stand in for them. One thread, since the
    order of sums over threads is not fixed.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    names = sorted(name for name in statistics if name.endswith("_mean"))
    means = np.nan_to_num(np.stack([statistics[name] for name in names], axis=1).astype(np.float64))
    spread = means.std(axis=0)
    scaled = (means - means.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    k = min(CLUSTERS, max(2, len(means) // 20))
    with threadpool_limits(1):
        found = KMeans(k, random_state=CLUSTER_SEED, n_init=4).fit_predict(scaled)
    return np.asarray(found, np.int32)


def group_folds(groups: NDArray[np.int32], folds: int) -> NDArray[np.int8]:
    """int8 (n,): fold of each sample so that no group is split; scikit-learn's GroupKFold(folds).

    Raises:
        TableError: fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold

    found = len(np.unique(groups))
    if found < folds:
        raise TableError(f"{folds} folds need at least as many groups, found {found}; give fewer --folds")
    fold = np.empty(len(groups), np.int8)
    zeros = np.zeros(len(groups))
    for number, (_, held_out) in enumerate(GroupKFold(folds).split(zeros, groups=groups)):
        fold[held_out] = number
    return fold


def both_classes_in_training(labels: NDArray[np.int8], fold: NDArray[np.int8]) -> None:
    """Raise TableError if holding out a fold leaves one class only."""
    names: Sequence[int] = sorted(set(fold.tolist()))
    for name in names:
        rest = labels[fold != name]
        if rest.min() == rest.max():
            raise TableError(
                f"without fold {name} all labels are {rest[0]}: {int(labels.sum())} positives are too few for "
                f"{len(names)} folds; give fewer --folds or more positives"
            )


def folds_by(
    kind: str,
    n: int,
    folds: int,
    seed: int,
    groups: Sequence[str] | None = None,
    events: Sequence[str] | None = None,
) -> NDArray[np.int8]:
    """int8 (n,): fold of each sample.

    Args:
        kind: `kfold` (see `k_folds`), `group` or `event`: no ground, no event is in two folds.
        groups, events: name of each sample's ground and event, None where the data do not tell.
    Raises:
        TableError: the data do not tell what is asked for, or there are fewer groups than folds.
    """
    if kind == "kfold":
        return k_folds(n, folds, seed)
    names = {"group": groups, "event": events}[kind]
    if names is None:
        raise TableError(
            f"these data name no {kind}s, so folds cannot keep them apart; add a column {kind!r} to the label file or "
            "fold by kfold"
        )
    return group_folds(numbered(names), folds)


def numbered(names: Sequence[str]) -> NDArray[np.int32]:
    """int32 (n,): the same number for the same name, in the order of the sorted names."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int32)
