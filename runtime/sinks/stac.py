"""STAC 1.1.0: an Item in each tile's folder and a Collection above them, so that catalogues and GIS find the products.

Spec: https://github.com/radiantearth/stac-spec/tree/v1.1.0. Extensions: processing v1.2.0, projection v2.0.0. Fields of
our own begin with `lsd:`. Links are relative and there is no `self` link, so the folder may be moved as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.commit import folder_name, replace_bytes, write_bytes
from lsd.runtime.errors import OutputError
from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT, coverage_of
from lsd.runtime.sinks.records import event_time_of, lonlat, note_of, outline
from lsd.runtime.sinks.score_grid import score_bands, score_transform
from lsd.runtime.tiles import Tile

STAC_VERSION = "1.1.0"
ITEM_NAME = "item.json"
COLLECTION_NAME = "collection.json"
COLLECTION_ID = "lsd-edge-detections"  # the same for all runs: an item names it before the run has ended
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
# what a model derived from observations: processing extension, table of levels; MLM extension, best practices
PROCESSING_LEVEL = "L4"
UNKNOWN_TIME = "1970-01-01T00:00:00Z"  # STAC needs a time; `lsd:time_unknown` says that this is none
COG = "image/tiff; application=geotiff; profile=cloud-optimized"  # media type: STAC best practices
# product kind -> title, media type, roles and code of its CRS where that is not the tile's
_ASSETS: dict[str, tuple[str, str, list[str], str | None]] = {
    "detections": ("Detections", "application/geo+json", ["data"], "EPSG:4326"),
    "geopackage": (
        "Detections, all patches with reasons, footprints and sources, styled for QGIS",
        "application/geopackage+sqlite3",
        ["data"],
        None,
    ),
    "scores": ("Scores, one pixel a patch", COG, ["data"], None),
    "quicklook": ("Picture with detections outlined and unseen ground hatched", "image/png", ["overview"], None),
    "kml": ("Detections", "application/vnd.google-earth.kml+xml", ["data"], "EPSG:4326"),
    "geoparquet": ("Detections", "application/vnd.apache.parquet", ["data"], "EPSG:4326"),
}
# A tile's edge is not straight in degrees: a chord leaves it by length^2 tan(latitude) / 8R, 3 m for 10 km at 60 N
_OUTLINE_STEP_PX = 1024


# --- one tile --------------------------------------------------------------------------------------------------------


def write_item(path: Path, tile: Tile, scores: TileScores, context: RunContext, products: Mapping[str, str]) -> None:
    """Write `stac_item` as UTF-8 text.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(path, _text(stac_item(tile, scores, context, products)))


