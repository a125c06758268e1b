"""Sentinel-1 tracks: direction of flight and relative orbit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from lsd.runtime.bands import Orbit
from lsd.runtime.errors import TileError, UsageError
from lsd.runtime.ingest.times import iso
from lsd.runtime.tiles import Decision

# Dawn-dusk orbit: the satellite crosses at about 6 h local time descending and 18 h ascending.
DESCENDING_H = (4.5, 7.5)
ASCENDING_H = (16.5, 19.5)
TRACKS = 175  # orbits of a repeat cycle of 12 days
_ORBITS: tuple[Orbit, ...] = ("ascending", "descending")
_DIRECTION_KEYS = ("orbitProperties_pass", "sat:orbit_state", "ORBIT_PASS_DIRECTION")
_RELATIVE_KEYS = ("sat:relative_orbit", "relativeOrbitNumber_start", "TRACK_NUMBER")
_ABSOLUTE_KEYS = ("orbitNumber_start", "sat:absolute_orbit", "ABSOLUTE_ORBIT_NUMBER")
_PLATFORM_KEYS = ("platform", "platform_number", "PLATFORM")
# Relative orbit = (absolute - offset) mod 175 + 1, from the absolute orbit in the second column on.
# S1A, S1B: ESA SentiWiki, S1 products, relation of relative and absolute orbit numbers. S1C: 172 there; 99 after the
# manoeuvre of June 2026, whose last scene before had orbit 8018 (isce-framework/isce2 pull request 28130). S1D: the
# same repository, pull request 28123.
_OFFSETS: dict[str, tuple[tuple[int, int], ...]] = {
    "S1A": ((0, 73),),
    "S1B": ((0, 27),),
    "S1C": ((0, 172), (8019, 99)),
    "S1D": ((0, 42),),
}
# Level-1 product names (Sentinel-1 Product Specification): platform, mode, type, start, stop, absolute orbit.
GRANULE = re.compile(
    r"(?P<platform>S1[A-D])_(?P<mode>[A-Z0-9]{2})_[A-Z]{3}[A-Z_]_[0-9A-Z]{2}(?P<polarisation>[SD][HV])_"
    r"\d{8}T\d{6}_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}"
)
_PLATFORM = re.compile(r"(?<![A-Za-z0-9])S1([A-D])(?![A-Za-z0-9])")


def direction(
    product: str,
    metadata: Mapping[str, Any],
    acquired: datetime | None,
    longitude_deg: float | None,
    declared: Orbit | None,
) -> tuple[Orbit | None, Decision]:
    """Decide the direction of flight: metadata, then the user's declaration, then local solar time, else None.

    Local solar time is UTC + longitude / 15 h; 4.5-7.5 h is descending, 16.5-19.5 h ascending.

    Raises:
        TileError: the metadata contradict the local solar time.
        UsageError: the declaration contradicts the metadata or the local solar time.
    """
    subject = f"direction of {product}"
    by_time, reason = _by_solar_time(acquired, longitude_deg)
    for key in _DIRECTION_KEYS:
        stated = str(metadata.get(key, "")).casefold()
        for orbit in _ORBITS:
            if stated == orbit:
                if declared not in (None, orbit):
                    raise UsageError(
                        f"--orbit {declared} contradicts {product}: its metadata say {orbit}; leave the option out"
                    )
                if by_time not in (None, orbit):  # half a day apart: nowhere but near the poles may both be right
                    raise TileError(
                        f"{product}: metadata {key} say {orbit}, but {reason}, which is {by_time}; correct the "
                        "direction or the time"
                    )
                return orbit, Decision(subject, orbit, f"metadata {key}")
    if declared is not None:
        if by_time not in (None, declared):
            raise UsageError(
                f"--orbit {declared} contradicts {product}: {reason}, which is {by_time}; leave the option out, or "
                "correct the time"
            )
        return declared, Decision(subject, declared, "declared by --orbit")
    return by_time, Decision(subject, by_time or "unknown", reason)


def unknown_direction(product: str, acquired: datetime | None, longitude_deg: float | None = None) -> str:
    """Message of the BandError for a product whose direction of flight nothing tells."""
    if acquired is None:
        return (
            f"{product} holds VV or VH without direction of flight or time; name the bands desc_vv or asc_vv, or say "
            "--orbit descending or --orbit ascending"
        )
    solar = _by_solar_time(acquired, longitude_deg)[1]
    reason = f"{solar}," if longitude_deg is not None else f"at {iso(acquired)} its local solar time is"
    return (
        f"direction of flight of {product} is unknown: {reason} neither 4.5-7.5 h (descending) nor 16.5-19.5 h "
        "(ascending); say --orbit descending or --orbit ascending"
    )


def _by_solar_time(acquired: datetime | None, longitude_deg: float | None) -> tuple[Orbit | None, str]:
    """Direction by local solar time, and the words for it."""
    if acquired is None:
        return None, "no time of acquisition"
    if longitude_deg is None:
        return None, "no longitude to tell the local solar time"
    solar_h = (acquired.hour + acquired.minute / 60 + acquired.second / 3600 + longitude_deg / 15) % 24
    reason = f"{iso(acquired)} at longitude {longitude_deg:.2f} is {solar_h:.1f} h local solar time"
    if DESCENDING_H[0] <= solar_h <= DESCENDING_H[1]:
        return "descending", reason
    if ASCENDING_H[0] <= solar_h <= ASCENDING_H[1]:
        return "ascending", reason
    return None, reason


def relative_orbit(
    product: str,
    metadata: Mapping[str, Any],
    names: Iterable[str],
    declared: int | None = None,
    by_product: tuple[int, str] | None = None,
) -> tuple[int | None, Decision]:
    """Decide the relative orbit, 1..175, None if nothing tells it.

    Asked in this order: metadata, the product's own way, the absolute orbit, the declaration.

    Args:
        names: names of the product and its files.
        declared: what a tile file says.
        by_product: the number as this kind of product tells it, and where.
    Raises:
        UsageError: the declaration is no track or contradicts the product.
    """
    subject = f"relative orbit of {product}"
    found, reason = _told(metadata, list(names), by_product)
    if declared is not None:
        if not 1 <= declared <= TRACKS:
            raise UsageError(f"relative orbit {declared} of {product} must be in 1..{TRACKS}")
        if found not in (None, declared):
            raise UsageError(
                f"relative orbit {declared} contradicts {product}: it is {found} by {reason}; leave the declaration out"
            )
        reason = reason if found is not None else "declared"
        found = declared
    return found, Decision(subject, "unknown" if found is None else str(found), reason)


def relative_from_absolute(platform: str, absolute: int) -> int | None:
    """Relative orbit of an absolute one; None for a platform other than `S1A` to `S1D`."""
    for first, offset in reversed(_OFFSETS.get(platform, ())):
        if absolute >= first:
            return (absolute - offset) % TRACKS + 1
    return None


def granules(metadata: Mapping[str, Any], names: Iterable[str]) -> list[re.Match[str]]:
    """Level-1 product names in `names` and in the texts of the metadata, each once; groups as in `GRANULE`."""
    texts = [*names, *_texts(metadata.values())]
    found = {match.group(): match for text in texts for match in GRANULE.finditer(text)}
    return list(found.values())


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (item for item in value if isinstance(item, str))


def _told(metadata: Mapping[str, Any], names: list[str], by_product: tuple[int, str] | None) -> tuple[int | None, str]:
    """Number and source; (None, reason) if nothing tells it."""
    for key in _RELATIVE_KEYS:
        number = _whole(metadata.get(key))
        if number is not None and 1 <= number <= TRACKS:
            return number, f"metadata {key}"
    if by_product is not None:
        return by_product
    platform = _platform(metadata, names)
    for key in _ABSOLUTE_KEYS:
        absolute = _whole(metadata.get(key))
        if absolute is not None and platform is not None:
            return relative_from_absolute(platform, absolute), f"absolute orbit {absolute} of {platform} ({key})"
    orbits = {(match["platform"], int(match["orbit"])) for match in granules(metadata, names)}
    if len(orbits) == 1:
        platform, absolute = orbits.pop()
        return relative_from_absolute(platform, absolute), f"absolute orbit {absolute} of {platform} (product name)"
    if orbits:
        return None, f"names of {len(orbits)} absolute orbits"
    return None, "neither relative nor absolute orbit in metadata or names"


def _platform(metadata: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """`S1A` to `S1D` from metadata (`sentinel-1a`, `A`, `Sentinel-1A`) or names; None if unknown or several."""
    for key in _PLATFORM_KEYS:
        text = str(metadata.get(key, "")).strip().upper()
        letter = re.fullmatch(r"(?:SENTINEL-?1|S1)?_?([A-D])", text)
        if letter:
            return f"S1{letter[1]}"
    letters = {f"S1{letter}" for name in names for letter in _PLATFORM.findall(name.replace("_", " "))}
    return letters.pop() if len(letters) == 1 else None


def _whole(value: object) -> int | None:
    """A whole number, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
