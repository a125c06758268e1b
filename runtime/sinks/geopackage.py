"""A tile as a GeoPackage that QGIS opens styled: detections, all patches with reasons, footprints, sources, the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT, coverage_of
from lsd.runtime.sinks.feature_tables import Table, write_tables
from lsd.runtime.sinks.qgis_style import detections_style, footprints_style, patches_style
from lsd.runtime.sinks.records import (
    DETECTION_FIELDS,
    PATCH_FIELDS,
    Kind,
    Record,
    detected,
    detection_records,
    event_time_of,
    note_of,
    outline,
    patch_records,
    squares,
)
from lsd.runtime.tiles import Tile

FOOTPRINT_FIELDS: dict[str, Kind] = {
    "name": "text",
    "kind": "text",
    "sensor": "text",
    "role": "text",
    "acquired": "time",
    "track": "text",
    "outline_of": "text",
}
SOURCE_FIELDS: dict[str, Kind] = {
    "scene_id": "text",
    "sensor": "text",
    "role": "text",
    "product": "text",
    "acquired": "time",
    "orbit": "text",
    "relative_orbit": "integer",
    "bands": "list",
}
_NO_TIME = "1970-01-01T00:00:00Z"
_OF_TILE, _OF_TILE_ONLY = "the tile", "the tile: the scene's own outline is not known"


def write_geopackage(path: Path, tile: Tile, scores: TileScores, context: RunContext) -> None:
    """Write the layers `detections`, `patches`, `footprints` and the tables `sources`, `decisions`, `run`.

    Polygons are in the tile's CRS. The layer `patches` holds every patch with its class and reason, so that ground that
    was not observed is told apart from ground without a detection. The time of change in the file is that of the
    newest scene.

    Raises:
        OutputError: the file cannot be written.
    """
    footprints = list(_footprints(tile))
    tables = [
        Table(
            "detections",
            "Patches decided slide: ground looked at, not the outline of a landslide; nobody has checked them",
            DETECTION_FIELDS,
            detection_records(tile, scores, context),
            [squares(tile, scores, *detected(scores))],
            detections_style(),
        ),
        Table(
            "patches",
            "Every patch with its class and, where it was not scored, the reason",
            PATCH_FIELDS,
            patch_records(tile, scores, context),
            _grid(tile, scores),
            patches_style(),
        ),
        Table(
            "footprints",
            "Outline of the tile, for itself and for each scene behind it",
            FOOTPRINT_FIELDS,
            footprints,
            [np.array([outline(tile)] * len(footprints))],
            footprints_style(),
        ),
        Table("sources", "Scenes behind the tile", SOURCE_FIELDS, _sources(tile)),
        Table(
            "decisions",
            "What ingest decided about the input, and why",
            {"subject": "text", "choice": "text", "reason": "text"},
            [asdict(decision) for decision in tile.decisions],
        ),
        Table("run", "Read first", {"key": "text", "value": "text"}, _run(tile, scores, context)),
    ]
    write_tables(path, tables, tile.grid.crs, newest_time(tile))


def _grid(tile: Tile, scores: TileScores) -> Iterator[NDArray[np.float64]]:
    """Squares of all patches, one row of patches a block."""
    columns = np.arange(scores.grid.columns)
    for row in range(scores.grid.rows):
        yield squares(tile, scores, np.full_like(columns, row), columns)


def newest_time(tile: Tile) -> str:
    """ISO 8601 time of the newest scene of a tile; 1970 if none is known."""
    times = [*tile.acquired.values(), *(scene.acquired for scene in tile.scenes if scene.acquired)]
    return max(times, default=_NO_TIME)


def _footprints(tile: Tile) -> Iterator[Record]:
    empty: Record = dict.fromkeys(FOOTPRINT_FIELDS)
    yield {**empty, "name": tile.id, "kind": "tile", "outline_of": _OF_TILE}
    for scene in tile.scenes:
        yield {
            "name": scene.id,
            "kind": "scene",
            "sensor": scene.sensor,
            "role": scene.role,
            "acquired": scene.acquired,
            "track": scene.track,
            "outline_of": _OF_TILE_ONLY,
        }


def _sources(tile: Tile) -> Iterator[Record]:
    for scene in tile.scenes:
        record = {**asdict(scene), "scene_id": scene.id}
        yield {key: record[key] for key in SOURCE_FIELDS}


def _run(tile: Tile, scores: TileScores, context: RunContext) -> Iterator[Record]:
    """Key and value, both text; several rows `warning` where there are several."""
    coverage = coverage_of(scores, tile.grid.gsd_m)
    facts: list[tuple[str, Any]] = [
        ("note", note_of(tile, scores, context)),
        *(("warning", warning) for warning in tile.warnings),
        ("caveat", CAVEAT),
        ("tile", tile.id),
        ("event_time", event_time_of(tile, context) or "not stated"),
        *((f"coverage.{key}", value) for key, value in asdict(coverage).items()),
        ("coverage.not_scored", coverage.not_scored),
        ("coverage.share_scored", coverage.share_scored),
        *((f"counts.{key}", value) for key, value in scores.counts().items()),
        ("stride_px", scores.grid.stride_px),
        ("bundle.name", context.bundle_name),
        ("bundle.sha256", context.bundle_sha256),
        ("bundle.synthetic", context.synthetic),
        ("prevalence_stated_by_user", context.prevalence is not None),
        ("software", f"lsd-edge {context.version}"),
    ]
    for number, configuration in enumerate(context.configurations):
        about = f"configuration.{configuration.name}"
        f1 = context.quality(configuration).get("f1")
        facts += [
            (f"{about}.threshold", context.thresholds[number]),
            (f"{about}.look_threshold", context.look_thresholds[number]),
            (f"{about}.assumed_prevalence", context.prevalences[number]),
            (f"{about}.f1", "unknown" if f1 is None else f1["value"]),
        ]
    for key, value in facts:
        yield {"key": key, "value": str(value).lower() if isinstance(value, bool) else str(value)}
