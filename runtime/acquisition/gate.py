"""All checks of an acquisition in one list, and what their findings make of a tile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lsd.runtime.acquisition import change, clouds, names, optical, radar, ranges, signal
from lsd.runtime.acquisition.finding import Finding, Force, Outcome, Unjudged, is_forced
from lsd.runtime.acquisition.ranges import Ranges
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.errors import TileError
from lsd.runtime.tiles import Decision

# in the order of `names`
CHECKS: dict[str, Callable[[SampledScene], list[Outcome]]] = {
    names.BRIGHT: clouds.bright_scene,
    names.EMPTY: signal.empty_bands,
    names.CONSTANT: signal.constant_bands,
    names.CUT_OFF: signal.cut_off_bands,
    names.SWAPPED: radar.channels,
    names.LEVEL: radar.levels,
    names.SPREAD: change.spreads,
    names.MEDIAN: change.medians,
    names.PAIRING: change.pairings,
    names.OFFSET: optical.offset,
    names.COLOURS: optical.colours,
}
CHECK_NAMES = names.CHECK_NAMES


@dataclass(frozen=True)
class Verdict:
    """What the checks say about one tile: faults, and checks that had too little to judge by."""

    findings: tuple[Finding, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()

    @property
    def certain(self) -> tuple[Finding, ...]:
        """The faults that no ground can cause."""
        return tuple(one for one in self.findings if one.certainty == "certain")

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line a fault, certain ones too: of a tile that is used all the same."""
        return tuple(one.text for one in self.findings)


def judged(scene: SampledScene, trained: Ranges | None = None) -> Verdict:
    """Ask every check.

    Args:
        trained: of the training card; None: that check says nothing.
    """
    outcomes: list[Outcome] = [one for check in CHECKS.values() for one in check(scene)]
    outcomes += ranges.training_range(scene, trained)
    return Verdict(
        tuple(one for one in outcomes if isinstance(one, Finding)),
        tuple(one for one in outcomes if isinstance(one, Unjudged)),
    )


def refuse_certain(verdict: Verdict, where: str, force: Force = False) -> None:
    """Raise TileError for the certain faults that are not forced.

    Args:
        where: the tile, for the message.
    """
    refused = [one for one in verdict.certain if not is_forced(one.check, force)]
    if refused:
        texts = "; ".join(one.text for one in refused)
        options = " ".join(f"--force {name}" for name in dict.fromkeys(one.check for one in refused))
        raise TileError(f"{where}: {texts} (use it all the same: {options})")


def decisions_of(verdict: Verdict, force: Force = False) -> tuple[Decision, ...]:
    """What the products keep: certain faults that were overruled, and checks that could not judge."""
    found = [
        Decision(f"acquisition check {one.check}", "overruled by --force", one.text)
        for one in verdict.certain
        if is_forced(one.check, force)
    ]
    return (*found, *_not_judged(verdict.unjudged))


def _not_judged(unjudged: Iterable[Unjudged]) -> list[Decision]:
    """One decision a check, its reasons together."""
    reasons: dict[str, list[str]] = {}
    for one in unjudged:
        reasons.setdefault(one.check, []).append(one.reason)
    return [
        Decision(f"acquisition check {check}", "not judged", "; ".join(dict.fromkeys(lines)))
        for check, lines in reasons.items()
    ]
