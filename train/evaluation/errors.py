"""The worst errors of a run: the most certain of those that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.train.evaluation.judged import Judged


@dataclass(frozen=True)
class WorstErrors:
    """Positions: false positives by falling, false negatives by rising probability."""

    false_positives: tuple[int, ...]
    false_negatives: tuple[int, ...]

    def named(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """The same as IDs, for the report."""
        chosen = {"false_positives": self.false_positives, "false_negatives": self.false_negatives}
        return {kind: [ids[at] for at in positions] for kind, positions in chosen.items()}


def worst_errors(judged: Judged, labels: NDArray[np.int8], n: int) -> WorstErrors:
    """At most n of each kind; ties of the calibrated probability go by the uncalibrated one, then by position."""

    def first(wrong: NDArray[np.bool_], sign: float) -> tuple[int, ...]:
        at = np.flatnonzero(wrong)
        order = np.lexsort((at, sign * judged.probability[at], sign * judged.calibrated[at]))
        return tuple(int(position) for position in at[order[:n]])

    return WorstErrors(first(judged.decision & (labels == 0), -1.0), first(~judged.decision & (labels == 1), 1.0))
