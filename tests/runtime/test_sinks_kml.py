"""KML: opened by pyogrio, detections and unseen ground where they are, times and facts on each detection."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from contexts import context
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform
from scored_tiles import answer, make_scores, make_tile

from lsd.runtime.errors import OutputError
from lsd.runtime.scores import CLOUD, NO_SLIDE, NOT_SCORED, SLIDE
from lsd.runtime.sinks.kml import unseen_runs, write_kml
from lsd.runtime.tiles import Tile

CONTEXT = context()
KML = "{http://www.opengis.net/kml/2.2}"


def folder(path: Path, name: str) -> list[ET.Element]:
    """Placemarks of a folder."""
    (found,) = [one for one in ET.parse(path).iter(f"{KML}Folder") if one.findtext(f"{KML}name") == name]
    return found.findall(f"{KML}Placemark")


def facts(placemark: ET.Element) -> dict[str, str | None]:
    return {data.get("name"): data.findtext(f"{KML}value") for data in placemark.iter(f"{KML}Data")}


def places(tile: Tile, placemark: ET.Element) -> np.ndarray:
    """Corners of a placemark's ring in the tile's pixels, (corner, 2) as column and row."""
    (text,) = [found.text for found in placemark.iter(f"{KML}coordinates")]
    lonlat = np.array([corner.split(",") for corner in text.split()], float)
    east, north = transform("EPSG:4326", tile.grid.crs, *lonlat.T)
    return np.stack(tile.grid.pixel(np.array(east), np.array(north)), axis=1)


def test_a_detection_is_a_polygon_in_its_place_with_times_and_facts(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 1, 3, SLIDE)
    write_kml(tmp_path / "t.kml", tile, scores, CONTEXT)
    (placemark,) = folder(tmp_path / "t.kml", "detections")
    corners = {tuple(corner) for corner in np.round(places(tile, placemark), 1).tolist()}
    assert corners == {(136.0, 64.0), (200.0, 64.0), (136.0, 128.0), (200.0, 128.0)}
    span = placemark.find(f"{KML}TimeSpan")
    assert span.findtext(f"{KML}begin") == "2022-06-26T05:08:00Z"
    assert span.findtext(f"{KML}end") == "2022-07-09T17:08:00Z"
    told = facts(placemark)
    assert told["validated"] == "false" and told["cause_note"] == "not proof that the event caused it"
    assert told["source_ids"].startswith("S2_post; S1_desc_post") and told["probability"] == "0.91"
    styles = {style.get("id") for style in ET.parse(tmp_path / "t.kml").iter(f"{KML}Style")}
    urls = [url.text for url in ET.parse(tmp_path / "t.kml").iter(f"{KML}styleUrl")]
    assert urls[0] == "#class-4" and {url.removeprefix("#") for url in urls} <= styles
    description = ET.parse(tmp_path / "t.kml").findtext(f"{KML}Document/{KML}description")
    assert description.startswith("All 8 patches were scored.") and "Look: cloud unchecked" in description


def test_unseen_ground_is_drawn_and_says_why(tmp_path: Path):
    tile = make_tile(640, 128)
    scores = make_scores(tile)
    answer(scores, 0, slice(2, 5), NOT_SCORED, CLOUD)
    answer(scores, 0, 5, NOT_SCORED)
    write_kml(tmp_path / "t.kml", tile, scores, CONTEXT)
    assert folder(tmp_path / "t.kml", "detections") == []
    cloud, other = folder(tmp_path / "t.kml", "not observed")
    assert facts(cloud) == {"class": "not observed", "reason": "cloud", "patches": "3"}
    assert facts(other)["reason"] == "no configuration"
    corners = {tuple(corner) for corner in np.round(places(tile, cloud), 1).tolist()}
    assert corners == {(128.0, 0.0), (320.0, 0.0), (128.0, 64.0), (320.0, 64.0)}


@settings(max_examples=40)
@given(st.integers(64, 900), st.integers(64, 400), st.integers(0, 2**32 - 1))
def test_the_runs_are_the_unscored_patches(width_px, height_px, seed):
    rng = np.random.default_rng(seed)
    scores = make_scores(make_tile(width_px, height_px))
    for row, column in np.argwhere(rng.random(scores.decision.shape) < 0.5):
        answer(scores, row, column, NOT_SCORED, int(rng.integers(1, 6)))
    covered = np.zeros(scores.decision.shape, int)
    for row, first, last in unseen_runs(scores):
        covered[row, first : last + 1] += 1
        assert len(set(scores.status[row, first : last + 1].tolist())) == 1
    assert (covered == (scores.decision == NOT_SCORED)).all()


def test_long_edges_stay_on_the_tile(tmp_path: Path):
    tile = make_tile(10_980, 10_980, 32633, 300_000, 6_800_000)
    write_kml(tmp_path / "t.kml", tile, make_scores(tile, default=NOT_SCORED), CONTEXT)
    (outline,) = folder(tmp_path / "t.kml", "tile")
    (text,) = [found.text for found in outline.iter(f"{KML}coordinates")]
    lonlat = np.array([corner.split(",") for corner in text.split()], float)
    middles = (lonlat[:-1] + lonlat[1:]) / 2
    east, north = transform("EPSG:4326", tile.grid.crs, *middles.T)
    column, row = tile.grid.pixel(np.array(east), np.array(north))
    away = np.minimum.reduce([np.abs(column), np.abs(column - 10_980), np.abs(row), np.abs(row - 10_980)])
    assert away.max() < 0.5  # px
    assert len(folder(tmp_path / "t.kml", "not observed")) == 172


def test_pyogrio_opens_it(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 0, 0, SLIDE)
    answer(scores, 1, 1, NOT_SCORED)
    write_kml(tmp_path / "t.kml", tile, scores, CONTEXT)
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "t.kml")] == ["detections", "not observed", "tile"]
    for name in ("detections", "not observed", "tile"):
        info = pyogrio.read_info(tmp_path / "t.kml", layer=name, force_feature_count=True)
        assert info["features"] == 1 and info["crs"] == "EPSG:4326"
    west, south, east, north = pyogrio.read_info(tmp_path / "t.kml", layer="tile", force_total_bounds=True)[
        "total_bounds"
    ]
    assert 14.99 < west < east < 15.1 and 46.9 < south < north < 47


def test_an_optical_answer_has_no_beginning(tmp_path: Path):
    tile = make_tile(64, 64)
    scores = make_scores(tile, default=SLIDE)
    scores.configuration[:] = 1
    write_kml(tmp_path / "t.kml", tile, scores, CONTEXT)
    (placemark,) = folder(tmp_path / "t.kml", "detections")
    span = placemark.find(f"{KML}TimeSpan")
    assert [(edge.tag, edge.text) for edge in span] == [(f"{KML}end", "2022-07-06T08:56:11Z")]


def test_a_square_across_the_antimeridian_has_two_parts(tmp_path: Path):
    x, y = transform("EPSG:4326", "EPSG:32660", [179.9995], [-17.5])
    tile = make_tile(64, 64, 32660, x[0] - 320, y[0] + 320)
    write_kml(tmp_path / "t.kml", tile, make_scores(tile, default=SLIDE), CONTEXT)
    (placemark,) = folder(tmp_path / "t.kml", "detections")
    assert len(placemark.findall(f"{KML}MultiGeometry/{KML}Polygon")) == 2


def test_names_are_escaped(tmp_path: Path):
    tile = replace(make_tile(64, 64, scenes=()), id="a<b>&\udcfc\x01")
    write_kml(tmp_path / "t.kml", tile, make_scores(tile, default=SLIDE), CONTEXT)
    assert ET.parse(tmp_path / "t.kml").findtext(f"{KML}Document/{KML}name") == "a<b>&??"


def test_the_same_scores_give_the_same_bytes_or_an_output_error(tmp_path: Path):
    tile = make_tile(200, 128)
    for name in "ab":
        write_kml(tmp_path / name, tile, make_scores(tile, 32, SLIDE), CONTEXT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; "):
        write_kml(tmp_path / "absent" / "t.kml", tile, make_scores(tile, default=NO_SLIDE), CONTEXT)
