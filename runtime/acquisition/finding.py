"""What a check of an acquisition says: a fault, certain or likely, or that it could not judge."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lsd.runtime.acquisition.names import ALL

Certainty = Literal["certain", "likely"]
Force: TypeAlias = "bool | Collection[str]"


@dataclass(frozen=True)
class Finding:
    """One fault of a tile.

    check: name of the check, as `--force` takes it. certainty: `certain` is what no ground can do, and refuses the
    tile; `likely` is a warning. text: one line, what was found, what is ordinary, what to correct.
    """

    check: str
    certainty: Certainty
    text: str


@dataclass(frozen=True)
class Unjudged:
    """A check that had too little to judge by. reason: one line, what was too little."""

    check: str
    reason: str


Outcome: TypeAlias = "Finding | Unjudged"


def is_forced(check: str, force: Force) -> bool:
    """True if the user overrules a check.

    Args:
        force: False nothing, True everything, else names of checks (`all` among them is everything).
    """
    if isinstance(force, bool):
        return force
    return ALL in force or check in force
