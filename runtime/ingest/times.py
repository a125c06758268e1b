"""Acquisition times, from the metadata beside a product or from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

# Sentinel product names hold the sensing start first: ESA Sentinel-1 and Sentinel-2 naming conventions.
_IN_NAME = re.compile(r"(?<!\d)(\d{8}T\d{6})(?!\d)")
# keys of BigEarthNet's Sentinel-1 and Sentinel-2 patches
_KEYS = ("acquisition_time", "acquisition_date")


def acquired(metadata: Mapping[str, Any], names: Iterable[str]) -> datetime | None:
    """UTC time of acquisition: the metadata's if it says so, else the first time in one of `names`, else None."""
    for key in _KEYS:
        if isinstance(metadata.get(key), str):
            try:
                return datetime.fromisoformat(metadata[key].rstrip("Z")).replace(tzinfo=timezone.utc)
            except ValueError:
                continue
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
