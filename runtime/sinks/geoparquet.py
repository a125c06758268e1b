"""All patches of a tile as GeoParquet 1.1, for analysis over many tiles; needs pyarrow, the extra `geoparquet`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lsd.runtime.commit import write_bytes
from lsd.runtime.errors import UsageError
from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import coverage_of
from lsd.runtime.sinks.records import (
    DETECTION_FIELDS,
    PATCH_FIELDS,
    Kind,
    Record,
    detection_records,
    event_time_of,
    moment,
    note_of,
    outline,
    patch_records,
    readable,
    squares,
)
from lsd.runtime.sinks.wkb import polygons
from lsd.runtime.tiles import Tile

GEOPARQUET_VERSION = "1.1.0"
FIELDS: dict[str, Kind] = {**DETECTION_FIELDS, **PATCH_FIELDS}


def refuse_without_pyarrow() -> None:
    """Tell before a long run that its GeoParquet could not be written.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError("GeoParquet needs pyarrow; pip install 'lsd-edge[geoparquet]' or leave it out") from error


def write_geoparquet(path: Path, tile: Tile, scores: TileScores, context: RunContext) -> None:
    """Write one row a patch, polygons in the tile's CRS as WKB in `geometry`.

    Columns are those of `patch_records`, and those of `detection_records`, null where the patch is no detection. The
    note, coverage, warnings, sources, bundle and software stand as JSON under the key `lsd` of the file's metadata.

    Raises:
        OutputError: the file cannot be written.
        UsageError: pyarrow is not installed.
    """
    refuse_without_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "text": pa.string(),
        "integer": pa.int32(),
        "real": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("ms", tz="UTC"),
        "list": pa.list_(pa.string()),
    }
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for record in _rows(tile, scores, context):
        for name, kind in FIELDS.items():
            columns[name].append(_stored(record.get(name), kind))
    rows, across = np.indices(scores.decision.shape).reshape(2, -1)
    arrays = [pa.array(columns[name], types[kind]) for name, kind in FIELDS.items()]
    arrays.append(pa.array(polygons(squares(tile, scores, rows, across)), pa.binary()))
    metadata = {"geo": json.dumps(_geo(tile)), "lsd": json.dumps(_about(tile, scores, context))}
    fields = [pa.field(name, types[kind]) for name, kind in FIELDS.items()]
    schema = pa.schema([*fields, pa.field("geometry", pa.binary(), nullable=False)], metadata)
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=schema), buffer, compression="zstd")
    write_bytes(path, buffer.getvalue().to_pybytes())


def _rows(tile: Tile, scores: TileScores, context: RunContext) -> Iterator[Record]:
    """Every patch, with the fields of its detection if it is one."""
    detections = detection_records(tile, scores, context)
    coming = next(detections, None)
    for patch in patch_records(tile, scores, context):
        if coming is not None and coming["id"] == patch["id"]:
            yield {**coming, **patch}
            coming = next(detections, None)
        else:
            yield {**patch, "tile": tile.id}


def _stored(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "time":
        return moment(value)
    return [readable(text) for text in value] if kind == "list" else readable(value)


def _geo(tile: Tile) -> dict[str, Any]:
    """File metadata of GeoParquet 1.1; the CRS as PROJJSON."""
    corners = np.array(outline(tile))
    return {
        "version": GEOPARQUET_VERSION,
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Polygon"],
                "crs": tile.grid.crs.to_dict(projjson=True),
                "orientation": "counterclockwise",
                "edges": "planar",
                "bbox": [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()],
            }
        },
    }


def _about(tile: Tile, scores: TileScores, context: RunContext) -> dict[str, Any]:
    coverage = coverage_of(scores, tile.grid.gsd_m)
    return {
        "note": note_of(tile, scores, context),
        "coverage": {**asdict(coverage), "not_scored": coverage.not_scored, "share_scored": coverage.share_scored},
        "warnings": list(tile.warnings),
        "event_time": event_time_of(tile, context),
        "sources": [asdict(scene) for scene in tile.scenes],
        "decisions": [asdict(decision) for decision in tile.decisions],
        **context.to_json(),
    }
