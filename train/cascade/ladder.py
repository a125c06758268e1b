"""Exits for every share of patches that may leave, judged nested by fold; and the named policies among them.

`certified` goes up from the smallest share and stops at the first that misses a limit by its upper bound, in any view
or scope: testing in an order fixed beforehand needs no correction for the number of tests (A. Angelopoulos et al.,
Learn then Test, arXiv 2110.01052, 2021, fixed sequence testing).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.cascade.judged import Costs, judged
from lsd.train.cascade.pairs import Pair, best_pair
from lsd.train.cascade.views import Array, Mask, View

SHARES = tuple(round(0.30 + 0.01 * step, 2) for step in range(66))
MOST_CHANGED = 0.001  # share of all labels
MOST_LOST = 0.003  # share of the slides that the whole ensemble finds
CERTIFIED, BY_POINT = "certified", "by-point"
KEPT_SHARES = {"exit-75": 0.75, "exit-85": 0.85, "exit-90": 0.90}
POLICIES = (CERTIFIED, BY_POINT, *KEPT_SHARES)


@dataclass(frozen=True)
class Rung:
    """Exits by which a share of the patches leaves.

    by_fold: view -> the pair that the other folds chose, by fold. nested: view -> scope -> row of the table, each fold
    judged with its pair. pair: for new patches, chosen on the samples of all views together. in_sample: as nested, with
    that pair.
    """

    share: float
    by_fold: dict[str, tuple[Pair, ...]]
    nested: dict[str, dict[str, Any]]
    pair: Pair
    in_sample: dict[str, dict[str, Any]]

    def rows(self, views: Collection[str] | None = None) -> tuple[dict[str, Any], ...]:
        """The rows of every scope, nested and in sample, of these views; None is all."""
        return tuple(
            row
            for table in (self.nested, self.in_sample)
            for view, scopes in table.items()
            if views is None or view in views
            for row in scopes.values()
        )


def rung_of(views: Sequence[View], share: float, costs: Costs | None = None) -> Rung:
    """Choose exits nested and on all samples, and judge them."""
    by_fold = {view.name: nested_pairs(view, share) for view in views}
    pair = best_pair(*_together(views), share)
    return Rung(
        share=share,
        by_fold=by_fold,
        nested={view.name: _by_scope(view, *limits_of(view, by_fold[view.name]), costs) for view in views},
        pair=pair,
        in_sample={view.name: _by_scope(view, *_everywhere(view, pair), costs) for view in views},
    )


def nested_pairs(view: View, share: float) -> tuple[Pair, ...]:
    """For each fold, in order of its number, what the other folds chose."""
    return tuple(_chosen(view, view.fold != number, share) for number in np.unique(view.fold))


def limits_of(view: View, pairs: Sequence[Pair]) -> tuple[Array, Array]:
    """low, high: float64 (n,), of each sample by its fold."""
    place = np.unique(view.fold, return_inverse=True)[1]
    return np.array([pair.low for pair in pairs])[place], np.array([pair.high for pair in pairs])[place]


def ladder_of(
    views: Sequence[View], costs: Costs | None = None, advance: Callable[[], object] = lambda: None
) -> tuple[Rung, ...]:
    """A rung for each of `SHARES`. advance: called after each."""
    found = []
    for share in SHARES:
        found.append(rung_of(views, share, costs))
        advance()
    return tuple(found)


def meets(rung: Rung, measure: str, views: Collection[str] | None = None) -> bool:
    """Whether label changes and found slides lost stay in their limits in every scope, nested and in sample.

    Args:
        measure: `upper`, the upper bound, or `share`, what was seen. views: names; None is all.
    """
    return all(
        row["label_changes"][measure] <= MOST_CHANGED and row["found_slides_lost"][measure] <= MOST_LOST
        for row in rung.rows(views)
    )


def last_that_meets(ladder: Sequence[Rung], measure: str, views: Collection[str] | None = None) -> Rung | None:
    """The last rung before the first that misses a limit; None if the first does. Arguments as of `meets`."""
    best = None
    for rung in ladder:
        if not meets(rung, measure, views):
            break
        best = rung
    return best


def policies_of(ladder: Sequence[Rung]) -> dict[str, Rung | None]:
    """Name of a policy -> its rung; None where no exits meet it."""
    by_share = {rung.share: rung for rung in ladder}
    return {
        CERTIFIED: last_that_meets(ladder, "upper"),
        BY_POINT: last_that_meets(ladder, "share"),
        **{name: by_share[share] for name, share in KEPT_SHARES.items()},
    }


def _chosen(view: View, rows: Mask, share: float) -> Pair:
    return best_pair(view.first[rows], view.whole[rows], view.decision[rows], view.labels[rows], share)


def _together(views: Sequence[View]) -> tuple[Array, Array, Mask, NDArray[np.int8]]:
    """What `best_pair` chooses from, of all views."""
    return (
        np.concatenate([view.first for view in views]),
        np.concatenate([view.whole for view in views]),
        np.concatenate([view.decision for view in views]),
        np.concatenate([view.labels for view in views]),
    )


def _everywhere(view: View, pair: Pair) -> tuple[Array, Array]:
    return np.full(len(view), pair.low), np.full(len(view), pair.high)


def _by_scope(view: View, low: Array, high: Array, costs: Costs | None) -> dict[str, Any]:
    return {name: judged(view, low, high, scope, costs) for name, scope in view.scopes.items()}
