"""Detections as GeoJSON (RFC 7946): one polygon a patch decided `slide`, and above them how much was looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.warp import transform_geom

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.commit import write_bytes
from lsd.runtime.scores import SLIDE, TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT, coverage_of
from lsd.runtime.tiles import Tile

_DECIMALS = 7  # degrees: about a centimetre
Ring = list[tuple[float, float]]


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

    A polygon is the exact 64 px square that was scored, inward shift included; exterior rings run counterclockwise; a
    square across the antimeridian is cut into a MultiPolygon (RFC 7946, 3.1.6 and 3.1.9). The tile's own CRS stands in
    `tile.crs`: a top-level `crs` would move the polygons in readers that still know the format of 2008.
    """
    coverage = coverage_of(scores, tile.grid.gsd_m)
    notes = [coverage.note(), CAVEAT]
    if context.synthetic:
        notes.append("The bundle was trained on made-up data: this result shows the software, not the ground.")
    rows, columns = np.nonzero(scores.decision == SLIDE)
    return {
        "type": "FeatureCollection",
        "note": " ".join(notes),
        "coverage": {**asdict(coverage), "not_scored": coverage.not_scored, "share_scored": coverage.share_scored},
        "counts": scores.counts(),
        "warnings": list(tile.warnings),
        "decisions": [asdict(decision) for decision in tile.decisions],
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
            _feature(tile, scores, context, row, column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ],
    }


def _feature(tile: Tile, scores: TileScores, context: RunContext, row: int, column: int) -> dict[str, Any]:
    configuration = int(scores.configuration[row, column]) - 1
    left_px, top_px = scores.grid.x_px(column), scores.grid.y_px(row)
    return {
        "type": "Feature",
        "id": f"{tile.id}:{row}:{column}",
        "geometry": _lonlat(tile, _square(tile.grid.transform, left_px, top_px)),
        "properties": {
            "probability": round(float(scores.probability[row, column]), 6),
            "decision": "slide",
            "threshold": context.thresholds[configuration],
            "configuration": context.configurations[configuration],
            "valid_fraction": round(float(scores.valid_fraction[row, column]), 6),
            "row": row,
            "column": column,
            "shifted": bool(scores.shifted[row, column]),
            "patch_area_m2": round((PATCH_SIZE_PX * tile.grid.gsd_m) ** 2, 1),  # ground looked at, not the slide
            "tile": tile.id,
            "bundle_sha256": context.bundle_sha256,
            "det_method": "automatic",
            "validated": False,
            "assumed_prevalence": context.prevalences[configuration],
            **{f"acquired_{sensor.replace('-', '_')}": time for sensor, time in sorted(tile.acquired.items())},
        },
    }


def _square(transform: Affine, left_px: int, top_px: int) -> Ring:
    """Closed ring of a patch in the tile's CRS: upper left, lower left, lower right, upper right, upper left."""
    right_px, bottom_px = left_px + PATCH_SIZE_PX, top_px + PATCH_SIZE_PX
    corners = [(left_px, top_px), (left_px, bottom_px), (right_px, bottom_px), (right_px, top_px), (left_px, top_px)]
    t = transform  # affine 2 has no `@`, affine 3 warns of `*`
    return [(t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f) for x, y in corners]


def _lonlat(tile: Tile, ring: Ring) -> dict[str, Any]:
    """Polygon or, across the antimeridian, MultiPolygon in WGS 84."""
    square = {"type": "Polygon", "coordinates": [ring]}
    geometry = transform_geom(tile.grid.crs, "EPSG:4326", square)  # GDAL cuts at the antimeridian
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    tidy = [[_tidy(exterior)] for exterior, *_ in polygons]
    if len(tidy) == 1:
        return {"type": "Polygon", "coordinates": tidy[0]}
    return {"type": "MultiPolygon", "coordinates": tidy}


def _tidy(ring: Iterable[tuple[float, float]]) -> list[list[float]]:
    """Rounded, without repeated corners, closed, counterclockwise."""
    corners: list[list[float]] = []
    for longitude, latitude in ring:
        corner = [round(longitude, _DECIMALS), round(latitude, _DECIMALS)]
        if not corners or corner != corners[-1]:
            corners.append(corner)
    twice_area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(corners))
    return corners if twice_area > 0 else corners[::-1]
