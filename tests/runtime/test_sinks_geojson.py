"""GeoJSON: polygons on the right ground, what a detection says, unseen told apart from empty, RFC 7946, same bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from contexts import context
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from scored_tiles import SCENES, answer, make_scores, make_tile

from lsd.runtime.errors import OutputError
from lsd.runtime.scores import LOOK, NOT_SCORED, SLIDE
from lsd.runtime.sinks.geojson import detections_geojson, write_detections

CONTEXT = context()
sizes = st.integers(64, 330)
strides = st.integers(9, 64)


def rings(geometry: dict) -> list[list[list[float]]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [polygon[0] for polygon in polygons]


def twice_area(ring: list[list[float]]) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))


@settings(max_examples=40)
@given(sizes, sizes, strides, st.sampled_from([32633, 32733, 3035, 32718]), st.data())
def test_a_polygon_is_the_square_that_was_scored(width_px, height_px, stride_px, epsg, data):
    x, y = (4_300_000.0, 2_700_000.0) if epsg == 3035 else (500_000.0, 5_200_000.0)
    tile = make_tile(width_px, height_px, epsg, x, y)
    scores = make_scores(tile, stride_px)
    row = data.draw(st.integers(0, scores.grid.rows - 1))
    column = data.draw(st.integers(0, scores.grid.columns - 1))
    answer(scores, row, column, SLIDE)
    (feature,) = detections_geojson(tile, scores, CONTEXT)["features"]
    (ring,) = rings(feature["geometry"])
    assert ring[0] == ring[-1] and len(ring) == 5 and twice_area(ring) > 0
    east, north = transform("EPSG:4326", tile.grid.crs, *zip(*ring, strict=True))
    left, top = x + 10 * min(column * stride_px, width_px - 64), y - 10 * min(row * stride_px, height_px - 64)
    found = {(round(e, 1), round(n, 1)) for e, n in zip(east, north, strict=True)}
    assert found == {(left, top), (left + 640, top), (left, top - 640), (left + 640, top - 640)}
    assert feature["properties"]["shifted"] == (column * stride_px > width_px - 64 or row * stride_px > height_px - 64)


def test_a_patch_across_the_antimeridian_is_cut():
    x, y = transform("EPSG:4326", "EPSG:32660", [179.9995], [-17.5])
    tile = make_tile(64, 64, 32660, x[0] - 320, y[0] + 320)
    scores = make_scores(tile, default=SLIDE)
    geometry = detections_geojson(tile, scores, CONTEXT)["features"][0]["geometry"]
    assert geometry["type"] == "MultiPolygon"
    west, east = sorted(rings(geometry), key=lambda ring: -ring[0][0])
    assert all(179 < longitude <= 180 for longitude, _ in west) and all(-180 <= lon < -179 for lon, _ in east)
    assert all(ring[0] == ring[-1] and twice_area(ring) > 0 for ring in (west, east))
    assert all(here != after for ring in (west, east) for here, after in pairwise(ring))


def test_a_polygon_covers_the_same_ground_as_the_patch_in_a_reprojected_window():
    tile = make_tile(300, 200)
    scores = make_scores(tile)
    answer(scores, 1, 4, SLIDE)  # column shifted inward to 236
    geometry = detections_geojson(tile, scores, CONTEXT)["features"][0]["geometry"]
    pixels = np.zeros((1, 200, 300), np.uint8)
    pixels[0, 64:128, 236:300] = 1
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 200, "width": 300}
    with MemoryFile() as memory:
        with memory.open(**profile, crs=tile.grid.crs, transform=tile.grid.transform) as raster:
            raster.write(pixels)
        with memory.open() as raster, WarpedVRT(raster, crs="EPSG:4326") as lonlat:
            patch = lonlat.read(1).astype(bool)
            inside = geometry_mask([geometry], patch.shape, lonlat.transform, invert=True)
    assert patch.sum() > 3000
    assert (patch != inside).sum() <= 0.02 * patch.sum()  # the warp's approximation, at the very edge
    away = np.pad(patch, 1)
    edge = away[:-2, 1:-1] ^ away[2:, 1:-1] | away[1:-1, :-2] ^ away[1:-1, 2:]
    assert not (patch != inside)[~edge].any()


def test_properties_of_a_detection():
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 1, 3, SLIDE)
    scores.probability[1, 3] = np.float32(1) / np.float32(3)
    (feature,) = detections_geojson(tile, scores, CONTEXT)["features"]
    assert feature["id"] == "T33TVM_20220706:1:3"
    assert feature["properties"] == {
        "id": "T33TVM_20220706:1:3",
        "tile": "T33TVM_20220706",
        "row": 1,
        "column": 3,
        "probability": 0.333333,
        "class": "possible",
        "decision": "slide",
        "threshold": 0.5,
        "configuration": "all",
        "configuration_f1": 0.863,
        "stage": "whole ensemble",
        "valid_fraction": 0.97,
        "shifted": True,
        "patch_area_m2": 409600.0,
        "time_pre": "2022-06-26T05:08:00Z",
        "time_post": "2022-07-09T17:08:00Z",
        "time_optical": "2022-07-06T08:56:11Z",
        "event_time": "2022-07-01T00:00:00Z",
        "track": "descending 107; ascending 173",
        "source_ids": ["S2_post", "S1_desc_post", "S1_desc_pre", "S1_asc_post", "S1_asc_pre"],
        "det_method": "automatic",
        "validated": False,
        "cause_note": "not proof that the event caused it",
        "assumed_prevalence": 0.18,
        "prevalence_stated_by_user": False,
        "bundle_name": "reference",
        "bundle_sha256": "ab" * 32,
        "synthetic": False,
    }


def test_the_head_names_sources_and_event_time():
    tile = make_tile(64, 64)
    collection = detections_geojson(tile, make_scores(tile), CONTEXT)
    assert collection["event_time"] == "2022-07-01T00:00:00Z"
    assert [source["id"] for source in collection["sources"]] == [scene.id for scene in SCENES]
    assert collection["sources"][1]["track"] == "descending 107" and collection["sources"][0]["track"] is None


def test_a_patch_worth_a_look_is_counted_but_no_detection():
    tile = make_tile(64, 64)
    collection = detections_geojson(tile, make_scores(tile, default=LOOK), CONTEXT)
    assert collection["features"] == [] and collection["counts"]["look"] == 1


def test_no_detections_is_not_the_same_as_nothing_seen():
    tile = make_tile(128, 128)
    seen, unseen = make_scores(tile), make_scores(tile, default=NOT_SCORED)
    seen_map, unseen_map = (detections_geojson(tile, scores, CONTEXT) for scores in (seen, unseen))
    assert seen_map["features"] == unseen_map["features"] == []
    assert seen_map["coverage"]["share_scored"] == 1 and unseen_map["coverage"]["share_scored"] == 0
    assert seen_map["note"].startswith("All 4 patches were scored.")
    assert unseen_map["note"].startswith("4 of 4 patches (100.0 %) were not scored (4 for no trained configuration")
    assert "there may be landslides there" in unseen_map["note"]
    assert unseen_map["coverage"]["scored_ground_km2"] == 0
    for collection in (seen_map, unseen_map):
        assert "neither when the slope failed nor that an event caused it" in collection["note"]
        assert collection["warnings"] == ["cloud unchecked"]
        assert collection["decisions"] == [{"subject": "offset", "choice": "none", "reason": "baseline N0400"}]


def test_the_collection_keeps_to_rfc_7946(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile, default=SLIDE)
    write_detections(tmp_path / "d.geojson", tile, scores, CONTEXT)
    text = (tmp_path / "d.geojson").read_text(encoding="ascii")
    collection = json.loads(text)
    assert collection == json.loads(json.dumps(detections_geojson(tile, scores, CONTEXT)))
    assert collection["type"] == "FeatureCollection" and collection["tile"]["crs"] == "EPSG:32633"
    assert not {"crs", "geometry", "properties", "coordinates", "geometries"} & set(collection)  # sections 4 and 7.1
    assert sum(line.startswith('{"type": "Feature"') for line in text.splitlines()) == 8
    corners = [corner for feature in collection["features"] for corner in rings(feature["geometry"])[0]]
    decimals = max(len(str(degrees).partition(".")[2]) for corner in corners for degrees in corner)
    assert decimals <= 7


def test_a_synthetic_bundle_says_so():
    tile = make_tile(64, 64)
    collection = detections_geojson(tile, make_scores(tile), context(synthetic=True))
    assert collection["bundle"]["synthetic"] and "made-up data" in collection["note"]


def test_the_same_scores_give_the_same_bytes(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile, 32, SLIDE)
    for name in "ab":
        write_detections(tmp_path / name, tile, scores, CONTEXT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path: Path):
    tile = make_tile(64, 64)
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; "):
        write_detections(tmp_path / "absent" / "product", tile, make_scores(tile), CONTEXT)
