"""Detections as KML 2.2 (OGC 07-147r2) for globes and phones, with the tile's outline and the ground not observed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.commit import write_bytes
from lsd.runtime.scores import CLASS_TEXT, LIKELY, NOT_OBSERVED, NOT_SCORED, POSSIBLE, TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.qgis_style import BLACK, COLOURS, Colour
from lsd.runtime.sinks.records import (
    REASON_TEXT,
    Record,
    Ring,
    detected,
    detection_records,
    lonlat,
    note_of,
    outline,
    readable,
    rectangle,
    squares,
)
from lsd.runtime.tiles import Tile

# Longest step between two places of a ring, 10.24 km: a line that is straight on the ground strays from one that is
# straight in degrees by length^2 tan(latitude) / (8 earth radii), 4 m here at 60 degrees.
_STEP_PX = 16 * PATCH_SIZE_PX
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML 1.0, 2.2: no character of a document


def write_kml(path: Path, tile: Tile, scores: TileScores, context: RunContext) -> None:
    """Write folders `detections`, `not observed` and `tile` in WGS 84.

    A detection carries its record as ExtendedData and the span from the radar scene before the event to the latest
    scene after it. Ground that was not observed is drawn as one polygon for each run of unscored patches in a row of
    patches that have the same reason; where patches overlap, its rim may lie in a patch that was scored. The rest of
    the tile was looked at.

    Raises:
        OutputError: the file cannot be written.
    """
    about = [note_of(tile, scores, context), *(f"Look: {warning}" for warning in tile.warnings)]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<kml xmlns="http://www.opengis.net/kml/2.2">',
        "<Document>",
        _element("name", tile.id),
        _element("description", "\n".join(about)),
        _style(LIKELY, COLOURS[CLASS_TEXT[LIKELY]], 110),
        _style(POSSIBLE, COLOURS[CLASS_TEXT[POSSIBLE]], 110),
        _style(NOT_OBSERVED, COLOURS[CLASS_TEXT[NOT_OBSERVED]], 110),
        _style("tile", BLACK, 0),
        *_folder("detections", _detections(tile, scores, context)),
        *_folder("not observed", _unseen(tile, scores)),
        *_folder("tile", [_placemark(tile.id, "tile", {}, lonlat(tile, outline(tile, _STEP_PX)))]),
        "</Document>",
        "</kml>",
    ]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _detections(tile: Tile, scores: TileScores, context: RunContext) -> Iterator[str]:
    codes = {text: code for code, text in CLASS_TEXT.items()}
    rings = squares(tile, scores, *detected(scores)).tolist()
    for record, ring in zip(detection_records(tile, scores, context), rings, strict=True):
        name = f"{record['class']}, p = {record['probability']:.2f}"
        yield _placemark(name, codes[record["class"]], record, lonlat(tile, ring), _span(record))


def _unseen(tile: Tile, scores: TileScores) -> Iterator[str]:
    for row, first, last in unseen_runs(scores):
        reason = REASON_TEXT[int(scores.status[row, first])]
        top, left, right = scores.grid.y_px(row), scores.grid.x_px(first), scores.grid.x_px(last) + PATCH_SIZE_PX
        ring: Ring = rectangle(tile, left, top, right, top + PATCH_SIZE_PX, _STEP_PX)
        facts = {"class": CLASS_TEXT[NOT_OBSERVED], "reason": reason, "patches": last - first + 1}
        yield _placemark(f"not observed: {reason}", NOT_OBSERVED, facts, lonlat(tile, ring))


def unseen_runs(scores: TileScores) -> Iterator[tuple[int, int, int]]:
    """Row, first and last column of the runs of patches that were not scored for the same reason, row-major."""
    reasons = np.where(scores.decision == NOT_SCORED, scores.status.astype(np.int16), -1)
    for row, found in enumerate(reasons):
        starts = np.flatnonzero(np.diff(found, prepend=-2))
        ends = [*(starts[1:] - 1).tolist(), len(found) - 1]
        for first, last in zip(starts.tolist(), ends, strict=True):
            if found[first] >= 0:
                yield row, first, last


def _span(record: Record) -> str:
    """The time between the radar scene before the event and the latest scene after it, open where there is none."""
    latest = max((record[key] for key in ("time_post", "time_optical") if record[key]), default=None)
    edges = {"begin": record["time_pre"], "end": latest}
    inside = "".join(_element(name, time) for name, time in edges.items() if time)
    return f"<TimeSpan>{inside}</TimeSpan>" if inside else ""


def _folder(name: str, placemarks: Iterator[str] | list[str]) -> list[str]:
    return ["<Folder>", _element("name", name), *placemarks, "</Folder>"]


def _placemark(name: str, style: int | str, data: dict[str, Any], geometry: dict[str, Any], span: str = "") -> str:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    shape = "".join(_polygon(ring) for ring, *_ in polygons)
    values = "".join(
        f'<Data name="{key}">{_element("value", _text(value))}</Data>'
        for key, value in data.items()
        if value is not None
    )
    extended = f"<ExtendedData>{values}</ExtendedData>" if values else ""
    whole = f"<MultiGeometry>{shape}</MultiGeometry>" if len(polygons) > 1 else shape
    url = f"<styleUrl>#class-{style}</styleUrl>"
    return f"<Placemark>{_element('name', name)}{span}{url}{extended}{whole}</Placemark>"


def _polygon(ring: list[list[float]]) -> str:
    places = " ".join(f"{longitude:.7f},{latitude:.7f}" for longitude, latitude in ring)
    line = f"<LinearRing><coordinates>{places}</coordinates></LinearRing>"
    return f"<Polygon><tessellate>1</tessellate><outerBoundaryIs>{line}</outerBoundaryIs></Polygon>"


def _style(name: int | str, colour: Colour, opacity: int) -> str:
    """Fill of an opacity 0..255 and an outline; KML writes colours as alpha, blue, green, red."""
    bgr = "".join(f"{value:02x}" for value in reversed(colour))
    line = f"<LineStyle><color>ff{bgr}</color><width>1.5</width></LineStyle>"
    fill = f"<PolyStyle><color>{opacity:02x}{bgr}</color><fill>{int(opacity > 0)}</fill></PolyStyle>"
    return f'<Style id="class-{name}">{line}{fill}</Style>'


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "; ".join(value) if isinstance(value, list) else str(value)


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(_UNWRITABLE.sub('?', readable(text)))}</{name}>"
