"""STAC Item and Collection: valid, at the right place and time, links that lead to files, same bytes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
from affine import Affine
from contexts import context
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from scored_tiles import SCENES, answer, make_scores, make_tile
from stac_schemas import validate

from lsd.runtime.commit import folder_name
from lsd.runtime.errors import OutputError
from lsd.runtime.scores import LOOK, NOT_SCORED, SLIDE
from lsd.runtime.sinks.geojson import write_detections
from lsd.runtime.sinks.score_grid import write_score_grid
from lsd.runtime.sinks.stac import (
    COLLECTION_ID,
    COLLECTION_NAME,
    ITEM_NAME,
    PROCESSING,
    PROJECTION,
    UNKNOWN_TIME,
    bbox_of,
    stac_collection,
    stac_item,
    write_collection,
    write_item,
)
from lsd.runtime.tiles import Grid

PRODUCTS = {
    "detections": "detections.geojson",
    "geopackage": "detections.gpkg",
    "scores": "scores.tif",
    "quicklook": "quicklook.png",
    "item": ITEM_NAME,
    "kml": "detections.kml",
    "geoparquet": "detections.parquet",
}
EXTENSIONS = [PROCESSING, PROJECTION]


def item_of(tile, products=PRODUCTS, **changes):
    return stac_item(tile, make_scores(tile), context(**changes), products)


def write_folder(out: Path, tile) -> Path:
    """The products of a tile that need no more than its scores, and its item."""
    folder = out / folder_name(tile.id)
    folder.mkdir(parents=True)
    scores = make_scores(tile)
    answer(scores, 0, 0, SLIDE)
    write_detections(folder / PRODUCTS["detections"], tile, scores, context())
    write_score_grid(folder / PRODUCTS["scores"], tile, scores, context())
    products = {kind: PRODUCTS[kind] for kind in ("detections", "scores", "item")}
    write_item(folder / ITEM_NAME, tile, scores, context(), products)
    return folder


# --- the standard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epsg": 32701, "x": 200_000.0, "y": 8_000_000.0},
        {"scenes": (), "acquired": {}, "event_time": None},
        {"scenes": SCENES[:1], "warnings": (), "decisions": ()},
    ],
)
def test_items_and_their_collection_are_valid(changes, shared_schemas):
    item = item_of(make_tile(200, 130, **changes))
    assert set(EXTENSIONS) < set(validate(item, shared_schemas))
    assert set(EXTENSIONS) < set(validate(stac_collection([item]), shared_schemas))


def test_the_validation_sees_faults(shared_schemas):
    item = item_of(make_tile(200, 130))
    errors = pytest.importorskip("pystac.errors", reason="pystac is not installed (extra dev)")
    for fault in (
        {"bbox": None},
        {"properties": {**item["properties"], "processing:level": 4}},
        {"properties": {**item["properties"], "proj:shape": [1]}},
        {"properties": {**item["properties"], "datetime": None, "start_datetime": "2022-07-06"}},
    ):
        with pytest.raises(errors.STACValidationError):
            validate({**item, **fault}, shared_schemas)
    with pytest.raises(LookupError):
        validate({**item, "stac_extensions": ["https://example.org/v1/schema.json"]}, shared_schemas)


def test_same_bytes_and_no_clock(tmp_path):
    first, second = (write_folder(tmp_path / name, make_tile(200, 130)) for name in ("a", "b"))
    assert (first / ITEM_NAME).read_bytes() == (second / ITEM_NAME).read_bytes()
    for out in (tmp_path / "a", tmp_path / "b"):
        write_collection(out / COLLECTION_NAME)
    assert (tmp_path / "a" / COLLECTION_NAME).read_bytes() == (tmp_path / "b" / COLLECTION_NAME).read_bytes()
    text = (first / ITEM_NAME).read_text()
    assert str(tmp_path) not in text and "processing:datetime" not in text and '"created"' not in text


# --- place -----------------------------------------------------------------------------------------------------------


def test_a_tile_lies_where_its_scores_lie(tmp_path):
    tile = make_tile(200, 130)
    folder = write_folder(tmp_path, tile)
    item = json.loads((folder / ITEM_NAME).read_text())
    scores = item["assets"]["scores"]
    with rasterio.open(folder / "scores.tif") as raster:
        assert scores["proj:shape"] == list(raster.shape)
        assert scores["proj:transform"] == list(raster.transform)[:6]
        assert item["properties"]["proj:code"] == raster.crs.to_string() == "EPSG:32633"
        assert tuple(band["name"] for band in scores["bands"]) == raster.descriptions
        assert [band["description"] for band in scores["bands"]] == [raster.tags(i)["meaning"] for i in raster.indexes]
        assert scores["data_type"] == raster.dtypes[0] and scores["gsd"] == raster.res[0]
    west, south, east, north = item["bbox"]
    square = json.loads((folder / "detections.geojson").read_text())["features"][0]["geometry"]["coordinates"][0]
    assert all(west <= x <= east and south <= y <= north for x, y in square)
    assert item["assets"]["detections"]["proj:code"] == "EPSG:4326"
    # 2,000 x 1,300 m whose upper left corner is on the zone's meridian, 15 E
    assert west == pytest.approx(15, abs=1e-6) and east - west == pytest.approx(0.0264, abs=1e-3)
    assert north - south == pytest.approx(0.0117, abs=1e-3)


def test_the_outline_of_a_large_tile_follows_its_edges():
    item = item_of(make_tile(10_980, 10_980, x=300_000.0, y=6_700_000.0))
    assert len(item["geometry"]["coordinates"][0]) > 40
    corners = item_of(make_tile(64, 64, x=300_000.0, y=6_700_000.0))
    assert len(corners["geometry"]["coordinates"][0]) == 5


def test_across_the_antimeridian_the_box_runs_from_west_to_east(shared_schemas):
    # zone 60 S: 180 E is 3 degrees east of its meridian, 821 km of easting at 15 S
    fiji = make_tile(2_000, 200, epsg=32760, x=812_000.0, y=8_340_000.0)
    item = item_of(fiji)
    validate(item, shared_schemas)
    assert item["geometry"]["type"] == "MultiPolygon" and len(item["geometry"]["coordinates"]) == 2
    west, _, east, _ = item["bbox"]
    assert 179.8 < west < 180 and -180 < east < -179.8
    near = item_of(make_tile(200, 200, epsg=32760, x=700_000.0, y=8_340_000.0))
    beyond = item_of(make_tile(200, 200, epsg=32701, x=200_000.0, y=8_340_000.0))
    (box,) = stac_collection([near, beyond])["extent"]["spatial"]["bbox"]
    assert box[0] == near["bbox"][0] > 0 > box[2] == beyond["bbox"][2]


def test_a_crs_without_code_is_told_in_words():
    proj = "+proj=laea +lat_0=45 +lon_0=11 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
    tile = replace(make_tile(64, 64), grid=Grid(CRS.from_string(proj), Affine(10, 0, 0, 0, -10, 0), 64, 64))
    properties = item_of(tile)["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS[") and CRS.from_wkt(properties["proj:wkt2"]) == tile.grid.crs


arcs = st.tuples(st.integers(-180, 179), st.integers(1, 60))


@given(st.lists(arcs, min_size=1, max_size=6))
def test_the_union_of_boxes_covers_each_and_nothing_narrower_would(found):
    items = [
        {
            "id": "x",
            "bbox": [west, 1, (west + width + 180) % 360 - 180 if west + width > 180 else west + width, 2],
            "assets": {},
            "properties": item_of(make_tile(64, 64))["properties"],
        }
        for west, width in found
    ]
    (west, south, east, north), *_ = stac_collection(items)["extent"]["spatial"]["bbox"]
    assert (south, north) == (1, 2) and -180 <= west <= 180 and -180 <= east <= 180
    width = (east - west) % 360 or 360 * (east != west)
    assert all((w - west) % 360 + extent <= width or width == 360 for w, extent in found)
    covered = {(w + step) % 360 for w, extent in found for step in range(extent)}
    gaps = "".join("x" if degree in covered else " " for degree in range(360)) * 2
    widest = max((len(gap) for gap in gaps.split("x")), default=0)
    assert width == 360 - widest


# --- time ------------------------------------------------------------------------------------------------------------


def times(**changes):
    properties = item_of(make_tile(64, 64, **changes))["properties"]
    keys = ("datetime", "start_datetime", "end_datetime", "lsd:time_unknown")
    return {key: properties[key] for key in keys if key in properties}


def test_the_time_is_when_the_ground_was_seen_after_the_event():
    assert times(scenes=SCENES[:1]) == {"datetime": "2022-07-06T08:56:11Z"}
    interval = {"datetime": None, "start_datetime": "2022-07-06T08:56:11Z", "end_datetime": "2022-07-09T17:08:00Z"}
    assert times() == interval  # the scenes before the event, of June, do not count
    assert times(scenes=()) == {"datetime": "2022-07-06T08:56:11Z"}
    assert times(scenes=(replace(SCENES[0], acquired=None),)) == {"datetime": "2022-07-06T08:56:11Z"}


def test_an_unknown_time_is_said_to_be_unknown():
    assert times(scenes=(), acquired={}) == {"datetime": "2022-07-01T00:00:00Z", "lsd:time_unknown": True}
    assert times(scenes=(), acquired={}, event_time=None) == {"datetime": UNKNOWN_TIME, "lsd:time_unknown": True}
    unknown = item_of(make_tile(64, 64, scenes=(), acquired={}, event_time=None))
    known = item_of(make_tile(64, 64))
    interval = ["2022-07-06T08:56:11Z", "2022-07-09T17:08:00Z"]
    assert stac_collection([unknown, known])["extent"]["temporal"]["interval"] == [interval]
    assert stac_collection([unknown])["extent"]["temporal"]["interval"] == [[None, None]]


# --- what it says ----------------------------------------------------------------------------------------------------


def test_what_a_reader_must_know_stands_in_the_properties():
    tile = make_tile(200, 130, event_time=None)
    scores = make_scores(tile)
    answer(scores, 0, 0, SLIDE)
    answer(scores, 0, 1, LOOK)
    answer(scores, 0, 2, NOT_SCORED)
    said = context(prevalence=0.01, event_time="2022-07-02T00:00:00Z", synthetic=True)
    properties = stac_item(tile, scores, said, PRODUCTS)["properties"]
    assert properties["lsd:counts"]["slide"] == 1 and properties["lsd:counts"]["look"] == 1
    assert properties["lsd:coverage"]["no_configuration"] == 1 and 0 < properties["lsd:coverage"]["share_scored"] < 1
    assert properties["lsd:configurations"] == {"all": scores.decision.size - 1}
    assert properties["lsd:event_time"] == "2022-07-02T00:00:00Z"
    assert properties["lsd:assumed_prevalence"] == {"optical": 0.01, "all": 0.01}
    assert properties["lsd:prevalence_stated_by_user"] is True and properties["lsd:validated"] is False
    assert properties["lsd:bundle_sha256"] == "ab" * 32 and properties["lsd:synthetic"] is True
    assert "nor that an event caused it" in properties["lsd:caveat"]
    assert "made-up data" in properties["description"] and "not scored" in properties["description"]
    assert [source["id"] for source in properties["lsd:sources"]] == [scene.id for scene in SCENES]
    assert properties["lsd:sources"][1]["track"] == "descending 107"
    assert properties["lsd:warnings"] == ["cloud unchecked"]
    assert properties["lsd:decisions"][0] == {"subject": "offset", "choice": "none", "reason": "baseline N0400"}
    assert properties["processing:software"] == {"lsd-edge": "0.1.0"}
    assert all(scene.id in properties["processing:lineage"] for scene in SCENES)
    assert "lsd:event_time" not in item_of(tile)["properties"]


def test_assets_are_the_products_and_nothing_else():
    assets = item_of(make_tile(64, 64))["assets"]
    assert {kind: asset["href"] for kind, asset in assets.items()} == {
        kind: f"./{name}" for kind, name in PRODUCTS.items() if kind != "item"
    }
    assert assets["quicklook"]["roles"] == ["overview"] and assets["geopackage"]["roles"] == ["data"]
    assert set(item_of(make_tile(64, 64), {"scores": "scores.tif"})["assets"]) == {"scores"}


def test_a_name_that_is_no_unicode_makes_readable_json(tmp_path):
    tile = replace(make_tile(64, 64), id="Hörnum\udcff", warnings=("Hörnum\udcff is odd",))
    write_item(tmp_path / ITEM_NAME, tile, make_scores(tile), context(), PRODUCTS)
    item = json.loads((tmp_path / ITEM_NAME).read_bytes().decode("utf-8"))
    assert item["id"] == folder_name(tile.id) and item["properties"]["lsd:warnings"] == ["Hörnum? is odd"]


# --- the output folder -----------------------------------------------------------------------------------------------


def test_links_lead_to_files_and_the_collection_holds_earlier_tiles(tmp_path, shared_schemas):
    tiles = [make_tile(200, 130), replace(make_tile(64, 64), id="a/tile of another name")]
    folders = [write_folder(tmp_path, tile) for tile in tiles]
    assert write_collection(tmp_path / COLLECTION_NAME) == 2
    collection = json.loads((tmp_path / COLLECTION_NAME).read_text())
    validate(collection, shared_schemas)
    items = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert items == [f"./{name}/item.json" for name in sorted(folder.name for folder in folders)]
    for href in items:
        path = (tmp_path / href).resolve()
        item = json.loads(path.read_text())
        assert item["id"] == path.parent.name and item["collection"] == collection["id"]
        for link in (*item["links"], *item["assets"].values()):
            assert (path.parent / link["href"]).is_file()
    assert collection["summaries"]["lsd:bundle_sha256"] == ["ab" * 32]
    assert set(collection["item_assets"]) == {"detections", "scores"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    shutil.rmtree(folders[1])
    assert write_collection(tmp_path / COLLECTION_NAME) == 1


def test_pystac_walks_the_collection(tmp_path):
    pystac = pytest.importorskip("pystac", reason="pystac is not installed (extra dev)")
    tile = make_tile(200, 130)
    write_folder(tmp_path, tile)
    write_collection(tmp_path / COLLECTION_NAME)
    collection = pystac.Collection.from_file(str(tmp_path / COLLECTION_NAME))
    (item,) = collection.get_items()
    assert item.id == tile.id and item.get_collection().id == COLLECTION_ID
    assert Path(item.assets["scores"].get_absolute_href()) == tmp_path / tile.id / "scores.tif"


def test_what_is_not_ours_is_left_out_and_left_alone(tmp_path):
    write_folder(tmp_path, make_tile(200, 130))
    for name, text in {"theirs": '{"type": "Feature", "id": "theirs"}', "list": "[1]", "broken": "{"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / ITEM_NAME).write_text(text)
    write_folder(tmp_path / ".hidden", make_tile(64, 64))
    assert write_collection(tmp_path / COLLECTION_NAME) == 1
    for text in ('{"type": "Collection", "id": "theirs"}', "not JSON"):
        (tmp_path / COLLECTION_NAME).write_text(text)
        with pytest.raises(OutputError, match=r"collection\.json is no collection of lsd-run, so it is not replaced"):
            write_collection(tmp_path / COLLECTION_NAME)
        assert (tmp_path / COLLECTION_NAME).read_text() == text


def test_without_tiles_there_is_no_collection(tmp_path):
    assert write_collection(tmp_path / COLLECTION_NAME) == 0
    assert list(tmp_path.iterdir()) == []


def test_bbox_of_a_polygon():
    ring = [[1.0, 2.0], [3.0, 2.5], [2.0, 4.0], [1.0, 2.0]]
    assert bbox_of({"type": "Polygon", "coordinates": [ring]}) == [1.0, 2.0, 3.0, 4.0]
