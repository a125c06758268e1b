"""Products of a merge: detections as GeoJSON and GeoPackage, the merged grid as a COG, totals as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from lsd.runtime.commit import write_bytes
from lsd.runtime.merging.findings import Finding
from lsd.runtime.merging.ground import MM_PER_M, transformed
from lsd.runtime.merging.merge import MERGED_NAME, Merged, scored_km2
from lsd.runtime.merging.scored_tile import SHARED_TAGS, ScoredTile
from lsd.runtime.scores import CLASS_TEXT, NOT_OBSERVED
from lsd.runtime.sinks.coverage import CAVEAT
from lsd.runtime.sinks.feature_tables import Table, write_tables
from lsd.runtime.sinks.qgis_style import detections_style, footprints_style, patches_style
from lsd.runtime.sinks.records import DETECTION_FIELDS, SYNTHETIC_NOTE, Kind, Record

SCHEMA_VERSION = 1
MERGED_PRODUCTS = {
    "detections": "detections.geojson",
    "geopackage": "merged.gpkg",
    "scores": "scores.tif",
    "summary": MERGED_NAME,
}
JOINT_FIELDS: dict[str, Kind] = {"n_tiles_seen": "integer", "n_tiles_slide": "integer", "also": "list"}
TILE_FIELDS: dict[str, Kind] = {
    "id": "text",
    "folder": "text",
    "crs": "text",
    "acquired": "text",
    "ground_km2": "real",
    "scored_ground_km2": "real",
}
_NO_TIME = "1970-01-01T00:00:00Z"
_SIDE_STEPS = 16  # a side of a tile is a little bent in another CRS
_MEANINGS = {
    "probability": "of the most certain finding at the middle of the cell, 0..1; NaN not observed or outside",
    "class": "; ".join(f"{code} {text}" for code, text in CLASS_TEXT.items()) + "; NaN outside of all tiles",
    "n_tiles": "tiles that have the middle of the cell",
    "n_tiles_seen": "of these, with a scored patch there",
    "n_tiles_slide": "of these, with a detection there",
}


def write_merged(folder: Path, merged: Merged) -> None:
    """Write all `MERGED_PRODUCTS` into an existing folder.

    Raises:
        OutputError: a file cannot be written.
    """
    write_merged_detections(folder / MERGED_PRODUCTS["detections"], merged)
    write_merged_geopackage(folder / MERGED_PRODUCTS["geopackage"], merged)
    write_mosaic(folder / MERGED_PRODUCTS["scores"], merged)
    text = json.dumps(summary_json(merged), indent=1, allow_nan=False)
    write_bytes(folder / MERGED_PRODUCTS["summary"], f"{text}\n".encode())


def merged_note(merged: Merged) -> str:
    """What a reader must know first: how much was looked at, what was joined, what a detection is."""
    totals = merged.totals
    notes = [
        f"Tiles: {len(merged.tiles)}, covering {totals['ground_km2']:.2f} km2, each place counted once; "
        f"{totals['scored_ground_km2']:.2f} km2 were looked at."
    ]
    if totals["unseen_ground_km2"]:
        notes.append(f"{totals['unseen_ground_km2']:.2f} km2 were not: there may be landslides there.")
    if merged.failed or merged.not_scored:
        missing = ", ".join(sorted({*merged.failed, *merged.not_scored}))
        notes.append(f"Tiles that failed are in none of these figures: {missing}.")
    if totals["disputed"]:
        notes.append(f"Detections where another tile looked and has none: {totals['disputed']}; both are told.")
    notes.append(CAVEAT)
    if any(tile.tags.get("synthetic") == "true" for tile in merged.tiles):
        notes.append(SYNTHETIC_NOTE)
    return " ".join(notes)


def summary_json(merged: Merged) -> dict[str, Any]:
    """The summary of a merge, ready for `json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "note": merged_note(merged),
        "totals": merged.totals,
        "meaning": {
            "detections_km2": "ground inside the patches called slide, looked at: not the area of landslides",
            "look": "places without a detection that are worth a look",
            "joined": "detections that are the same as a more certain one of another tile",
            "disputed": "detections at whose middle another tile looked and has none",
        },
        "crs": merged.crs.to_string(),
        "cell_m": merged.mosaic.cell_m,
        "tiles": _tiles(merged),
        "failed": merged.failed,
        "not_scored": merged.not_scored,
        **_shared(merged),
        "products": MERGED_PRODUCTS,
    }


def write_merged_detections(path: Path, merged: Merged) -> None:
    """Write the detections as GeoJSON (RFC 7946), one feature a line, by tile, row and column.

    A feature is that of its tile's GeoJSON with n_tiles_seen, n_tiles_slide (tiles with a scored patch, and with a
    detection, over its middle) and also (ids of detections of other tiles that are the same).
    """
    head = {
        "type": "FeatureCollection",
        "note": merged_note(merged),
        "totals": merged.totals,
        "warnings": [f"{tile.id}: {warning}" for tile in merged.tiles for warning in tile.head.get("warnings", [])],
        "tiles": _tiles(merged),
        "failed": merged.failed,
        "not_scored": merged.not_scored,
        **_shared(merged),
    }
    features = ",\n".join(
        json.dumps({**_feature(merged, one), "properties": _record(merged, one)}, allow_nan=False)
        for one in _detections(merged)
    )
    text = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
    write_bytes(path, f'{text},\n "features": [\n{features}\n ]\n}}\n'.encode())


def write_merged_geopackage(path: Path, merged: Merged) -> None:
    """Write the layers `detections`, `not_observed` (ground of the tiles that none looked at), `tiles`, table `run`."""
    found = list(_detections(merged))
    rings = np.array([np.concatenate([one.corners, one.corners[:1]]) for one in found]).reshape(-1, 5, 2)
    (unseen,) = merged.mosaic.unseen_rings()
    tiles = _tiles(merged)
    fields: dict[str, Kind] = {**DETECTION_FIELDS, **JOINT_FIELDS}
    tables = [
        Table(
            "detections",
            "Patches decided slide: ground looked at, not the outline of a landslide; nobody has checked them",
            fields,
            [{key: _record(merged, one).get(key) for key in fields} for one in found],
            [rings],
            detections_style(),
        ),
        Table(
            "not_observed",
            f"Ground of the tiles that none looked at, in cells of {merged.mosaic.cell_m:g} m",
            {"class": "text"},
            [{"class": CLASS_TEXT[NOT_OBSERVED]}] * len(unseen),
            [unseen],
            patches_style(),
        ),
        Table(
            "tiles",
            "Outlines of the tiles",
            TILE_FIELDS,
            [{key: tile[key] for key in TILE_FIELDS} for tile in _with_times(tiles)],
            [np.array([_outline(merged, tile) for tile in merged.tiles])],
            footprints_style(),
        ),
        Table("run", "Read first", {"key": "text", "value": "text"}, _facts(merged)),
    ]
    times = [time for tile in tiles for time in tile["acquired"].values()]
    write_tables(path, tables, merged.crs, max(times, default=_NO_TIME))


def write_mosaic(path: Path, merged: Merged) -> None:
    """Write the merged grid as a COG: float32 bands probability, class, n_tiles, n_tiles_seen, n_tiles_slide."""
    mosaic, classes = merged.mosaic, merged.mosaic.classes()
    bands: dict[str, NDArray[Any]] = {
        "probability": np.where(classes == NOT_OBSERVED, np.nan, mosaic.certainty - 2.0 * classes),
        "class": np.where(mosaic.n_tiles == 0, np.nan, classes),
        "n_tiles": mosaic.n_tiles,
        "n_tiles_seen": mosaic.n_tiles_seen,
        "n_tiles_slide": mosaic.n_tiles_slide,
    }
    profile = {
        "driver": "COG",
        "dtype": "float32",
        "count": len(bands),
        "height": classes.shape[0],
        "width": classes.shape[1],
        "crs": mosaic.crs,
        "transform": mosaic.transform,
        "nodata": np.nan,
        "compress": "DEFLATE",
        "predictor": "YES",
        "overview_resampling": "NEAREST",
        "num_threads": "1",
    }
    with MemoryFile(ext=".tif") as memory:
        with memory.open(**profile) as raster:
            shared = {tag: merged.tiles[0].tags[tag] for tag in SHARED_TAGS}
            tiles = ",".join(tile.id for tile in merged.tiles)
            raster.update_tags(note=merged_note(merged), tiles=tiles, **shared)
            for index, (name, values) in enumerate(bands.items(), start=1):
                raster.write(values.astype(np.float32), index)
                raster.set_band_description(index, name)
                raster.update_tags(index, meaning=_MEANINGS[name])
        write_bytes(path, bytes(memory.getbuffer()))


def _detections(merged: Merged) -> Iterator[Finding]:
    return (finding for finding in merged.findings if finding.is_detection)


def _feature(merged: Merged, finding: Finding) -> Record:
    return dict(merged.tiles[finding.tile].features[finding.row, finding.column])


def _record(merged: Merged, finding: Finding) -> Record:
    joint = {"n_tiles_seen": finding.n_tiles_seen, "n_tiles_slide": finding.n_tiles_slide, "also": list(finding.also)}
    return {**_feature(merged, finding)["properties"], **joint}


def _tiles(merged: Merged) -> list[Record]:
    return [
        {
            "id": tile.id,
            "folder": tile.folder,
            "crs": tile.crs_name,
            "acquired": tile.head.get("tile", {}).get("acquired", {}),
            "ground_km2": round(tile.grid.width_px * tile.grid.height_px * (tile.grid.gsd_m / 1000) ** 2, 6),
            "scored_ground_km2": scored_km2(tile),
        }
        for tile in merged.tiles
    ]


def _with_times(tiles: list[Record]) -> Iterator[Record]:
    for tile in tiles:
        times = "; ".join(f"{sensor} {time}" for sensor, time in sorted(tile["acquired"].items()))
        yield {**tile, "acquired": times or None}


def _shared(merged: Merged) -> Record:
    """What all tiles say alike: bundle, software, event time."""
    heads = [tile.head for tile in merged.tiles]
    return {
        "event_time": merged.tiles[0].tags["event_time"] or None,
        "bundle": heads[0].get("bundle", {}),
        "software": heads[0].get("software", {}),
    }


def _facts(merged: Merged) -> Iterator[Record]:
    facts: dict[str, Any] = {
        "note": merged_note(merged),
        **{f"totals.{key}": value for key, value in merged.totals.items()},
        **{f"failed.{name}": error for name, error in {**merged.failed, **merged.not_scored}.items()},
        "event_time": merged.tiles[0].tags["event_time"] or "not stated",
        "bundle.sha256": merged.tiles[0].tags["bundle_sha256"],
        "assumed_prevalence": merged.tiles[0].tags["assumed_prevalence"],
    }
    for key, value in facts.items():
        yield {"key": key, "value": str(value)}


def _outline(merged: Merged, tile: ScoredTile) -> NDArray[np.float64]:
    """Closed ring of a tile in the merged CRS, float64 (65, 2)."""
    left, bottom, right, top = tile.outline()[0] / MM_PER_M
    corners = np.array([[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]])
    steps = np.linspace(0, 1, _SIDE_STEPS, endpoint=False)[None, :, None]
    sides = (corners[:-1, None] * (1 - steps) + corners[1:, None] * steps).reshape(-1, 2)
    return transformed(np.concatenate([sides, sides[:1]]), tile.grid.crs, merged.crs)
