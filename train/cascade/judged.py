"""What exits cost: one row of the trade-off table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.cascade.bounds import counted
from lsd.train.cascade.views import Array, Mask, View
from lsd.train.metrics import BOOTSTRAPS


@dataclass(frozen=True)
class Costs:
    """Measured microseconds a patch on one machine: of the forest asked first, and of everything else together."""

    forest_us: float
    encoder_us: float

    def expected_us(self, exit_share: float) -> float:
        """Mean of a patch if this share leaves."""
        return self.forest_us + (1.0 - exit_share) * self.encoder_us


def judged(view: View, low: Array, high: Array, scope: Mask, costs: Costs | None) -> dict[str, Any]:
    """Counts, each with its upper bound, of the patches in `scope`.

    Args:
        low, high: float64 (n,), the exits that hold for each sample.
    Returns:
        exit, left_low, left_high: patches that leave. label_changes: decisions that are not those of the whole
        ensemble. found_slides_lost: labelled slides that the ensemble finds and that left low. slides_left_low:
        labelled slides that left low, most of which the ensemble misses too. false_left_high: patches without a
        slide among those that left high. f1, f1_whole, f1_change: with exits, without, and the difference on the
        same patches, each with a 95 % bootstrap interval. expected_us: None where costs are unknown.
    """
    first, decision, labels = view.first[scope], view.decision[scope], view.labels[scope]
    left_low, left_high = first < low[scope], first > high[scope]
    with_exits = (decision | left_high) & ~left_low
    slide, n = labels == 1, int(scope.sum())
    leaves = left_low | left_high
    number = int(leaves.sum())
    return {
        "exit": {"number": number, "of": n, "share": number / n},
        "left_low": int(left_low.sum()),
        "left_high": int(left_high.sum()),
        "label_changes": counted(int((with_exits != decision).sum()), n),
        "found_slides_lost": counted(int((slide & decision & left_low).sum()), int((slide & decision).sum())),
        "slides_left_low": counted(int((slide & left_low).sum()), int(slide.sum())),
        "false_left_high": counted(int((~slide & left_high).sum()), int(left_high.sum())),
        **f1_with_and_without(labels, decision, with_exits),
        "expected_us": None if costs is None else costs.expected_us(number / n),
    }


def f1_with_and_without(labels: NDArray[np.int8], whole: Mask, with_exits: Mask, seed: int = 0) -> dict[str, Any]:
    """F1 of both decisions and their difference, each {"value", "low", "high"}.

    A bootstrap over samples draws numbers of each of the eight combinations of label and decisions, no more is needed.
    """
    kind = labels * 4 + whole * 2 + with_exits
    cells = np.bincount(kind, minlength=8)
    drawn = np.random.default_rng(seed).multinomial(len(labels), cells / len(labels), BOOTSTRAPS)
    counts = np.concatenate([cells[None], drawn]).astype(np.float64)
    slide, by_whole, by_exits = (np.arange(8) >> bit & 1 for bit in (2, 1, 0))

    def f1(called: NDArray[np.int64]) -> Array:
        total = counts @ (called + slide)
        return np.asarray(2 * (counts @ (called * slide)) / np.maximum(total, 1.0))

    ours, theirs = f1(by_exits), f1(by_whole)
    found = {"f1": ours, "f1_whole": theirs, "f1_change": ours - theirs}
    return {name: _interval(values) for name, values in found.items()}


def _interval(values: Array) -> dict[str, float]:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
