"""Records of a tile's patches and detections: what GeoJSON, GeoPackage, KML and GeoParquet say alike, and where.

A record is a dict, ready for JSON, with the keys of `DETECTION_FIELDS` or `PATCH_FIELDS` in their order. Times are ISO
8601 in UTC, None where unknown; `list` fields hold text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform_geom

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.scores import (
    CLASS_TEXT,
    CLOUD,
    DECISION_TEXT,
    LOOKS_LIKE_CLOUD,
    NO_CONFIGURATION,
    OUT_OF_RANGE,
    SCORED,
    SLIDE,
    STAGE_TEXT,
    TOO_FEW_VALID_PIXELS,
    TileScores,
)
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT, corners_px, coverage_of
from lsd.runtime.tiles import Scene, Tile

Kind = Literal["text", "integer", "real", "boolean", "time", "list"]
Record = dict[str, Any]
Ring = list[tuple[float, float]]

DETECTION_FIELDS: dict[str, Kind] = {
    "id": "text",
    "tile": "text",
    "row": "integer",
    "column": "integer",
    "probability": "real",
    "class": "text",
    "decision": "text",
    "threshold": "real",
    "configuration": "text",
    "configuration_f1": "real",
    "stage": "text",
    "valid_fraction": "real",
    "shifted": "boolean",
    "patch_area_m2": "real",
    "time_pre": "time",
    "time_post": "time",
    "time_optical": "time",
    "event_time": "time",
    "track": "text",
    "source_ids": "list",
    "det_method": "text",
    "validated": "boolean",
    "cause_note": "text",
    "assumed_prevalence": "real",
    "prevalence_stated_by_user": "boolean",
    "bundle_name": "text",
    "bundle_sha256": "text",
    "synthetic": "boolean",
}
PATCH_FIELDS: dict[str, Kind] = {
    "id": "text",
    "row": "integer",
    "column": "integer",
    "class": "text",
    "reason": "text",
    "probability": "real",
    "configuration": "text",
    "stage": "text",
    "valid_fraction": "real",
}
REASON_TEXT = {  # short forms of STATUS_TEXT, one a status
    SCORED: "scored",
    TOO_FEW_VALID_PIXELS: "nodata",
    NO_CONFIGURATION: "no configuration",
    LOOKS_LIKE_CLOUD: "looks like cloud",
    CLOUD: "cloud",
    OUT_OF_RANGE: "out of range",
}
CAUSE_NOTE = "not proof that the event caused it"
SYNTHETIC_NOTE = "The bundle was trained on made-up data: this result shows the software, not the ground."
_LONLAT_DECIMALS = 7  # degrees: about a centimetre


def note_of(tile: Tile, scores: TileScores, context: RunContext) -> str:
    """What a reader of any product must know first: how much was looked at, what a detection is, made-up data."""
    notes = [coverage_of(scores, tile.grid.gsd_m).note(), CAVEAT]
    return " ".join([*notes, SYNTHETIC_NOTE] if context.synthetic else notes)


def event_time_of(tile: Tile, context: RunContext) -> str | None:
    """ISO 8601 in UTC: the tile's own event time, else the run's, None if nobody stated one."""
    return tile.event_time or context.event_time


def detected(scores: TileScores) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns, intp (n,), of the patches decided `slide`, row-major."""
    rows, columns = np.nonzero(scores.decision == SLIDE)
    return rows, columns


