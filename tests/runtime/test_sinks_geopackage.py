"""GeoPackage: opened by pyogrio, squares in place, every patch with its reason, styles that QGIS finds, same bytes."""

from __future__ import annotations

import sqlite3
import struct
import xml.etree.ElementTree as ET
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
from contexts import context
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from scored_tiles import SCENES, answer, make_scores, make_tile

from lsd.runtime.errors import OutputError
from lsd.runtime.scores import (
    CLOUD,
    LOOK,
    LOOKS_LIKE_CLOUD,
    NO_CONFIGURATION,
    NO_SLIDE,
    NOT_SCORED,
    OUT_OF_RANGE,
    SLIDE,
    TOO_FEW_VALID_PIXELS,
    TileScores,
)
from lsd.runtime.sinks.geopackage import write_geopackage
from lsd.runtime.tiles import Tile

CONTEXT = context()


def every_kind(tile: Tile) -> TileScores:
    """All decisions and reasons, in the first 9 columns of the first row."""
    scores = make_scores(tile)
    answer(scores, 0, 0, SLIDE)
    answer(scores, 0, 1, SLIDE)
    scores.probability[0, 1] = 0.45
    scores.configuration[0, 1] = 1
    answer(scores, 0, 2, LOOK)
    for column, status in enumerate(
        (TOO_FEW_VALID_PIXELS, NO_CONFIGURATION, LOOKS_LIKE_CLOUD, CLOUD, OUT_OF_RANGE), start=4
    ):
        answer(scores, 0, column, NOT_SCORED, status)
    return scores


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tile = make_tile(600, 128)
    write_geopackage(tmp_path / "tile.gpkg", tile, every_kind(tile), CONTEXT)
    return tmp_path / "tile.gpkg"


