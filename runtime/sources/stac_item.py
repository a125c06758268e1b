"""A STAC item: one acquisition, its assets matched to bands by key, then by the band names that they declare.

STAC item specification 1.0 and 1.1; `eo:bands` and `raster:bands` are of 1.0, `bands` with `eo:common_name` of 1.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lsd.runtime import bands
from lsd.runtime.errors import BandError, LsdError, SourceError, TileError
from lsd.runtime.ingest import raster
from lsd.runtime.sources.product import IGNORED, TIFF_SUFFIXES, BandFile, Product, SourceOptions, read_metadata

Bbox = tuple[float, float, float, float]  # west, south, east, north in degrees; west > east across 180 degrees

ITEM_SUFFIXES = (".json", ".geojson")
MAX_ITEM_BYTES = 8 * 2**20  # a larger file is a GeoJSON of something else: it is not parsed to find that out
RASTER_SUFFIXES = (*TIFF_SUFFIXES, ".jp2")
RASTER_TYPES = ("image/tiff", "image/jp2")
WEB_SCHEMES = ("http", "https")
# Pictures and descriptions of the scene, by role or key (STAC best practices, asset roles); TCI is ESA's RGB picture.
PICTURES = frozenset(("thumbnail", "overview", "visual", "metadata", "preview", "rendered_preview", "tci"))
# The EO extension calls B08 `nir` and the narrow 20 m band B8A `nir08`: no model of ours was trained on B8A.
NOT_B08 = "nir08"
LEVEL_1C_BANDS = ("b10", "cirrus")  # kept, unopened, so that ingest can refuse Level-1C
SENSORS = ("sentinel1", "sentinel2", "s1", "s2")
RASTER_KEYS = ("scale", "offset", "nodata", "unit")


@dataclass(frozen=True)
class Item:
    """A STAC item as read: identity, place, properties and assets. bbox: None if neither bbox nor geometry is there."""

    path: Path
    id: str
    collection: str | None
    bbox: Bbox | None
    properties: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]]


def is_stac_item(path: Path) -> bool:
    """True for a JSON file of at most 8 MiB that is a GeoJSON feature with `stac_version` and `assets`."""
    try:
        if path.suffix.casefold() not in ITEM_SUFFIXES or path.stat().st_size > MAX_ITEM_BYTES:
            return False
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("type") == "Feature" and {"stac_version", "assets"} <= found.keys()


def read_item(path: Path) -> Item:
    """Read an item and check the types of what is used of it.

    Raises:
        SourceError: the file is no JSON object.
        TileError: it is no STAC item, or one of its members has another type than STAC says.
    """
    found = read_metadata(path)
    members: tuple[tuple[str, type], ...] = (("id", str), ("properties", dict), ("assets", dict))
    for key, kind in members:
        if not isinstance(found.get(key), kind):
            raise TileError(
                f"{path} is no STAC item: {key!r} should be {_JSON[kind]}, is {found.get(key)!r:.60}; fetch it again"
            )
    for key, asset in found["assets"].items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            raise TileError(f"{path}: asset {key!r} should be an object with an href, is {asset!r:.60}; fetch it again")
    collection = found.get("collection")
    return Item(
        path,
        found["id"],
        collection if isinstance(collection, str) else None,
        _bbox(path, found),
        found["properties"],
        found["assets"],
    )


_JSON: dict[type, str] = {str: "a string", dict: "an object"}


def product_from_stac_item(path: Path, options: SourceOptions) -> Product:
    """The bands of an item, one file an asset; assets that are no band of the models are left out.

    Metadata are the item's properties with `stac:id`, `stac:collection`, `stac:raster` (asset key -> declared scale,
    offset, nodata, unit) and `stac:assets` (band -> asset key). Of assets that hold the same band the finest is taken,
    then a local one, then GeoTIFF before JPEG 2000.

    Raises:
        BandError: no asset is a band of the models.
        SourceError: the item cannot be read, an asset's file is missing, or it is remote and `options.remote` is false.
        TileError: it is no STAC item, or one of another satellite.
    """
    item = read_item(path)
    _refuse_other_sensors(item)
    chosen: dict[str, tuple[tuple[Any, ...], str, BandFile]] = {}
    for key, asset in item.assets.items():
        for index, name in _bands_of(key, asset):
            rank = _rank(item, key, asset, name)
            slot = bands.resolve(name) if _is_whole(name) else name.casefold()
            if slot not in chosen or rank < chosen[slot][0]:
                chosen[slot] = rank, key, BandFile(name, path, index)
    used = {key for _, key, file in chosen.values() if not file.is_ignored}
    if not used:
        raise BandError(
            f"{path}: item {item.id} has no asset that is a band of the models (its assets: "
            f"{', '.join(item.assets) or 'none'}); name them B02, B03, B04, B08, SCL, VV, VH, or by eo:bands"
        )
    where = {key: _located(item, key, options) for key in sorted(used)}
    files = tuple(
        BandFile(file.name, where.get(key, path), file.index)
        for _, (_, key, file) in sorted(chosen.items(), key=lambda one: one[0])
    )
    metadata = {
        **item.properties,
        "stac:id": item.id,
        "stac:collection": item.collection,
        "stac:raster": {key: found for key in sorted(used) if (found := _raster_of(item.assets[key]))},
        "stac:assets": {file.name: key for _, key, file in chosen.values() if key in used},
    }
    return Product(item.id, path, files, metadata)


def _refuse_other_sensors(item: Item) -> None:
    """Raise TileError if the item says that it is of a satellite other than Sentinel-1 and Sentinel-2."""
    stated = [text for key in ("constellation", "platform") if isinstance(text := item.properties.get(key), str)]
    if stated and not any(re.sub(r"[^a-z0-9]", "", text.casefold()).startswith(SENSORS) for text in stated):
        raise TileError(
            f"{item.path}: item {item.id} is of {stated[0]}; the models know Sentinel-1 and Sentinel-2 only: give an "
            "item of these"
        )


def _bands_of(key: str, asset: Mapping[str, Any]) -> list[tuple[int, str]]:
    """1-based band of the file and band name, for every band of an asset that is used; [] for all other assets."""
    plain = re.sub(r"[-_](jp2|\d+m)$", "", key.casefold())
    roles = asset.get("roles")
    if {
        plain,
        *(str(role).casefold() for role in (roles if isinstance(roles, list) else ())),
    } & PICTURES or not _is_raster(asset):
        return []
    described = _described(asset)
    if len(described) > 1:
        return [(i, name) for i, band in enumerate(described, 1) if (name := _first_known(_names(band)))]
    name = _first_known([plain, *(_names(described[0]) if described else ())])
    return [(1, name)] if name else []


def _is_raster(asset: Mapping[str, Any]) -> bool:
    suffix = Path(urlsplit(asset["href"]).path).suffix.casefold()
    return suffix in RASTER_SUFFIXES or str(asset.get("type", "")).casefold().startswith(RASTER_TYPES)


def _described(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The band objects of an asset, of STAC 1.1 or of the EO extension before it."""
    for key in ("bands", "eo:bands"):
        found = asset.get(key)
        if isinstance(found, list) and found:
            return [band if isinstance(band, dict) else {} for band in found]
    return []


