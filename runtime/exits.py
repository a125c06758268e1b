"""Early exits: patches that one forest answers alone, since the whole ensemble would hardly ever say otherwise.

The forest part named by an exit is asked first. A patch whose probability, not calibrated, is below `low` leaves as "no
slide", one above `high` leaves as "slide"; only the others go on to the encoders and the other forests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import BundleError, ConfigurationError, UsageError

if TYPE_CHECKING:
    from lsd.runtime.manifest import Configuration, Manifest

Array = NDArray[np.float64]
OFF: Literal["off"] = "off"
CERTIFIED: Literal["certified"] = "certified"
Exits = Literal["off", "certified"] | tuple[float, float]

_EVEN_KNOTS, _FINE_KNOTS = 257, 64  # of a calibration that had to be held, on each side: fine ones towards 0 and 1
_MARGIN = 1e-9  # how far from a threshold it is held, as a share of the room there is: more than any rounding


@dataclass(frozen=True)
class Exit:
    """Where patches of one configuration leave. Immutable; threads may share it.

    part: the forest part asked first. low, high: of its probability before calibration, 0 <= low <= high <= 1; low 0 or
    high 1 closes that side. calibration: of the probability of patches that leave, fitted on such patches; it keeps
    what leaves low at or below the look threshold and what leaves high above the threshold. measured: how it was chosen
    and what it costs, in-distribution (`lsd-train cascade`); empty for an exit set by hand.
    """

    part: str
    low: float
    high: float
    calibration: Calibration
    measured: dict[str, Any]

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise BundleError(f"exits are {self.low:g} and {self.high:g}, expected 0 <= low <= high <= 1")

    @property
    def certified(self) -> bool:
        """Whether its bounds met the limits of the policy `certified` in training."""
        return self.measured.get("policy") == CERTIFIED

    def leaves(self, probability: Array) -> NDArray[np.bool_]:
        """bool (n,): True where the first part's probability float64 (n,) ends the matter; NaN never does."""
        return np.asarray((probability < self.low) | (probability > self.high))

    def conforms(self, look_threshold: float, threshold: float) -> bool:
        """Whether no patch can leave low and be called or worth a look, or leave high and not be called."""
        return _conforms(self.calibration, (self.low, self.high), look_threshold, threshold)

    def to_json(self) -> dict[str, Any]:
        """For the manifest and the run folder."""
        return {**vars(self), "calibration": self.calibration.to_json()}

    def record(self) -> dict[str, Any]:
        """What products say about it: part, low, high, and whether it is certified."""
        return {"part": self.part, "low": self.low, "high": self.high, "certified": self.certified}


def exits_of_text(text: str | None) -> Exits | None:
    """`off`, `certified` or `LO,HI` -> what `Chain` takes; None stays None: certified where the bundle holds exits.

    Raises:
        ConfigurationError: none of these, or not 0 <= LO <= HI <= 1.
    """
    if text is None:
        return None
    if text == OFF:
        return OFF
    if text == CERTIFIED:
        return CERTIFIED
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 1:
        raise ConfigurationError(
            f"exit must be off, certified or LO,HI with 0 <= LO <= HI <= 1 (0.02,0.98), is {text!r}"
        )
    return low, high


