"""Detections as GeoJSON (RFC 7946): one polygon a patch decided `slide`, and above them how much was looked at."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsd.runtime.commit import write_bytes
from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import coverage_of
from lsd.runtime.sinks.records import detected, detection_records, event_time_of, lonlat, note_of, squares
from lsd.runtime.tiles import Scene, Tile


def write_detections(path: Path, tile: Tile, scores: TileScores, context: RunContext) -> None:
    """Write `detections_geojson` as UTF-8 text, one feature a line.

    Raises:
        OutputError: the file cannot be written.
    """
    collection = detections_geojson(tile, scores, context)
    features = ",\n".join(json.dumps(feature, allow_nan=False) for feature in collection.pop("features"))
    head = json.dumps(collection, indent=1, allow_nan=False).removesuffix("\n}")
    write_bytes(path, f'{head},\n "features": [\n{features}\n ]\n}}\n'.encode())


def detections_geojson(tile: Tile, scores: TileScores, context: RunContext) -> dict[str, Any]:
    """FeatureCollection in WGS 84 longitude and latitude, patches in row-major order.

    A polygon is the exact 64 px square that was scored, inward shift included; its properties are those of
    `detection_records`. A square across the antimeridian is cut into a MultiPolygon. The tile's own CRS stands in
    `tile.crs`: a top-level `crs` would move the polygons in readers that still know the format of 2008.
    """
    coverage = coverage_of(scores, tile.grid.gsd_m)
    rings = squares(tile, scores, *detected(scores)).tolist()
    return {
        "type": "FeatureCollection",
        "note": note_of(tile, scores, context),
        "coverage": {**asdict(coverage), "not_scored": coverage.not_scored, "share_scored": coverage.share_scored},
        "counts": scores.counts(),
        "warnings": list(tile.warnings),
        "decisions": [asdict(decision) for decision in tile.decisions],
        "event_time": event_time_of(tile, context),
        "sources": [_source(scene) for scene in tile.scenes],
        "tile": {
            "id": tile.id,
            "crs": tile.grid.crs.to_string(),
            "transform": list(tile.grid.transform)[:6],
            "width_px": tile.grid.width_px,
            "height_px": tile.grid.height_px,
            "stride_px": scores.grid.stride_px,
            "acquired": dict(sorted(tile.acquired.items())),
        },
        **context.to_json(),
        "features": [
            {"type": "Feature", "id": record["id"], "geometry": lonlat(tile, ring), "properties": record}
            for record, ring in zip(detection_records(tile, scores, context), rings, strict=True)
        ],
    }


def _source(scene: Scene) -> dict[str, Any]:
    return {**asdict(scene), "bands": list(scene.bands), "track": scene.track}
