"""Acquisition times, from the metadata beside a product or from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from lsd.runtime.errors import UsageError

# Sentinel product names hold the sensing start first: ESA Sentinel-1 and Sentinel-2 naming conventions.
_IN_NAME = re.compile(r"(?<!\d)(\d{8}T\d{6})(?!\d)")
# BigEarthNet's Sentinel-1 and Sentinel-2 patches; STAC (common metadata, date and time); Sentinel-2 MTD_MSIL2A.xml;
# GeoTIFF tags of OPERA RTC-S1. All in UTC.
_KEYS = (
    "acquisition_time",
    "acquisition_date",
    "datetime",
    "start_datetime",
    "PRODUCT_START_TIME",
    "ZERO_DOPPLER_START_TIME",
)
# Earth Engine, ms since 1970. For Sentinel-2 a mean of the granule, minutes after the start of sensing: asked last.
_EPOCH_KEY = "system:time_start"
# fromisoformat takes neither Z nor fractions of any length before Python 3.11
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)?")


def acquired(metadata: Mapping[str, Any], names: Iterable[str]) -> datetime | None:
    """UTC time of acquisition, None if nothing tells it.

    Asked in this order: times in the metadata (a date alone is none), the first time in one of `names`, the
    milliseconds that Earth Engine keeps.
    """
    for key in _KEYS:
        time = _parsed(metadata.get(key))
        if time is not None:
            return time
    return _named(names) or _epoch(metadata.get(_EPOCH_KEY))


def _parsed(text: object) -> datetime | None:
    found = _ISO.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    offset = "+00:00" if zone in (None, "Z") else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0'):0<6.6}{offset}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None  # digits, but no time


def _epoch(milliseconds: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(milliseconds) / 1000, timezone.utc)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _named(names: Iterable[str]) -> datetime | None:
    for name in names:
        for text in _IN_NAME.findall(name):
            try:
                return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
            except ValueError:
                continue  # eight digits, T, six digits, but no time
    return None


def iso(time: datetime) -> str:
    """ISO 8601 in UTC to the second, e.g. `2020-06-07T01:08:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_of(text: str, where: str) -> datetime:
    """The UTC time that a user states in ISO 8601 with a zone (`Z`, `+02:00`).

    Args:
        where: the option or key, for the message.
    Raises:
        UsageError: no ISO 8601 time, or one without zone.
    """
    try:
        time = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise UsageError(f"{where} must be ISO 8601 with a zone, e.g. 2024-04-02T23:58:00Z, is {text!r}")
    return time.astimezone(timezone.utc)
