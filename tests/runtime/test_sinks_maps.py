"""GeoJSON and score grid: right place on the ground, unseen told apart from empty, valid formats, same bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from rio_cogeo.cogeo import cog_validate

from lsd.runtime.errors import OutputError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import NO_CONFIGURATION, NO_SLIDE, NOT_SCORED, SCORED, SLIDE, TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import coverage_of, scored_ground_px
from lsd.runtime.sinks.geojson import detections_geojson, write_detections
from lsd.runtime.sinks.score_grid import score_transform, write_score_grid
from lsd.runtime.tiles import Decision, Grid, Tile

CONTEXT = RunContext("reference", "ab" * 32, ("optical", "all"), (0.4, 0.5), False, "0.1.0", (0.176, 0.18))
sizes = st.integers(64, 330)
strides = st.integers(9, 64)


def make_tile(width_px: int, height_px: int, epsg: int = 32633, x: float = 500_000.0, y: float = 5_200_000.0) -> Tile:
    grid = Grid(CRS.from_epsg(epsg), Affine(10, 0, x, 0, -10, y), width_px, height_px)
    return Tile(
        "T33TVM_20220706",
        grid,
        {},
        decisions=(Decision("offset", "none", "baseline N0400"),),
        warnings=("cloud unchecked",),
        acquired={"sentinel-2": "2022-07-06T08:56:11Z"},
    )


def make_scores(tile: Tile, stride_px: int = 64, default: int = NO_SLIDE) -> TileScores:
    scores = TileScores(PatchGrid(tile.grid.width_px, tile.grid.height_px, stride_px))
    for row, column in np.ndindex(scores.decision.shape):
        answer(scores, row, column, default)
    return scores


def answer(scores: TileScores, row: int, column: int, decision: int) -> None:
    scored = decision != NOT_SCORED
    scores.decision[row, column] = decision
    scores.probability[row, column] = {SLIDE: 0.91, NO_SLIDE: 0.02}.get(decision, np.nan)
    scores.configuration[row, column] = 2 if scored else 0
    scores.valid_fraction[row, column] = 0.97 if scored else 0.3
    scores.status[row, column] = SCORED if scored else NO_CONFIGURATION


def rings(geometry: dict) -> list[list[list[float]]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [polygon[0] for polygon in polygons]


def twice_area(ring: list[list[float]]) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))


# --- place on the ground ---------------------------------------------------------------------------------------------


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


@settings(max_examples=40)
@given(sizes, sizes, strides)
def test_the_middle_of_a_score_pixel_is_the_middle_of_its_patch(width_px, height_px, stride_px):
    tile = make_tile(width_px, height_px)
    scores = make_scores(tile, stride_px)
    t = score_transform(tile, scores)
    assert (t.a, t.e) == (10 * stride_px, -10 * stride_px)
    for row, column in np.ndindex(scores.decision.shape):
        if not scores.shifted[row, column]:
            east, north = t.c + t.a * (column + 0.5), t.f + t.e * (row + 0.5)
            assert east == pytest.approx(500_000 + 10 * (scores.grid.x_px(column) + 32), abs=1e-6)
            assert north == pytest.approx(5_200_000 - 10 * (scores.grid.y_px(row) + 32), abs=1e-6)


# --- what the products say -------------------------------------------------------------------------------------------


def test_properties_of_a_detection():
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 1, 3, SLIDE)
    scores.probability[1, 3] = np.float32(1) / np.float32(3)
    (feature,) = detections_geojson(tile, scores, CONTEXT)["features"]
    assert feature["id"] == "T33TVM_20220706:1:3"
    assert feature["properties"] == {
        "probability": 0.333333,
        "decision": "slide",
        "threshold": 0.5,
        "configuration": "all",
        "valid_fraction": 0.97,
        "row": 1,
        "column": 3,
        "shifted": True,
        "patch_area_m2": 409600.0,
        "tile": "T33TVM_20220706",
        "bundle_sha256": "ab" * 32,
        "det_method": "automatic",
        "validated": False,
        "assumed_prevalence": 0.18,
        "acquired_sentinel_2": "2022-07-06T08:56:11Z",
    }


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
    context = RunContext("toy", "0" * 64, ("optical",), (0.5,), True, "0.1.0", (0.2,))
    collection = detections_geojson(tile, make_scores(tile), context)
    assert collection["bundle"]["synthetic"] and "made-up data" in collection["note"]


def test_score_grid_is_a_valid_cog_that_tells_unseen_from_negative(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 0, 1, SLIDE)
    answer(scores, 1, 0, NOT_SCORED)
    path = tmp_path / "scores.tif"
    write_score_grid(path, tile, scores, CONTEXT)
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as raster:
        assert raster.crs == tile.grid.crs and raster.transform == Affine(640, 0, 500_000, 0, -640, 5_200_000)
        names = ("probability", "decision", "valid_fraction", "configuration", "status", "shifted")
        assert raster.descriptions == names and set(raster.dtypes) == {"float32"} and np.isnan(raster.nodata)
        band = dict(zip(names, raster.read(), strict=True))
        tags, meaning = raster.tags(), raster.tags(2)["meaning"]
        assert raster.tags(4)["meaning"] == "0 none; 1 optical; 2 all"
    unseen = scores.decision == NOT_SCORED
    assert (np.isnan(band["probability"]) == unseen).all() and (np.isnan(band["decision"]) == unseen).all()
    assert (band["decision"][~unseen] == scores.decision[~unseen]).all()
    assert (band["probability"][~unseen] == scores.probability[~unseen]).all()
    assert (band["status"] == scores.status).all() and band["status"][1, 0] == NO_CONFIGURATION
    assert (band["configuration"] == scores.configuration).all() and (band["shifted"] == scores.shifted).all()
    assert band["shifted"][:, 3].all() and not band["shifted"][:, :3].any()
    assert meaning == "0 no slide; 1 slide; NaN not scored"
    assert tags["bundle_sha256"] == "ab" * 32 and tags["thresholds"] == "0.4,0.5" and "reach beyond" in tags["geometry"]
    assert tags["note"].startswith("1 of 8 patches (12.5 %) were not scored")


def test_a_large_score_grid_has_overviews_and_stays_valid(tmp_path: Path):
    tile = make_tile(64 + 8 * 699, 64 + 8 * 599)
    scores = TileScores(PatchGrid(tile.grid.width_px, tile.grid.height_px, 8))
    write_score_grid(tmp_path / "s.tif", tile, scores, CONTEXT)
    assert cog_validate(tmp_path / "s.tif", strict=True, quiet=True) == (True, [], [])
    with rasterio.open(tmp_path / "s.tif") as raster:
        assert raster.shape == (600, 700) and raster.overviews(1)


# --- coverage, bytes, disk -------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(sizes, sizes, strides, st.integers(0, 2**32 - 1))
def test_scored_ground_counts_overlaps_once(width_px, height_px, stride_px, seed):
    tile = make_tile(width_px, height_px)
    scores = make_scores(tile, stride_px, NOT_SCORED)
    ground = np.zeros((height_px, width_px), bool)
    for row, column in np.argwhere(np.random.default_rng(seed).random(scores.decision.shape) < 0.4):
        answer(scores, row, column, NO_SLIDE)
        top, left = scores.grid.y_px(row), scores.grid.x_px(column)
        ground[top : top + 64, left : left + 64] = True
    assert scored_ground_px(scores) == ground.sum()
    assert coverage_of(scores, 10.0).scored_ground_km2 == pytest.approx(ground.sum() * 1e-4, abs=1e-6)


def test_every_patch_scored_is_all_of_the_ground():
    tile = make_tile(150, 100)
    coverage = coverage_of(make_scores(tile), 10.0)
    assert coverage.scored_ground_km2 == coverage.ground_km2 == 1.5
    assert "Patches overlap" in coverage.note()
    assert "Patches overlap" not in coverage_of(make_scores(make_tile(128, 128)), 10.0).note()


def test_the_same_scores_give_the_same_bytes(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile, 32, SLIDE)
    for write in (write_detections, write_score_grid):
        write(tmp_path / "a", tile, scores, CONTEXT)
        write(tmp_path / "b", tile, scores, CONTEXT)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no .aux.xml beside them


@pytest.mark.parametrize("write", [write_detections, write_score_grid])
def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path: Path, write):
    tile = make_tile(64, 64)
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; "):
        write(tmp_path / "absent" / "product", tile, make_scores(tile), CONTEXT)