def exits_in_use(manifest: Manifest, asked: Exits | None) -> dict[str, Exit]:
    """Name of a configuration -> its exit, for those that have one.

    Args:
        asked: `off`; `certified`: those of the bundle, which must be certified; (low, high): by hand, for every
            configuration of a forest and something beside it; None: those of the bundle, if there are any.
    Raises:
        UsageError: the bundle holds no certified exits, or no configuration in which a patch could leave.
    """
    if asked == OFF:
        return {}
    stored = {one.name: one.exit for one in manifest.configurations if one.exit is not None}
    if asked is None:
        return stored
    if asked == CERTIFIED:
        if not stored or not all(one.certified for one in stored.values()):
            found = ", ".join(f"{name} by policy {one.measured.get('policy')}" for name, one in stored.items())
            raise UsageError(
                f"exit 'certified': bundle {manifest.name!r} holds {found or 'no exits'}; choose some with lsd-train "
                "cascade and export again, or give LO,HI or off"
            )
        return stored
    low, high = asked
    parts = {one.name: _first_part(manifest, one) for one in manifest.configurations}
    by_hand = {
        one.name: _by_hand(one, part, low, high)
        for one in manifest.configurations
        if (part := parts[one.name]) is not None
    }
    if not by_hand:
        raise UsageError(
            f"exit {low:g},{high:g}: no configuration of bundle {manifest.name!r} has a forest and something beside it "
            "to ask, so nothing is saved by leaving early; use off"
        )
    return by_hand


def held(
    calibration: Calibration, pair: tuple[float, float], look_threshold: float, threshold: float
) -> tuple[Calibration, bool]:
    """The calibration, held so that an exit says one thing only, and whether that changed it.

    A patch that left low must not read "slide" or "look", one that left high must read "slide": an officer who sees a
    probability on one side of a threshold and a decision on the other trusts neither. Where the fit crosses a
    threshold it is cut off there.

    Args:
        pair: low and high exit. look_threshold, threshold: of the configuration.
    Raises:
        BundleError: nothing lies above the threshold, so that no patch can leave high.
    """
    low, high = pair
    if high < 1 and threshold >= 1:
        raise BundleError(
            f"the threshold is {threshold:g}: no patch can leave as a slide above it; close the high exit"
        )
    if _conforms(calibration, pair, look_threshold, threshold):
        return calibration, False
    spread = np.unique(np.concatenate([np.linspace(0.0, 1.0, _EVEN_KNOTS), np.geomspace(1e-6, 1.0, _FINE_KNOTS)]))
    below = low * spread if low > 0 else np.zeros(0)
    above = 1.0 - (1.0 - high) * spread[::-1] if high < 1 else np.zeros(0)
    y_below = np.minimum(calibration.apply(below), look_threshold * (1.0 - _MARGIN))
    y_above = np.maximum(calibration.apply(above), threshold + (1.0 - threshold) * _MARGIN)
    x, y = np.concatenate([below, above]), np.concatenate([y_below, y_above])
    knots = np.maximum.accumulate(np.stack([x, y], axis=1), axis=0)  # rounding of the grid must not turn its order
    return Calibration("isotonic", tuple(float(value) for value in knots.ravel())), True


def _conforms(calibration: Calibration, pair: tuple[float, float], look_threshold: float, threshold: float) -> bool:
    edges = np.array([np.nextafter(pair[0], 0.0), np.nextafter(pair[1], 1.0)])
    low, high = calibration.apply(edges)
    return bool((pair[0] == 0 or low <= look_threshold) and (pair[1] == 1 or high > threshold))


def _first_part(manifest: Manifest, configuration: Configuration) -> str | None:
    """The forest part to ask first: that of the bundle's exit, else the first; None if nothing is left to ask then."""
    if len(configuration.parts) < 2:
        return None
    if configuration.exit is not None:
        return configuration.exit.part
    forests = (part.name for part in configuration.parts if set(part.members) <= set(manifest.members))
    return next(forests, None)


def _by_hand(configuration: Configuration, part: str, low: float, high: float) -> Exit:
    """An exit nobody measured: the bundle's exit calibration if there is one, else that of the ensemble, held."""
    known = configuration.calibration if configuration.exit is None else configuration.exit.calibration
    calibration, _ = held(known, (low, high), configuration.look_threshold, configuration.threshold)
    return Exit(part, low, high, calibration, {})


def describe_exits(exits: Mapping[str, Exit]) -> dict[str, dict[str, Any]]:
    """Configuration -> `Exit.record`, for reports and products."""
    return {name: one.record() for name, one in exits.items()}
