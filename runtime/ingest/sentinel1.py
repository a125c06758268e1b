"""Sentinel-1: unit of the backscatter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import UnprovenUnitError, UsageError
from lsd.runtime.tiles import Conversion, Decision

if TYPE_CHECKING:
    from lsd.runtime.ingest.radar_products import RadarFacts

RadarUnit = Literal["db", "power", "amplitude"]

_STATED: dict[str, Conversion] = {
    "db": "none",
    "decibel": "none",
    "decibels": "none",
    "power": "linear_to_db",
    "linear": "linear_to_db",
    "linear power": "linear_to_db",
    "amplitude": "amplitude_to_db",
}
_UNIT_TEXT = {"none": "dB", "linear_to_db": "linear power: 10 log10", "amplitude_to_db": "amplitude: 20 log10"}
# Denoised power holds a few values below zero (they are nodata); dB of ground is negative nearly everywhere.
NEGATIVE_SHARE = 0.01


def unit(
    band: str,
    path: Path,
    stated: str | None,
    facts: RadarFacts | None,
    declared: RadarUnit | None,
    values: NDArray[np.float64],
) -> tuple[Conversion, Decision]:
    """Decide the unit of a radar level band and what brings it to dB.

    The file's own unit decides, then what the product is known to hold, then the user's declaration, then the data
    (a negative median is dB). What the data disprove is refused.

    Args:
        band, path: canonical name and file, for messages.
        stated: unit that the file states for the band, if any.
        facts: of the product, None if it was not recognised.
        declared: by a tile file or `--radar-unit`.
        values: float64 sample, NaN where invalid; 0 is nodata.
    Raises:
        UnprovenUnitError: told by nothing and not negative in the median, disproved by the data, or file and product
            disagree.
        UsageError: the declaration contradicts the file or the product.
    """
    known = values[np.isfinite(values) & (values != 0)]
    conversion, reason = _told(band, path, stated, facts, declared)
    if not known.size:
        choice = conversion or "none"
        return choice, Decision(band, _UNIT_TEXT[choice], "no valid pixel in the sample")
    if conversion is not None:
        positive = bool((known > 0).all())
        negative = float((known < 0).mean()) > NEGATIVE_SHARE
        if positive if conversion == "none" else negative:
            raise UnprovenUnitError(
                f"{path}: {band} is {_UNIT_TEXT[conversion].partition(':')[0]} ({reason}), but its values lie in "
                f"{known.min():.3g}..{known.max():.3g}; correct the unit or the name of the file, or --radar-unit"
            )
        return conversion, Decision(band, _UNIT_TEXT[conversion], reason)
    median = float(np.median(known))
    if median < 0:
        return "none", Decision(band, "dB", f"the median {median:.1f} of the sample is negative")
    raise UnprovenUnitError(
        f"{path}: {band} does not look like dB (median {median:.3g}) and nothing tells its unit: if it is linear power "
        "say --radar-unit power (it is converted by 10 log10), if amplitude --radar-unit amplitude (20 log10)"
    )


def _told(
    band: str, path: Path, stated: str | None, facts: RadarFacts | None, declared: RadarUnit | None
) -> tuple[Conversion | None, str]:
    """Conversion by file, product or user, and where it stands; (None, "") if nothing tells it."""
    found: list[tuple[Conversion, str]] = []
    by_file = _STATED.get((stated or "").strip().casefold())
    if by_file is not None:
        found.append((by_file, f"the file declares unit {stated!r}"))
    if facts is not None and facts.unit is not None:
        found.append((_STATED[facts.unit], f"{facts.product} holds {facts.unit}"))
    if len({conversion for conversion, _ in found}) > 1:
        raise UnprovenUnitError(
            f"{path}: the unit of {band} is told twice, differently: {' and '.join(reason for _, reason in found)}; "
            "correct the unit of the file"
        )
    if declared is not None:
        if found and found[0][0] != _STATED[declared]:
            raise UsageError(f"--radar-unit {declared} contradicts {path}: {found[0][1]}; leave the option out")
        found.append((_STATED[declared], f"declared as {declared}"))
    return found[0] if found else (None, "")
