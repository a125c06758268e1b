"""The pair of exits that lets a given share of the patches leave and changes the fewest labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.train.cascade.views import Array, Mask


@dataclass(frozen=True)
class Pair:
    """Patches leave low below `low`, high above `high`, 0 <= low <= high <= 1."""

    low: float
    high: float


def best_pair(first: Array, whole: Array, decision: Mask, labels: NDArray[np.int8], share: float) -> Pair:
    """Choose on these samples.

    Among all pairs by which at least this share leaves, and no more than that needs: the fewest changed labels, a slide
    that the ensemble finds and that leaves low counted twice; among these the least doubt, which is the number of
    wrong exits that the ensemble's own probabilities expect.

    Args:
        first: float64 (n,), of the forest; one of exactly 0 cannot leave high, nor one of exactly 1 low.
        whole, decision: of the ensemble. labels: int8 (n,). share: 0..1.
    """
    n = len(first)
    order = np.argsort(first, kind="stable")
    p, q, called = first[order], whole[order], decision[order]
    found = called & (labels[order] == 1)
    wrong_low, doubt_low = _running(called.astype(np.float64) + found), _running(q)
    wrong_high, doubt_high = _running((~called[::-1]).astype(np.float64)), _running(1.0 - q[::-1])
    # samples below each cut; equal ones stay together
    cuts = np.flatnonzero(np.concatenate([[True], p[1:] > p[:-1], [True]]))
    from_top = n - cuts[::-1]
    needed = np.maximum(int(np.ceil(share * n)) - cuts, 0)
    above = from_top[np.searchsorted(from_top, needed)]
    wrong, doubt = wrong_low[cuts] + wrong_high[above], doubt_low[cuts] + doubt_high[above]
    at = int(np.lexsort((doubt, wrong))[0])
    low = _midway(p, int(cuts[at]), below=True)
    return Pair(low, max(low, _midway(p, n - int(above[at]), below=False)))


def _running(values: Array) -> Array:
    """float64 (n + 1,): sum of the first 0, 1, ... n values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _midway(p: Array, cut: int, below: bool) -> float:
    """A number between the sorted values left and right of a cut, that parts them by < (below) or by >."""
    if cut == 0:
        return 0.0
    if cut == len(p):
        return 1.0
    left, right = float(p[cut - 1]), float(p[cut])
    middle = (left + right) / 2
    if left < middle < right:
        return middle
    return right if below else left
