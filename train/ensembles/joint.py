"""Members side by side: the samples that all of them predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import TableError, UsageError
from lsd.train.predictions import OutOfFold

LEAST_SHARE = 0.9  # of all IDs that must be common; fewer look like runs of different data
RESERVED = ("ID", "label", "fold", "mean", "calibrated")  # columns of oof.csv beside the members


@dataclass(frozen=True)
class Joint:
    """n samples that all members predicted, in the order of the first member; read-only.

    labels: int8 (n,), 0 or 1. probability: float64 (n, member). left_out: member name -> number of its samples that
    not all others predicted.
    """

    members: tuple[OutOfFold, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    probability: NDArray[np.float64]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in the order of the columns."""
        return tuple(member.name for member in self.members)


def join(members: Sequence[OutOfFold], allow_partial: bool = False) -> Joint:
    """Join by ID.

    Args:
        members: two or more, one of them at least with labels.
        allow_partial: accept that less than nine tenths of all IDs are common.
    Raises:
        UsageError: fewer than two members, a name twice or one that oof.csv needs, no labels at all.
        TableError: too few common IDs, none, or labels that differ.
    """
    _check_names(members)
    places = [{name: at for at, name in enumerate(member.ids)} for member in members]
    ids = tuple(name for name in members[0].ids if all(name in place for place in places))
    total = len(set().union(*places))
    if not ids or (len(ids) < LEAST_SHARE * total and not allow_partial):
        sizes = ", ".join(f"{member.name} {len(member)}" for member in members)
        fix = "; give --allow-partial if so few are meant" if ids else ""
        raise TableError(
            f"only {len(ids)} of {total} IDs are common to all members ({sizes}), expected {LEAST_SHARE:.0%} or more: "
            f"are they of the same data?{fix}"
        )
    rows = [np.array([place[name] for name in ids]) for place in places]
    return Joint(
        members=tuple(members),
        ids=ids,
        labels=_labels(members, rows, ids),
        probability=np.stack([one.probability[at] for one, at in zip(members, rows, strict=True)], axis=1),
        left_out={member.name: len(member) - len(ids) for member in members},
    )


def _check_names(members: Sequence[OutOfFold]) -> None:
    if len(members) < 2:
        raise UsageError(f"an ensemble needs two members or more, found {len(members)}")
    for name, times in Counter(member.name for member in members).items():
        if times > 1:
            raise UsageError(f"{times} members are called {name!r}; name them apart: NAME=RUN")
        if name in RESERVED:
            raise UsageError(
                f"a member cannot be called {name!r}, as a column of oof.csv is; name it otherwise: NAME=RUN"
            )


def _labels(members: Sequence[OutOfFold], rows: list[NDArray[np.int64]], ids: tuple[str, ...]) -> NDArray[np.int8]:
    """Labels of the common samples, alike in every member that has some."""
    known: list[tuple[str, NDArray[np.int8]]] = [
        (member.name, member.labels[at]) for member, at in zip(members, rows, strict=True) if member.labels is not None
    ]
    if not known:
        raise UsageError("no member has labels; give one run at least, or an external file with a column 'label'")
    first_name, first = known[0]
    for name, labels in known[1:]:
        differ = np.flatnonzero(first != labels)
        if differ.size:
            at = int(differ[0])
            raise TableError(
                f"{differ.size} labels differ between {first_name} and {name}, the first is {ids[at]!r}: {first[at]} "
                f"and {labels[at]}; members must be trained on the same labels"
            )
    return first