def stac_item(tile: Tile, scores: TileScores, context: RunContext, products: Mapping[str, str]) -> dict[str, Any]:
    """The Item of a tile; its id is the name of the tile's folder.

    datetime is when the ground was seen: the time of the optical and post-event radar scenes, null with start_datetime
    and end_datetime where these differ. Where no such time is known `lsd:time_unknown` is true, and datetime is the
    event time or, without one, `UNKNOWN_TIME`.

    Args:
        products: kind -> name of a file beside the item; the kind `item` is left out.
    """
    geometry = lonlat(tile, outline(tile, _OUTLINE_STEP_PX))
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [PROCESSING, PROJECTION],
        "id": folder_name(tile.id),
        "geometry": geometry,
        "bbox": bbox_of(geometry),
        "properties": {
            **_times(tile, context),
            "title": f"Landslide detections: {tile.id}",
            "description": note_of(tile, scores, context),
            "processing:level": PROCESSING_LEVEL,
            "processing:lineage": _lineage(tile, scores, context),
            "processing:software": {"lsd-edge": context.version},
            **_projection(tile),
            **_ours(tile, scores, context),
        },
        "links": [
            {"rel": rel, "href": f"../{COLLECTION_NAME}", "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ],
        "assets": {
            kind: _asset(kind, name, tile, scores, context) for kind, name in products.items() if kind != "item"
        },
        "collection": COLLECTION_ID,
    }


def _times(tile: Tile, context: RunContext) -> dict[str, Any]:
    seen = {scene.acquired for scene in tile.scenes if scene.role != "pre" and scene.acquired}
    times = sorted(seen or set(tile.acquired.values()))  # ISO 8601 in UTC sorts as text
    if not times:
        return {"datetime": event_time_of(tile, context) or UNKNOWN_TIME, "lsd:time_unknown": True}
    if len(times) == 1:
        return {"datetime": times[0]}
    return {"datetime": None, "start_datetime": times[0], "end_datetime": times[-1]}


def _lineage(tile: Tile, scores: TileScores, context: RunContext) -> str:
    scenes = ", ".join(f"{scene.id} ({scene.role})" for scene in tile.scenes) or "scenes of unknown name"
    return (
        f"Bands {', '.join(tile.bands) or 'of unknown name'} of {scenes}, read in patches of {PATCH_SIZE_PX} x "
        f"{PATCH_SIZE_PX} px of {tile.grid.gsd_m:g} m every {scores.grid.stride_px} px, scored by the boosted trees of "
        f"bundle {context.bundle_name} (SHA-256 {context.bundle_sha256})."
    )


def _projection(tile: Tile) -> dict[str, Any]:
    code = tile.grid.crs.to_epsg()
    if code is not None:
        return {"proj:code": f"EPSG:{code}"}
    return {"proj:code": None, "proj:wkt2": tile.grid.crs.to_wkt(version="WKT2_2019")}


def _ours(tile: Tile, scores: TileScores, context: RunContext) -> dict[str, Any]:
    coverage = coverage_of(scores, tile.grid.gsd_m)
    event_time = event_time_of(tile, context)
    used = {name: int((scores.configuration == number).sum()) for number, name in enumerate(context.names, start=1)}
    return {
        "lsd:caveat": CAVEAT,
        "lsd:validated": False,
        "lsd:synthetic": context.synthetic,
        "lsd:counts": scores.counts(),
        "lsd:coverage": {**asdict(coverage), "share_scored": coverage.share_scored},
        "lsd:configurations": {name: patches for name, patches in used.items() if patches},
        **({} if event_time is None else {"lsd:event_time": event_time}),
        "lsd:assumed_prevalence": dict(zip(context.names, context.prevalences, strict=True)),
        "lsd:prevalence_stated_by_user": context.prevalence is not None,
        "lsd:bundle_name": context.bundle_name,
        "lsd:bundle_sha256": context.bundle_sha256,
        "lsd:sources": [{**asdict(scene), "bands": list(scene.bands), "track": scene.track} for scene in tile.scenes],
        "lsd:warnings": list(tile.warnings),
        "lsd:decisions": [asdict(decision) for decision in tile.decisions],
    }


def _asset(kind: str, name: str, tile: Tile, scores: TileScores, context: RunContext) -> dict[str, Any]:
    crs = _ASSETS[kind][3]
    asset = {"href": f"./{name}", **_item_asset(kind), **({} if crs is None else {"proj:code": crs})}
    if kind != "scores":
        return asset
    return {
        **asset,
        "gsd": scores.grid.stride_px * tile.grid.gsd_m,
        "proj:shape": [scores.grid.rows, scores.grid.columns],
        "proj:transform": list(score_transform(tile, scores))[:6],
        "data_type": "float32",
        "nodata": "nan",
        "bands": [
            {"name": band, "description": meaning} for band, (_, meaning) in score_bands(scores, context).items()
        ],
    }


def _item_asset(kind: str) -> dict[str, Any]:
    title, media_type, roles, _ = _ASSETS[kind]
    return {"title": title, "type": media_type, "roles": roles}


# --- the output folder -----------------------------------------------------------------------------------------------


def write_collection(path: Path) -> int:
    """Write the Collection of all tiles in the folder of `path`, those of earlier runs too; the items alone decide it.

    Returns:
        number of tiles; without any, nothing is written.
    Raises:
        OutputError: the file cannot be written, or `path` holds something that is not such a collection.
    """
    refuse_other_collection(path)
    items = read_items(path.parent)
    if items:
        replace_bytes(path, _text(stac_collection(items)))  # a short file would be taken for someone else's
    return len(items)


def refuse_other_collection(path: Path) -> None:
    """Raise OutputError if there is something at `path` that `write_collection` did not write."""
    if path.exists() and (_json(path) or {}).get("id") != COLLECTION_ID:
        raise OutputError(
            f"{path} is no collection of lsd-run, so it is not replaced; move it or choose another folder with -o"
        )


def read_items(out: Path) -> list[dict[str, Any]]:
    """The Items of the tiles in an output folder, by folder name; what `write_item` did not write is left out."""
    found = (_json(path) for path in sorted(out.glob(f"*/{ITEM_NAME}")) if not path.parent.name.startswith("."))
    return [item for item in found if item is not None and item.get("collection") == COLLECTION_ID]


def stac_collection(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The Collection of some items, one or more, in their order.

    Its temporal extent leaves out items whose time is unknown, and is open at both ends if there are no others.
    """
    items = list(items)
    kinds = [kind for kind in _ASSETS if any(kind in item["assets"] for item in items)]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [PROCESSING, PROJECTION],
        "id": COLLECTION_ID,
        "title": "Landslide detections of lsd-edge",
        "description": (
            f"{CAVEAT} An item is a tile; the tiles may stem from several runs and may overlap. Rights: those of the "
            "scenes named in each item, and of the bundle."
        ),
        "keywords": ["landslide", "detection", "Sentinel-1", "Sentinel-2"],
        "license": "other",
        "extent": {
            "spatial": {"bbox": [_union([item["bbox"] for item in items])]},
            "temporal": {"interval": [_interval(item["properties"] for item in items)]},
        },
        "summaries": {
            key: _distinct(item["properties"][key] for item in items)
            for key in (
                "processing:level",
                "processing:software",
                "proj:code",
                "lsd:bundle_name",
                "lsd:bundle_sha256",
                "lsd:synthetic",
                "lsd:validated",
            )
        },
        "item_assets": {kind: _item_asset(kind) for kind in kinds},
        "links": [
            {"rel": "root", "href": f"./{COLLECTION_NAME}", "type": "application/json"},
            *({"rel": "item", "href": f"./{item['id']}/{ITEM_NAME}", "type": "application/geo+json"} for item in items),
        ],
    }


def _interval(properties: Iterable[Mapping[str, Any]]) -> list[str | None]:
    known = [one for one in properties if not one.get("lsd:time_unknown")]
    first = [one["datetime"] or one["start_datetime"] for one in known]
    last = [one["datetime"] or one["end_datetime"] for one in known]
    return [min(first, default=None), max(last, default=None)]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


# --- boxes -----------------------------------------------------------------------------------------------------------


def bbox_of(geometry: Mapping[str, Any]) -> list[float]:
    """West, south, east, north of a Polygon or MultiPolygon in degrees; west > east across the antimeridian.

    RFC 7946, 5.2; polygons must not cross the antimeridian themselves (`records.lonlat` cuts them).
    """
    single = geometry["type"] == "Polygon"
    polygons = [geometry["coordinates"]] if single else geometry["coordinates"]
    boxes = []
    for exterior, *_ in polygons:
        longitudes, latitudes = zip(*exterior, strict=True)
        boxes.append([min(longitudes), min(latitudes), max(longitudes), max(latitudes)])
    return _union(boxes)


def _union(boxes: list[list[float]]) -> list[float]:
    """The narrowest box around some boxes: it leaves out the widest gap between their longitudes."""
    arcs = sorted((west, east if west <= east else east + 360) for west, _, east, _ in boxes)
    reach = max(east for _, east in arcs) - 360
    gap, span = 0.0, [-180.0, 180.0]
    for west, east in arcs:
        if west - reach > gap:
            gap, span = west - reach, [west, round((reach + 180) % 360 - 180, 7)]
        reach = max(reach, east)
    if span[1] == -180:
        span[1] = 180.0
    return [span[0], min(box[1] for box in boxes), span[1], max(box[3] for box in boxes)]


def _text(document: Mapping[str, Any]) -> bytes:
    """UTF-8; lone surrogates (of a file name that is no UTF-8) become `?`, which readers of JSON need."""
    return f"{json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)}\n".encode("utf-8", "replace")


def _json(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file, None if it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