def _names(band: Mapping[str, Any]) -> list[str]:
    return [str(band[key]) for key in ("name", "eo:common_name", "common_name") if band.get(key)]


def _first_known(names: list[str]) -> str | None:
    """The first name that says which band it is, as ingest knows it; None if that band is not used."""
    for name in names:
        plain = re.sub(r"_\d+m$", "", name.casefold())
        if plain in LEVEL_1C_BANDS:
            return "B10"
        if plain in IGNORED or plain == NOT_B08:
            return None
        if plain == "scl":
            return "SCL"
        if bands.is_known(plain):
            return plain
    return None


def _is_whole(name: str) -> bool:
    """True if the name alone tells the canonical band: not for VV, VH and layers."""
    file = BandFile(name, Path(), 1)
    return not (file.needs_orbit or file.is_ignored or file.cloud_kind)


def _rank(item: Item, key: str, asset: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Sort key among assets of the same band: several bands in one file last, then size, place, name and format."""
    href = urlsplit(asset["href"])
    return (
        len(_described(asset)) > 1,
        _gsd_m(key, asset),
        href.scheme not in ("", "file"),
        key.casefold() != name.casefold(),
        not href.path.casefold().endswith(TIFF_SUFFIXES),
        key,
    )


def _gsd_m(key: str, asset: Mapping[str, Any]) -> float:
    """Pixel size that the asset declares, in metres; 0 if it declares none, as the native one does."""
    in_key = re.search(r"_(\d+)m$", key)
    parts = [asset, *_described(asset), *_raster_bands(asset)]
    stated = [part.get(name) for part in parts for name in ("gsd", "raster:spatial_resolution", "spatial_resolution")]
    sizes = [float(size) for size in stated if isinstance(size, (int, float))]
    return sizes[0] if sizes else (float(in_key[1]) if in_key else 0.0)


def _raster_bands(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = asset.get("raster:bands")
    return [band for band in found if isinstance(band, dict)] if isinstance(found, list) else []


def _raster_of(asset: Mapping[str, Any]) -> dict[str, Any]:
    """Scale, offset, nodata and unit that an asset or its first band declares, under these four names."""
    found: dict[str, Any] = {}
    for part in (*_raster_bands(asset)[:1], *_described(asset)[:1], asset):
        for key in RASTER_KEYS:
            value = part.get(key, part.get(f"raster:{key}"))
            if value is not None:
                found.setdefault(key, value)
    return found


def _located(item: Item, key: str, options: SourceOptions) -> Path:
    """The file of an asset, which is there; a remote one only where the user asked for the network."""
    href = item.assets[key]["href"]
    path = _place(item, href)
    if path is None:
        if not options.remote:
            raise SourceError(
                f"{item.path}: asset {key} of item {item.id} is remote ({href}): lsd-run downloads nothing unasked; "
                "fetch the file beside the item and correct its href, or give --remote"
            )
        if urlsplit(href).scheme not in WEB_SCHEMES:
            raise SourceError(
                f"{item.path}: asset {key} of item {item.id} is at {href}; --remote opens http and https only: fetch "
                "the file beside the item and correct its href"
            )
        return raster.remote(href)
    if not path.is_file():
        raise SourceError(
            f"{item.path}: the file of asset {key} of item {item.id} is missing: {path}; fetch it, or correct the href"
        )
    return path


def _place(item: Item, href: str) -> Path | None:
    """Where on disk an asset lies, whether or not it is there; None for a remote one."""
    parts = urlsplit(href)
    if parts.scheme not in ("", "file"):
        return None
    named = item.path.parent / (unquote(parts.path) if parts.scheme else href)  # an absolute path stays one
    if not named.is_file() and not parts.scheme and (unquoted := item.path.parent / unquote(href)).is_file():
        return unquoted
    return named


def files_of_item(path: Path) -> list[Path]:
    """Where the assets of an item lie that are not remote, pictures too, whether or not they are there."""
    try:
        item = read_item(path)
    except LsdError:
        return []  # reading its product tells what is wrong
    return [place for asset in item.assets.values() if (place := _place(item, asset["href"])) is not None]


def _bbox(path: Path, found: Mapping[str, Any]) -> Bbox | None:
    """The item's bbox without heights, else the extent of its geometry."""
    stated = found.get("bbox")
    if stated is not None:
        if not (isinstance(stated, list) and len(stated) in (4, 6) and all(_is_number(one) for one in stated)):
            raise TileError(f"{path}: bbox should be 4 or 6 numbers, is {stated!r:.60}; fetch the item again")
        half = len(stated) // 2
        return float(stated[0]), float(stated[1]), float(stated[half]), float(stated[half + 1])
    geometry = found.get("geometry")
    points = list(_points(geometry.get("coordinates"))) if isinstance(geometry, dict) else []
    if not points:
        return None
    east, north = zip(*points, strict=True)
    return min(east), min(north), max(east), max(north)


def _points(coordinates: Any) -> list[tuple[float, float]]:
    """Every point in GeoJSON coordinates of any depth."""
    if not isinstance(coordinates, list) or not coordinates:
        return []
    if len(coordinates) >= 2 and all(_is_number(one) for one in coordinates):
        return [(float(coordinates[0]), float(coordinates[1]))]
    return [point for part in coordinates for point in _points(part)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
