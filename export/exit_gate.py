"""The gate of early exits: who leaves at the forest, and with which answer, against the training run's own exit.

An exit is a few numbers that decide which patches no network ever sees. Each is checked from its source: limits, part
and calibration come from the run folder, margins from the libraries, and the rule is written here once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.chain import Chain
from lsd.runtime.errors import GateError
from lsd.runtime.exits import Exit
from lsd.runtime.manifest import Configuration
from lsd.runtime.parity import HIGH, LOW, STAYS, ExitAnswers, StageResult, compare_exits, exit_answers
from lsd.runtime.sigmoid import sigmoid

Margins = Mapping[str, NDArray[np.floating]]


def require_exits(chain: Chain, exits: Mapping[str, Exit]) -> None:
    """Refuse a chain that lacks the exit of a run, or has one that no run has.

    Args:
        exits: configuration -> exit, as the runs have them.
    Raises:
        GateError: configurations with an exit are others.
    """
    for name in sorted(chain.exits.keys() ^ exits.keys()):
        has, lacks = ("the run", "the bundle") if name in exits else ("the bundle", "the run")
        raise GateError(f"configuration {name!r}: {has} has an exit and {lacks} has none; export the run again")


def exit_stage(
    chain: Chain,
    configuration: Configuration,
    exit: Exit,
    margins: tuple[Margins, Margins],
    tolerance: float,
    what: str,
    names: Sequence[str] = (),
) -> StageResult:
    """Who leaves and with which probability, by the chain and by the libraries.

    Args:
        exit: of the run. margins: forest -> log-odds (n,), by the chain and by the libraries. what: these rows are.
        names: of patches.
    """
    ours, library = margins
    found = exit_answers(chain, configuration, chain.exits[configuration.name], ours)
    stage = f"exit: who leaves {exit.part} by the chain and by the libraries, {what}"
    return compare_exits(configuration, stage, found, _by_rule(configuration, exit, library), tolerance, names)


def limits_stage(chain: Chain, configuration: Configuration, exit: Exit) -> StageResult:
    """Probabilities at the limits and next to them: exactly at a limit a patch stays."""
    p = probabilities_at(exit)
    own = chain.exits[configuration.name]
    leaves = own.leaves(p)
    side = np.where(leaves, np.where(p > own.high, HIGH, LOW), STAYS).astype(np.int8)
    found = ExitAnswers(side, np.where(leaves, own.calibration.apply(p), np.nan))
    stage = "exit: probabilities at the limits and next to them"
    return compare_exits(configuration, stage, found, _answers(exit, p), 0.0)


def probabilities_at(exit: Exit) -> NDArray[np.float64]:
    """float64 (n,) in 0..1: both limits, their neighbours, 0, 1, the middle, and NaN."""
    limits = np.array([exit.low, exit.high])
    near = [np.nextafter(limits, 0.0), limits, np.nextafter(limits, 1.0)]
    return np.concatenate([*near, [0.0, 1.0, limits.mean(), np.nan]])


def _by_rule(configuration: Configuration, exit: Exit, margins: Margins) -> ExitAnswers:
    (part,) = (part for part in configuration.parts if part.name == exit.part)
    weighted = [weight * sigmoid(margins[member]) for member, weight in zip(part.members, part.weights, strict=True)]
    return _answers(exit, np.asarray(sum(weighted), np.float64))


def _answers(exit: Exit, p: NDArray[np.float64]) -> ExitAnswers:
    side = np.array([LOW if one < exit.low else HIGH if one > exit.high else STAYS for one in p.tolist()], np.int8)
    return ExitAnswers(side, np.where(side == STAYS, np.nan, exit.calibration.apply(p)))
