"""The 12 bands, the index channels and their units: facts read from `data/sensors.json`, used by all three folders.

Bands are matched by name, never by position. `resolve` turns any alias (`B04`, `red`, `VV` with a known orbit) into the
canonical name; an unknown or ambiguous name is an error, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lsd.runtime.errors import BandError
from lsd.runtime.nearest import did_you_mean

Orbit = Literal["ascending", "descending"]
Modality = Literal["optical", "sar", "sar_diff"]


@dataclass(frozen=True)
class Band:
    """One named channel. `unit` is `DN` (reflectance x 10,000 + 1,000, 0 is nodata) or `dB`; `orbit` only for radar."""

    name: str
    sensor: str
    product_band: str
    modality: Modality
    unit: str
    plausible_min: float
    plausible_max: float
    aliases: tuple[str, ...]
    wavelength_nm: float | None = None
    orbit: Orbit | None = None


@dataclass(frozen=True)
class Index:
    """Ratio channel (numerator - denominator) / (numerator + denominator + epsilon) + offset of two bands' DN."""

    name: str
    numerator: str
    denominator: str
    offset: float
    epsilon: float


def _read() -> dict[str, Any]:
    text = (Path(__file__).parent / "data" / "sensors.json").read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads(text)
    return facts


_FACTS = _read()
PATCH_SIZE_PX: int = _FACTS["patch"]["size_px"]
PATCH_GSD_M: float = _FACTS["patch"]["gsd_m"]
BANDS: tuple[Band, ...] = tuple(Band(**{**band, "aliases": tuple(band["aliases"])}) for band in _FACTS["bands"])
INDICES: tuple[Index, ...] = tuple(Index(**index) for index in _FACTS["indices"])
BAND_NAMES: tuple[str, ...] = tuple(band.name for band in BANDS)
INDEX_NAMES: tuple[str, ...] = tuple(index.name for index in INDICES)
BY_NAME: dict[str, Band] = {band.name: band for band in BANDS}
INDEX_BY_NAME: dict[str, Index] = {index.name: index for index in INDICES}


def _candidates() -> dict[str, list[Band]]:
    found: dict[str, list[Band]] = {}
    for band in BANDS:
        names = {band.name, *band.aliases}
        if band.orbit:  # `VV` alone names a band only once the orbit direction is known
            names.add(band.product_band if band.modality == "sar" else f"d{band.product_band}")
        for name in names:
            found.setdefault(name.casefold(), []).append(band)
    return found


_CANDIDATES = _candidates()


def is_known(name: str) -> bool:
    """True if `name` is the name or an alias of at least one band, case aside."""
    return name.casefold() in _CANDIDATES


def resolve(name: str, orbit: Orbit | None = None) -> str:
    """Canonical band name of `name`, a name or alias in any case.

    Args:
        name: e.g. `B04`, `red`, `desc_vv`, `VV`.
        orbit: flight direction of the radar scene, needed for `VV`, `VH`, `dVV`, `dVH` and ignored for optical bands.
    Raises:
        BandError: the name is unknown, or it fits more than one band (`VV` without orbit).
    """
    found = _CANDIDATES.get(name.casefold(), [])
    if not found:
        hint = did_you_mean(name.casefold(), _CANDIDATES)
        raise BandError(f"unknown band {name!r}{hint} (known: {', '.join(BAND_NAMES)} and their aliases)")
    if len(found) > 1 and orbit is not None:
        found = [band for band in found if band.orbit == orbit]
    if len(found) != 1:
        raise BandError(
            f"band {name!r} is ambiguous: it may be {' or '.join(band.name for band in found)}; "
            "name it so, or declare the direction with --orbit"
        )
    return found[0].name


def of_modality(*modalities: Modality) -> tuple[str, ...]:
    """Names of the bands of these modality groups, in canonical order."""
    return tuple(band.name for band in BANDS if band.modality in modalities)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The given canonical names without repeats, in canonical order.

    Raises:
        BandError: one of them is no canonical name.
    """
    wanted = set(names)
    for name in wanted - set(BAND_NAMES):
        raise BandError(f"unknown band {name!r} (known: {', '.join(BAND_NAMES)})")
    return tuple(name for name in BAND_NAMES if name in wanted)


def indices_of(bands: Iterable[str]) -> tuple[Index, ...]:
    """The index channels whose two bands are both among `bands`, in the order of `INDICES`."""
    have = set(bands)
    return tuple(index for index in INDICES if index.numerator in have and index.denominator in have)