def detection_records(tile: Tile, scores: TileScores, context: RunContext) -> Iterator[Record]:
    """One record a patch decided `slide`, in the order of `detected`; `DETECTION_FIELDS` tells the keys.

    probability, threshold, valid_fraction, configuration_f1: 0..1; the last is out of fold on the training data, None
    if unknown. stage: `STAGE_TEXT`, whether the forest alone answered. patch_area_m2: the ground looked at, not the
    slide. The times, track and source_ids (`evidence_of`) tell of the scenes behind the bands of the configuration that
    answered.
    """
    classes = scores.classes()
    shared: dict[int, Record] = {}
    for row, column in zip(*(cells.tolist() for cells in detected(scores)), strict=True):
        number = int(scores.configuration[row, column])
        if number not in shared:
            shared[number] = _shared(tile, context, number)
        found = {
            "id": patch_id(tile, row, column),
            "row": row,
            "column": column,
            "probability": round(float(scores.probability[row, column]), 6),
            "class": CLASS_TEXT[int(classes[row, column])],
            "stage": STAGE_TEXT[int(scores.stage[row, column])],
            "valid_fraction": round(float(scores.valid_fraction[row, column]), 6),
            "shifted": bool(scores.shifted[row, column]),
            **shared[number],
        }
        yield {key: found[key] for key in DETECTION_FIELDS}


def patch_records(tile: Tile, scores: TileScores, context: RunContext) -> Iterator[Record]:
    """One record a patch, all of them, row-major; `PATCH_FIELDS` tells the keys.

    class: likely, possible (detections), look, nothing seen or not observed. reason: a value of `REASON_TEXT`.
    probability and configuration are None where the patch was not scored.
    """
    texts = (None, *context.names)
    columns = range(scores.grid.columns)
    named = (scores.status, scores.configuration, scores.stage, scores.probability, scores.valid_fraction)
    grids = (scores.classes(), *named)
    for row in range(scores.grid.rows):
        cells = (grid[row].tolist() for grid in grids)
        for column, code, status, number, stage, probability, valid in zip(columns, *cells, strict=True):
            yield {
                "id": patch_id(tile, row, column),
                "row": row,
                "column": column,
                "class": CLASS_TEXT[code],
                "reason": REASON_TEXT[status],
                "probability": round(probability, 6) if number else None,
                "configuration": texts[number],
                "stage": STAGE_TEXT[stage],
                "valid_fraction": round(valid, 6),
            }


