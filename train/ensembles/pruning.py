"""Which members an ensemble can do without: the greedy order of removal.

Judged by the log loss of logit stacking on samples held out of the fit: it has a scale and an intercept of its own, so
a member is not thrown out for being badly calibrated, nor kept for being well calibrated alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lsd.runtime.combination import Array

Members = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One state of the path from all members to one.

    members: columns still there. removed: the column that went to get here, None at the start. log_loss: of the samples
    held out. change: of the log loss against all members, standard_error: of that difference, paired by sample.
    """

    members: Members
    removed: int | None
    log_loss: float
    change: float
    standard_error: float

    @property
    def hurts(self) -> bool:
        """True if the log loss is worse than that of all members by more than the standard error of the difference."""
        return self.change > self.standard_error


def removal_path(losses_of: Callable[[Members], Array], members: Members) -> tuple[Step, ...]:
    """From all members to one; each step removes the member without which the log loss is lowest.

    Args:
        losses_of: log loss of every sample, float64 (n,), of an ensemble of some members.
        members: columns, one or more. Among equals the last one goes.
    """
    whole = losses_of(members)
    steps = [Step(members, None, float(whole.mean()), 0.0, 0.0)]
    while len(members) > 1:
        losses = {gone: losses_of(tuple(one for one in members if one != gone)) for gone in reversed(members)}
        gone = min(losses, key=lambda one: float(losses[one].mean()))
        members = tuple(one for one in members if one != gone)
        difference = losses[gone] - whole
        error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
        steps.append(Step(members, gone, float(losses[gone].mean()), float(difference.mean()), error))
    return tuple(steps)


def kept(path: tuple[Step, ...]) -> Members:
    """The members left when removal stops before the first step that hurts."""
    members = path[0].members
    for step in path[1:]:
        if step.hurts:
            break
        members = step.members
    return members
