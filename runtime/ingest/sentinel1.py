"""Sentinel-1: unit of the backscatter and direction of flight."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import Orbit
from lsd.runtime.errors import BandError, UnprovenUnitError, UsageError
from lsd.runtime.ingest.times import iso
from lsd.runtime.tiles import Conversion, Decision

RadarUnit = Literal["db", "power", "amplitude"]

_DECLARED: dict[str, Conversion] = {
    "db": "none",
    "decibel": "none",
    "decibels": "none",
    "power": "linear_to_db",
    "linear": "linear_to_db",
    "linear power": "linear_to_db",
    "amplitude": "amplitude_to_db",
}
_UNIT_TEXT = {"none": "dB", "linear_to_db": "linear power: 10 log10", "amplitude_to_db": "amplitude: 20 log10"}
# Dawn-dusk orbit: the satellite crosses at about 6 h local time descending and 18 h ascending.
DESCENDING_H = (4.5, 7.5)
ASCENDING_H = (16.5, 19.5)


def unit(band: str, path: Path, declared: str | None, values: NDArray[np.float64]) -> tuple[Conversion, Decision]:
    """Decide the unit of a radar level band and what brings it to dB.

    Args:
        band, path: canonical name and file, for messages.
        declared: unit declared by the file, if any.
        values: float64 sample, NaN where invalid; 0 is nodata.
    Raises:
        UnprovenUnitError: undeclared and not negative in the median, or declared and contradicted by the data.
    """
    known = values[np.isfinite(values) & (values != 0)]
    conversion = _DECLARED.get((declared or "").strip().casefold())
    if not known.size:
        choice = conversion or "none"
        return choice, Decision(band, _UNIT_TEXT[choice], "no valid pixel in the sample")
    median = float(np.median(known))
    if conversion is not None:
        if (conversion == "none") == bool((known > 0).all()):
            raise UnprovenUnitError(
                f"{path}: {band} declares unit {declared!r}, but its values lie in {known.min():.3g}.."
                f"{known.max():.3g}; correct the unit of the file"
            )
        return conversion, Decision(band, _UNIT_TEXT[conversion], f"the file declares unit {declared!r}")
    if median < 0:
        return "none", Decision(band, "dB", f"the median {median:.1f} of the sample is negative")
    raise UnprovenUnitError(
        f"{path}: {band} does not look like dB (median {median:.3g}) and declares no known unit: if it is linear power "
        "convert it by 10 log10, if amplitude by 20 log10, or set the unit of the band to 'power' or 'amplitude'"
    )


def direction(
    product: str, metadata: Mapping[str, Any], acquired: datetime | None, longitude_deg: float, declared: Orbit | None
) -> tuple[Orbit, Decision]:
    """Decide the direction of flight: metadata, then the user's declaration, then local solar time.

    Raises:
        BandError: nothing tells it.
        UsageError: the declaration contradicts the metadata.
    """
    subject = f"direction of {product}"
    stated = str(metadata.get("orbitProperties_pass", "")).casefold()
    for orbit in _ORBITS:
        if stated == orbit:
            if declared not in (None, orbit):
                raise UsageError(
                    f"--orbit {declared} contradicts {product}: its metadata say {orbit}; leave the option out"
                )
            return orbit, Decision(subject, orbit, "metadata orbitProperties_pass")
    if declared is not None:
        return declared, Decision(subject, declared, "declared by --orbit")
    if acquired is None:
        raise BandError(
            f"{product} holds VV or VH without direction of flight or time; name the bands desc_vv or asc_vv, or say "
            "--orbit descending or --orbit ascending"
        )
    solar_h = (acquired.hour + acquired.minute / 60 + acquired.second / 3600 + longitude_deg / 15) % 24
    reason = f"{iso(acquired)} at longitude {longitude_deg:.2f} is {solar_h:.1f} h local solar time"
    if DESCENDING_H[0] <= solar_h <= DESCENDING_H[1]:
        return "descending", Decision(subject, "descending", reason)
    if ASCENDING_H[0] <= solar_h <= ASCENDING_H[1]:
        return "ascending", Decision(subject, "ascending", reason)
    raise BandError(
        f"direction of flight of {product} is unknown: {reason}, neither 4.5-7.5 h (descending) nor 16.5-19.5 h "
        "(ascending); say --orbit descending or --orbit ascending"
    )


_ORBITS: tuple[Orbit, ...] = ("ascending", "descending")