def readable(value: Any) -> Any:
    """Text with lone surrogates (of a file name that is no UTF-8) as `?`, which most formats need; others as is."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


def moment(iso: str) -> datetime:
    """The time in UTC that an ISO 8601 text tells; without a zone it is taken as UTC."""
    time = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)


def patch_id(tile: Tile, row: int, column: int) -> str:
    """`tile:row:column`."""
    return f"{tile.id}:{row}:{column}"


def _shared(tile: Tile, context: RunContext, number: int) -> Record:
    """What all detections of one configuration (1-based) have in common."""
    configuration = context.configurations[number - 1]
    f1 = context.quality(configuration).get("f1")
    return {
        "tile": tile.id,
        "decision": DECISION_TEXT[SLIDE],
        "threshold": context.thresholds[number - 1],
        "configuration": configuration.name,
        "configuration_f1": None if f1 is None else f1["value"],
        "patch_area_m2": round((PATCH_SIZE_PX * tile.grid.gsd_m) ** 2, 1),
        **evidence_of(tile, configuration.bands),
        "event_time": event_time_of(tile, context),
        "det_method": "automatic",
        "validated": False,
        "cause_note": CAUSE_NOTE,
        "assumed_prevalence": context.prevalences[number - 1],
        "prevalence_stated_by_user": context.prevalence is not None,
        "bundle_name": context.bundle_name,
        "bundle_sha256": context.bundle_sha256,
        "synthetic": context.synthetic,
    }


def evidence_of(tile: Tile, bands: Iterable[str]) -> Record:
    """Times, tracks and ids of the scenes behind some canonical bands.

    time_pre is the earliest radar scene before the event and time_post the latest after it, over all tracks and
    averaged scenes: what changed for the radar changed between them. None if there is no such scene, or if the time of
    one of them is unknown. time_optical is the latest optical scene's. track: of the radar scenes, `descending 107;
    ascending 173`, None without radar.
    """
    scenes = tile.scenes_of(bands)
    pre, post, optical = (_times(scenes, role) for role in ("pre", "post", "optical"))
    tracks = dict.fromkeys(scene.track for scene in scenes if scene.track)
    return {
        "time_pre": min(pre, default=None),
        "time_post": max(post, default=None),
        "time_optical": max(optical, default=None),
        "track": "; ".join(tracks) or None,
        "source_ids": [scene.id for scene in scenes],
    }


def _times(scenes: Iterable[Scene], role: str) -> list[str]:
    """Times of the scenes of a role (ISO 8601 in UTC sorts as text); none if one of them is unknown."""
    times = [scene.acquired for scene in scenes if scene.role == role]
    return [] if None in times else [time for time in times if time is not None]


# --- where -----------------------------------------------------------------------------------------------------------


def squares(tile: Tile, scores: TileScores, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Closed rings of patches in the tile's CRS, float64 (n, 5, 2): the exact 64 px squares, inward shift included.

    Corners in the order upper left, lower left, lower right, upper right, upper left; `rows`, `columns` are (n,).
    """
    tops, lefts = corners_px(scores.grid)
    x = lefts[columns][:, None] + np.array([0, 0, PATCH_SIZE_PX, PATCH_SIZE_PX, 0])
    y = tops[rows][:, None] + np.array([0, PATCH_SIZE_PX, PATCH_SIZE_PX, 0, 0])
    return np.stack(tile.grid.ground(x, y), axis=2).astype(np.float64)


def rectangle(tile: Tile, left: int, top: int, right: int, bottom: int, step_px: int | None = None) -> Ring:
    """Closed ring in the tile's CRS of a box given by its edges in tile pixels, corners in the order of `squares`.

    step_px: longest step between two places on the ring (a straight edge is none in degrees); None for corners alone.
    """
    x, y = (_steps(a, b, step_px) for a, b in ((left, right), (top, bottom)))
    places = [(left, v) for v in y[:-1]] + [(u, bottom) for u in x[:-1]]
    places += [(right, v) for v in y[:0:-1]] + [(u, top) for u in x[:0:-1]]
    return [tile.grid.ground(u, v) for u, v in [*places, (left, top)]]


def _steps(first: int, last: int, step_px: int | None) -> list[float]:
    pieces = 1 if step_px is None else max(1, -(-(last - first) // step_px))
    return [first + (last - first) * piece / pieces for piece in range(pieces)] + [last]


def outline(tile: Tile, step_px: int | None = None) -> Ring:
    """The tile's outline as `rectangle`."""
    return rectangle(tile, 0, 0, tile.grid.width_px, tile.grid.height_px, step_px)


def lonlat(tile: Tile, ring: Iterable[tuple[float, float]]) -> dict[str, Any]:
    """GeoJSON geometry in WGS 84 of a closed ring in the tile's CRS: Polygon or, across the antimeridian, MultiPolygon.

    Exterior rings run counterclockwise; degrees have 7 decimals (RFC 7946, 3.1.6, 3.1.9 and 11.2).
    """
    flat = {"type": "Polygon", "coordinates": [list(ring)]}
    geometry = transform_geom(tile.grid.crs, "EPSG:4326", flat)  # GDAL cuts at the antimeridian
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    tidy = [[_tidy(exterior)] for exterior, *_ in polygons]
    if len(tidy) == 1:
        return {"type": "Polygon", "coordinates": tidy[0]}
    return {"type": "MultiPolygon", "coordinates": tidy}


def _tidy(ring: Iterable[tuple[float, float]]) -> list[list[float]]:
    """Rounded, without repeated corners, closed, counterclockwise."""
    corners: list[list[float]] = []
    for longitude, latitude in ring:
        corner = [round(longitude, _LONLAT_DECIMALS), round(latitude, _LONLAT_DECIMALS)]
        if not corners or corner != corners[-1]:
            corners.append(corner)
    twice_area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(corners))
    return corners if twice_area > 0 else corners[::-1]
