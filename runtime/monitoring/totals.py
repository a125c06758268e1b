"""Sums over tiles: patches by outcome, patches that left at the first stage, seconds by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OUTCOMES = ("slide", "look", "no_slide", "not_scored")  # of `TileScores.counts`; every patch is one of them
EXITED = "exited"  # of `TileScores.counts`; absent where the chain has no exits


def scored(counts: Mapping[str, int]) -> int:
    """Patches of a tile that have an answer."""
    return counts.get("patches", 0) - counts.get("not_scored", 0)


class Totals:
    """Adds up results of tiles. Not thread-safe.

    patches: outcome -> number. exited: patches that the first stage answered alone; could_exit: scored patches of the
    tiles that tell it. seconds: stage -> wall time.
    """

    def __init__(self) -> None:
        self.patches = dict.fromkeys(OUTCOMES, 0)
        self.exited = 0
        self.could_exit = 0
        self.seconds: dict[str, float] = {}

    def add(self, counts: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        """Add one tile: `counts` and `seconds` of its `TileResult`."""
        for outcome in OUTCOMES:
            self.patches[outcome] += counts.get(outcome, 0)
        if EXITED in counts:
            self.exited += counts[EXITED]
            self.could_exit += scored(counts)
        for stage, spent_s in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent_s

    @property
    def exit_share(self) -> float | None:
        """Share of the scored patches that left at the first stage, 0..1; None if nothing tells it."""
        return self.exited / self.could_exit if self.could_exit else None

    def to_json(self) -> dict[str, Any]:
        """Ready for `json`."""
        share = self.exit_share
        return {
            "patches": dict(self.patches),
            "exited": self.exited if self.could_exit else None,
            "exit_share": None if share is None else round(share, 6),
            "seconds": {stage: round(spent_s, 3) for stage, spent_s in self.seconds.items()},
        }