def layer(path: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a layer as pyogrio reads them, polygons as (corner, 2) under `ring`."""
    meta, _, blobs, columns = pyogrio.raw.read(path, layer=name)
    values = dict(zip(meta["fields"], columns, strict=True))
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    if blobs is not None:
        rows = [{**row, "ring": ring(blob)} for row, blob in zip(rows, blobs, strict=True)]
    return rows


def ring(blob: bytes) -> np.ndarray:
    order, kind, rings, corners = struct.unpack("<BIII", blob[:13])
    assert (order, kind, rings) == (1, 3, 1)
    return np.frombuffer(blob[13:], "<f8").reshape(corners, 2)


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def test_pyogrio_finds_all_layers_in_the_crs_of_the_tile(written: Path):
    found = dict(pyogrio.list_layers(written))
    features = dict.fromkeys(("detections", "patches", "footprints"), "Polygon")
    assert found == {**features, **dict.fromkeys(("sources", "decisions", "run", "layer_styles"))}
    for name in features:
        info = pyogrio.read_info(written, layer=name)
        assert info["crs"] == "EPSG:32633" and info["driver"] == "GPKG"
    assert pyogrio.read_info(written, layer="patches")["total_bounds"] == (500_000, 5_198_720, 506_000, 5_200_000)


@settings(max_examples=20, deadline=None)
@given(st.integers(64, 330), st.integers(64, 330), st.integers(9, 64))
def test_patches_are_the_squares_that_were_scored(tmp_path_factory, width_px, height_px, stride_px):
    tile = make_tile(width_px, height_px)
    scores = make_scores(tile, stride_px, SLIDE)
    path = tmp_path_factory.mktemp("squares") / "tile.gpkg"
    write_geopackage(path, tile, scores, CONTEXT)
    for name in ("patches", "detections"):
        rows = layer(path, name)
        assert [(row["row"], row["column"]) for row in rows] == list(np.ndindex(scores.decision.shape))
        for row in rows:
            left = 500_000 + 10 * min(row["column"] * stride_px, width_px - 64)
            top = 5_200_000 - 10 * min(row["row"] * stride_px, height_px - 64)
            corners = [(left, top), (left, top - 640), (left + 640, top - 640), (left + 640, top), (left, top)]
            assert np.abs(row["ring"] - corners).max() < 1e-6


def test_the_header_of_a_polygon_holds_its_box_and_crs(written: Path):
    ((blob,),) = query(written, 'SELECT geom FROM patches WHERE "row" = 1 AND "column" = 9')
    magic, version, flags, srs_id, *box = struct.unpack("<2sBBi4d", blob[:40])
    assert (magic, version, flags, srs_id) == (b"GP", 0, 3, 32633)
    assert box == [505_360, 506_000, 5_198_720, 5_199_360]  # shifted inward


def test_every_patch_has_its_class_and_reason(written: Path):
    rows = layer(written, "patches")
    assert len(rows) == 20
    assert [(row["class"], row["reason"]) for row in rows[:10]] == [
        ("likely", "scored"),
        ("possible", "scored"),
        ("look", "scored"),
        ("nothing seen", "scored"),
        ("not observed", "nodata"),
        ("not observed", "no configuration"),
        ("not observed", "looks like cloud"),
        ("not observed", "cloud"),
        ("not observed", "out of range"),
        ("nothing seen", "scored"),
    ]
    assert [row["configuration"] for row in rows[:5]] == ["all", "optical", "all", "all", None]
    assert rows[2]["probability"] == 0.3 and np.isnan(rows[4]["probability"]) and rows[4]["valid_fraction"] == 0.3


def test_a_detection_tells_of_the_scenes_of_its_own_configuration(written: Path):
    both, optical = layer(written, "detections")
    assert both["id"] == "T33TVM_20220706:0:0" and both["class"] == "likely" and not both["validated"]
    assert both["track"] == "descending 107; ascending 173" and both["source_ids"].count("; ") == 4
    assert both["time_pre"] == np.datetime64("2022-06-26T05:08:00")
    assert both["time_post"] == np.datetime64("2022-07-09T17:08:00")
    assert (optical["class"], optical["configuration"], optical["threshold"]) == ("possible", "optical", 0.4)
    assert optical["track"] is None and optical["source_ids"] == "S2_post" and np.isnan(optical["configuration_f1"])
    assert np.isnat(optical["time_pre"]) and np.isnat(optical["time_post"])
    assert optical["time_optical"] == np.datetime64("2022-07-06T08:56:11")


def test_an_unknown_time_is_not_passed_over(tmp_path: Path):
    scenes = tuple(replace(scene, acquired=None) if scene.id == "S1_asc_pre" else scene for scene in SCENES)
    tile = make_tile(64, 64, scenes=scenes)
    write_geopackage(tmp_path / "t.gpkg", tile, make_scores(tile, default=SLIDE), CONTEXT)
    (row,) = layer(tmp_path / "t.gpkg", "detections")
    assert np.isnat(row["time_pre"]) and not np.isnat(row["time_post"])


def test_footprints_sources_and_decisions(written: Path):
    tile, *scenes = layer(written, "footprints")
    assert (tile["name"], tile["kind"], tile["outline_of"]) == ("T33TVM_20220706", "tile", "the tile")
    assert tile["ring"][[0, 2]].tolist() == [[500_000, 5_200_000], [506_000, 5_198_720]]
    assert [scene["name"] for scene in scenes] == [scene.id for scene in SCENES]
    assert all("outline is not known" in scene["outline_of"] for scene in scenes)
    source = layer(written, "sources")[1]
    assert (source["relative_orbit"], source["orbit"], source["role"]) == (107, "descending", "post")
    assert source["bands"] == "desc_vv; desc_vh; desc_dvv; desc_dvh"
    assert layer(written, "decisions") == [{"subject": "offset", "choice": "none", "reason": "baseline N0400"}]


def test_the_run_is_told_in_words(tmp_path: Path):
    tile = make_tile(600, 128, event_time=None, warnings=("cloud unchecked", "haze"))
    write_geopackage(tmp_path / "t.gpkg", tile, every_kind(tile), context(prevalence=0.01, synthetic=True))
    rows = [(row["key"], row["value"]) for row in layer(tmp_path / "t.gpkg", "run")]
    facts = dict(rows)
    assert facts["note"].startswith("5 of 20 patches (25.0 %) were not scored") and "made-up data" in facts["note"]
    assert [value for key, value in rows if key == "warning"] == ["cloud unchecked", "haze"]
    assert facts["event_time"] == "not stated" and facts["prevalence_stated_by_user"] == "true"
    assert facts["configuration.all.assumed_prevalence"] == "0.01" and facts["configuration.all.f1"] == "0.863"
    assert float(facts["configuration.all.threshold"]) < 0.1 and facts["configuration.optical.f1"] == "unknown"
    assert "nobody has checked it" in facts["caveat"] and facts["counts.look"] == "1"


def test_nothing_found_is_told_apart_from_nothing_seen(tmp_path: Path):
    tile = make_tile(128, 128)
    for name, decision in (("seen.gpkg", NO_SLIDE), ("unseen.gpkg", NOT_SCORED)):
        write_geopackage(tmp_path / name, tile, make_scores(tile, default=decision), CONTEXT)
        assert layer(tmp_path / name, "detections") == []
    assert {row["class"] for row in layer(tmp_path / "seen.gpkg", "patches")} == {"nothing seen"}
    assert {row["class"] for row in layer(tmp_path / "unseen.gpkg", "patches")} == {"not observed"}


def test_the_container_keeps_to_geopackage_1_3(written: Path):
    assert query(written, "PRAGMA application_id") == [(0x47504B47,)]
    assert query(written, "PRAGMA user_version") == [(10300,)]
    assert query(written, "PRAGMA integrity_check") == [("ok",)] and query(written, "PRAGMA foreign_key_check") == []
    systems = query(written, "SELECT srs_id FROM gpkg_spatial_ref_sys ORDER BY 1")
    assert systems == [(-1,), (0,), (4326,), (32633,)]
    assert set(query(written, "SELECT DISTINCT last_change FROM gpkg_contents")) == {("2022-07-09T17:08:00.000Z",)}
    tables = {name for (name,) in query(written, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    registered = {name for (name,) in query(written, "SELECT table_name FROM gpkg_contents")}
    assert tables - registered == {"gpkg_spatial_ref_sys", "gpkg_contents", "gpkg_geometry_columns"}
    for name in registered:  # requirement 29 and 64: an integer primary key
        columns = query(written, f"PRAGMA table_info({name})")
        assert [column[2] for column in columns if column[5]] == ["INTEGER"]


def test_qgis_finds_a_style_for_each_layer(written: Path):
    keys = "f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault"
    rows = query(written, f"SELECT {keys} FROM layer_styles")
    assert rows == [("", "", name, "geom", 1) for name in ("detections", "patches", "footprints")]
    stored = query(written, "SELECT f_table_name, styleQML FROM layer_styles")
    styles = {name: ET.fromstring(qml) for name, qml in stored}
    detections, patches = ["likely", "possible"], ["likely", "possible", "look", "nothing seen", "not observed"]
    for name, classes in (("detections", detections), ("patches", patches)):
        renderer = styles[name].find("renderer-v2")
        assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
        categories = renderer.findall("categories/category")
        assert [category.get("value") for category in categories] == classes
        symbols = {symbol.get("name"): symbol for symbol in renderer.findall("symbols/symbol")}
        assert [category.get("symbol") for category in categories] == list(symbols)
    brushes = {name: brush(styles["patches"], name) for name in patches}
    assert brushes["not observed"] == "b_diagonal" and brushes["nothing seen"] == "no"
    assert {brushes[name] for name in ("likely", "possible", "look")} == {"solid"}
    assert styles["footprints"].find("renderer-v2").get("type") == "singleSymbol"


def brush(style: ET.Element, name: str) -> str | None:
    """Brush style of a category's symbol."""
    (number,) = [one.get("symbol") for one in style.iter("category") if one.get("value") == name]
    return style.find(f".//symbol[@name='{number}']/layer/Option/Option[@name='style']").get("value")


def test_a_crs_without_epsg_code_keeps_its_definition(tmp_path: Path):
    proj = CRS.from_string("+proj=laea +lat_0=46 +lon_0=8 +x_0=100000 +y_0=0 +datum=WGS84 +units=m")
    tile = make_tile(64, 64)
    tile = replace(tile, grid=replace(tile.grid, crs=proj))
    write_geopackage(tmp_path / "t.gpkg", tile, make_scores(tile), CONTEXT)
    read = CRS.from_user_input(pyogrio.read_info(tmp_path / "t.gpkg", layer="patches")["crs"])
    assert read.to_dict()["lat_0"] == 46 and read.to_dict()["x_0"] == 100_000


def test_the_same_scores_give_the_same_bytes(tmp_path: Path):
    tile = make_tile(600, 400)
    scores = make_scores(tile, 16, SLIDE)
    (tmp_path / "b").write_bytes(b"something else, to be replaced")
    for name in "ab":
        write_geopackage(tmp_path / name, tile, scores, CONTEXT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no journal beside them


def test_a_name_that_is_no_utf_8_and_no_known_time_still_give_a_file(tmp_path: Path):
    tile = replace(make_tile(64, 64, acquired={}, scenes=(), decisions=()), id="Schlamm\udcfc")
    write_geopackage(tmp_path / "t.gpkg", tile, make_scores(tile, default=SLIDE), CONTEXT)
    (row,) = layer(tmp_path / "t.gpkg", "detections")
    assert row["tile"] == "Schlamm?" and row["source_ids"] == ""
    (change,) = query(tmp_path / "t.gpkg", "SELECT DISTINCT last_change FROM gpkg_contents")
    assert change == ("1970-01-01T00:00:00.000Z",)


def test_a_full_disk_is_an_output_error(tiny_disk: Path):
    tile = make_tile(64 * 60, 64 * 60)
    with pytest.raises(OutputError, match=r"cannot write .*tile\.gpkg: No space left on device; free space"):
        write_geopackage(tiny_disk / "tile.gpkg", tile, make_scores(tile), CONTEXT)


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path):
    tile = make_tile(64, 64)
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; "):
        write_geopackage(tmp_path / "absent" / "tile.gpkg", tile, make_scores(tile), CONTEXT)
