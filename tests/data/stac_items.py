"""Writes small STAC items and catalogs, with files for their assets; nothing of them is real ground."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiles import optical, radar, write_tiff

BOX = (15.0, 41.0, 15.2, 41.2)
OPTICAL_KEYS = ("red", "green", "blue", "nir")
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_item(
    path: Path,
    item_id: str,
    assets: Mapping[str, Any],
    properties: Mapping[str, Any] | None = None,
    bbox: Sequence[float] | None = BOX,
    **members: Any,
) -> Path:
    """Write an item of STAC 1.0 and return its path; `members` replace or add to those at the top."""
    content = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "bbox": None if bbox is None else list(bbox),
        "geometry": None,
        "properties": dict(properties or {}),
        "assets": dict(assets),
        "links": [],
        **members,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_optical_item(folder: Path, item_id: str, time: str, bbox: Sequence[float] = BOX) -> Path:
    """A Sentinel-2 item with its four bands in a folder beside it."""
    assets = {}
    for key, pixels in zip(OPTICAL_KEYS, optical(), strict=True):
        write_tiff(folder / item_id / f"{key}.tif", pixels)
        assets[key] = {"href": f"./{item_id}/{key}.tif", "type": COG}
    properties = {"platform": "sentinel-2a", "datetime": time, "s2:processing_baseline": "04.00"}
    return write_item(folder / f"{item_id}.json", item_id, assets, properties, bbox, collection="sentinel-2-l2a")


def write_radar_item(folder: Path, item_id: str, time: str, track: int = 107, bbox: Sequence[float] = BOX) -> Path:
    """A Sentinel-1 RTC item, power as on the Planetary Computer, with VV and VH in a folder beside it."""
    assets = {}
    for key, pixels in zip(("vv", "vh"), radar(), strict=True):
        write_tiff(folder / item_id / f"{key}.tif", 10 ** (pixels / 10))
        assets[key] = {"href": f"./{item_id}/{key}.tif", "type": COG}
    properties = {
        "platform": "SENTINEL-1A",
        "datetime": time,
        "sat:relative_orbit": track,
        "sat:orbit_state": "descending",
    }
    return write_item(folder / f"{item_id}.json", item_id, assets, properties, bbox, collection="sentinel-1-rtc")


def write_catalog(path: Path, kind: str = "Catalog", **links: Sequence[str]) -> Path:
    """A catalog or collection with its links: `child=[...]`, `item=[...]`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "type": kind,
        "stac_version": "1.0.0",
        "id": path.parent.name,
        "description": "small",
        "links": [{"rel": rel, "href": href} for rel, hrefs in links.items() for href in hrefs],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
