"""Merging tiles: ground counted once, one finding a place, disagreement told, the same bytes in any order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from contexts import context
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform
from rio_cogeo.cogeo import cog_validate
from scored_folders import counted_px, named_tile, only_in_second_m2, painted, random_scores, region, write_scored
from scored_tiles import answer, make_scores
from tiles import truncate

from lsd.runtime.errors import SourceError, UsageError
from lsd.runtime.merging import mosaic
from lsd.runtime.merging.merge import merge_tiles
from lsd.runtime.merging.mosaic import mosaic_of
from lsd.runtime.merging.scored_tile import read_scored_tile
from lsd.runtime.scores import LIKELY, LOOK, NO_SLIDE, NOT_SCORED, NOTHING_SEEN, POSSIBLE, SLIDE
from lsd.runtime.sinks.merged import MERGED_PRODUCTS, summary_json, write_merged

SCORED = (NO_SLIDE, SLIDE, LOOK)
X, Y = 500_000.0, 5_200_000.0


def one_patch(out: Path, name: str, decision: int, probability: float, dx_px: int = 0, dy_px: int = 0, **place) -> None:
    """A tile of a single patch, this many pixels east and south of the common corner."""
    place = {"x": X + 10 * dx_px, "y": Y - 10 * dy_px, **place}
    tile = named_tile(name, 64, 64, **place)
    scores = make_scores(tile, default=decision)
    if decision != NOT_SCORED:
        scores.probability[0, 0] = probability
    write_scored(out, tile, scores)


# --- ground ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_totals_count_ground_once_as_painted_pixels_do(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    out = tmp_path_factory.mktemp("tiles")
    tiles = []
    for name in "abc"[: rng.integers(1, 4)]:
        width, height, dx, dy = (int(one) for one in (*rng.integers(64, 300, 2), *rng.integers(0, 400, 2)))
        tile = named_tile(name, width, height, x=X + 10 * dx, y=Y - 10 * dy)
        scores = random_scores(tile, int(rng.integers(20, 65)), rng)
        write_scored(out, tile, scores)
        tiles.append((tile, scores))
    totals = merge_tiles(out).totals
    assert totals["ground_km2"] == round(counted_px(tiles, None) * 1e-4, 6)
    assert totals["scored_ground_km2"] == round(counted_px(tiles, SCORED) * 1e-4, 6)
    assert totals["detections_km2"] == round(counted_px(tiles, [SLIDE]) * 1e-4, 6)
    assert totals["unseen_ground_km2"] == round(totals["ground_km2"] - totals["scored_ground_km2"], 6)


@pytest.mark.parametrize("seed", range(4))
def test_two_zones_agree_with_a_sampled_reference(tmp_path, seed):
    rng = np.random.default_rng(seed)
    first = named_tile("a", 420, 400, epsg=32633, x=300_000, y=5_200_000)
    east, north = transform("EPSG:32633", "EPSG:32632", [300_000], [5_200_000])
    east, north = round(east[0], -1) - 2000 + 10 * int(rng.integers(200)), round(north[0], -1) + 500
    second = named_tile("b", 300, 280, epsg=32632, x=east, y=north)
    both = [(tile, random_scores(tile, 50, rng)) for tile in (first, second)]
    for tile, scores in both:
        write_scored(tmp_path, tile, scores)
    merged = merge_tiles(tmp_path)
    assert merged.crs.to_epsg() == 32633  # has more scored ground
    for key, decisions in (("ground_km2", None), ("scored_ground_km2", SCORED), ("detections_km2", (SLIDE,))):
        fresh_m2 = only_in_second_m2(both[0], both[1], decisions, samples=4)
        expected = (painted(*both[0], decisions).sum() * 100 + fresh_m2) / 1e6
        assert merged.totals[key] == pytest.approx(expected, rel=1e-3), key
        assert fresh_m2 < painted(*both[1], decisions).sum() * 100, f"{key}: the tiles do not overlap"


# --- findings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dx_px", "dy_px", "joined"),
    [
        (0, 0, True),
        (31, 0, True),
        (32, 0, False),
        (33, 0, False),
        (16, 16, True),
        (18, 19, True),
        (19, 19, False),
        (64, 0, False),
    ],
)
def test_detections_that_share_more_than_half_are_one(tmp_path, dx_px, dy_px, joined):
    one_patch(tmp_path, "a", SLIDE, 0.6)
    one_patch(tmp_path, "b", SLIDE, 0.8, dx_px, dy_px)
    merged = merge_tiles(tmp_path)
    found = {(merged.tiles[one.tile].id, one.also) for one in merged.findings}
    assert found == ({("b", ("a:0:0",))} if joined else {("a", ()), ("b", ())})
    assert (merged.totals["detections"], merged.totals["joined"]) == ((1, 1) if joined else (2, 0))


def test_the_most_certain_of_three_is_kept_and_names_the_others(tmp_path):
    for name, probability in (("a", 0.6), ("b", 0.9), ("c", 0.7)):
        one_patch(tmp_path, name, SLIDE, probability)
    (found,) = merge_tiles(tmp_path).findings
    assert (found.tile, found.also, found.n_tiles_seen, found.n_tiles_slide) == (1, ("a:0:0", "c:0:0"), 3, 3)
    assert not found.is_disputed


def test_equal_detections_are_settled_by_the_id_of_their_tile(tmp_path):
    for name in "ba":
        one_patch(tmp_path, name, SLIDE, 0.7)
    merged = merge_tiles(tmp_path)
    assert [(merged.tiles[one.tile].id, one.also) for one in merged.findings] == [("a", ("b:0:0",))]


def test_overlapping_patches_of_one_tile_stay_apart(tmp_path):
    tile = named_tile("a", 80, 64, x=X, y=Y)
    write_scored(tmp_path, tile, make_scores(tile, 16, SLIDE))
    merged = merge_tiles(tmp_path)
    assert merged.totals["detections"] == 2 and all(one.also == () for one in merged.findings)


def test_a_detection_stands_where_another_tile_saw_nothing_and_both_are_told(tmp_path):
    one_patch(tmp_path, "a", SLIDE, 0.45)
    one_patch(tmp_path, "b", NO_SLIDE, 0.01, 8, 8)
    one_patch(tmp_path, "c", NOT_SCORED, 0, 4, 4)
    merged = merge_tiles(tmp_path)
    (found,) = merged.findings
    assert (found.code, found.n_tiles_seen, found.n_tiles_slide) == (POSSIBLE, 2, 1)
    assert merged.totals["disputed"] == 1 and merged.totals["possible"] == 1
    write_merged(tmp_path, merged)
    assert "another tile looked and has none: 1;" in summary_json(merged)["note"]
    middle = merged.mosaic.n_tiles == 3
    assert middle.any()
    assert (merged.mosaic.classes()[middle] == POSSIBLE).all()
    assert (merged.mosaic.n_tiles_seen[middle] == 2).all() and (merged.mosaic.n_tiles_slide[middle] == 1).all()


def test_a_look_beside_a_detection_of_another_tile_is_no_second_finding(tmp_path):
    one_patch(tmp_path, "a", SLIDE, 0.45)
    one_patch(tmp_path, "b", LOOK, 0.3, 8, 8)
    one_patch(tmp_path, "c", LOOK, 0.3, 200, 0)
    merged = merge_tiles(tmp_path)
    totals = merged.totals
    assert (totals["detections"], totals["look"], totals["joined"]) == (1, 1, 0)
    assert merged.findings[0].also == ()  # a look has no record of its own to name


def test_a_detection_of_two_zones_is_one(tmp_path):
    east, north = transform("EPSG:32633", "EPSG:32632", [300_320], [5_199_680])
    one_patch(tmp_path, "a", SLIDE, 0.9, x=300_000.0, y=5_200_000.0)
    one_patch(tmp_path, "b", SLIDE, 0.7, epsg=32632, x=round(east[0]) - 320.0, y=round(north[0]) + 320.0)
    one_patch(tmp_path, "c", SLIDE, 0.6, epsg=32632, x=round(east[0]) + 80.0, y=round(north[0]) + 320.0)
    merged = merge_tiles(tmp_path)
    assert [(merged.tiles[one.tile].id, one.also) for one in merged.findings] == [("a", ("b:0:0",)), ("c", ())]
    assert merged.findings[0].n_tiles_slide == 2
    write_merged(tmp_path, merged)
    layer = pyogrio.raw.read(tmp_path / "merged.gpkg", layer="detections")
    assert layer[0]["crs"] == "EPSG:32632" and layer[0]["fields"].tolist()[-3:] == [
        "n_tiles_seen",
        "n_tiles_slide",
        "also",
    ]


# --- mosaic ----------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_a_cell_says_what_the_patches_over_its_middle_say(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    out = tmp_path_factory.mktemp("tiles")
    tiles = []
    for name in "ab":
        tile = named_tile(name, *map(int, rng.integers(64, 250, 2)), x=X + 10 * int(rng.integers(200)), y=Y)
        tiles.append((tile, random_scores(tile, int(rng.integers(20, 65)), rng)))
        write_scored(out, *tiles[-1])
    found = merge_tiles(out).mosaic
    classes = found.classes()
    t = found.transform
    for row, column in np.ndindex(classes.shape):
        east, north = t.c + t.a * (column + 0.5), t.f + t.e * (row + 0.5)
        over, seen, slide, within = [0.0], 0, 0, 0
        for tile, scores in tiles:
            x, y = tile.grid.pixel(east, north)
            if not (0 <= x < tile.grid.width_px and 0 <= y < tile.grid.height_px):
                continue
            within += 1
            here = [
                (scores.classes()[cell], scores.probability[cell])
                for cell in np.ndindex(scores.decision.shape)
                if 0 <= y - scores.grid.y_px(cell[0]) < 64 and 0 <= x - scores.grid.x_px(cell[1]) < 64
            ]
            seen += any(code >= NOTHING_SEEN for code, _ in here)
            slide += any(code >= POSSIBLE for code, _ in here)
            over += [2.0 * code + float(probability) for code, probability in here if code]
        assert found.certainty[row, column] == pytest.approx(max(over))
        assert (found.n_tiles[row, column], found.n_tiles_seen[row, column], found.n_tiles_slide[row, column]) == (
            within,
            seen,
            slide,
        )


def test_no_finding_is_lost_in_cells_larger_than_patches(tmp_path, monkeypatch):
    tile = named_tile("a", 64 * 40, 64 * 40, x=X, y=Y)
    scores = make_scores(tile)
    answer(scores, 3, 5, SLIDE)
    write_scored(tmp_path, tile, scores)
    monkeypatch.setattr(mosaic, "MAX_CELLS", 100)
    read = read_scored_tile(tmp_path / "a")
    found = mosaic_of([read], read.grid.crs)
    assert found.cell_m == 2560 and found.certainty.size == 100
    assert [tuple(cell) for cell in np.argwhere(found.classes() == LIKELY)] == [(0, 1)]


def test_neighbours_of_sentinel_2_share_the_lattice(tmp_path):
    """Edges 99,960 m apart plus overlap: every whole patch of both tiles is made of whole cells."""
    for name, x in (("a", 399_960.0), ("b", 399_960.0 + 100_000)):
        tile = named_tile(name, 192, 128, x=x, y=Y)
        write_scored(tmp_path, tile, make_scores(tile, default=SLIDE))
    found = merge_tiles(tmp_path).mosaic
    assert found.cell_m == 160
    assert (found.classes() == LIKELY).sum() * 160**2 == 2 * 192 * 128 * 100


# --- products --------------------------------------------------------------------------------------------------------


def test_products_are_valid_and_tell_the_same(tmp_path):
    merged = merge_tiles(region(tmp_path / "out"))
    (tmp_path / "m").mkdir()
    write_merged(tmp_path / "m", merged)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted(MERGED_PRODUCTS.values())
    summary = json.loads((tmp_path / "m" / "merged.json").read_text())
    collection = json.loads((tmp_path / "m" / "detections.geojson").read_text())
    totals = summary["totals"]
    assert collection["totals"] == totals and len(collection["features"]) == totals["detections"] > 3
    assert totals["joined"] > 0 and summary["bundle"]["sha256"] == "ab" * 32
    names = [feature["id"] for feature in collection["features"]]
    also = [other for feature in collection["features"] for other in feature["properties"]["also"]]
    own = [
        feature["id"]
        for name in "abcd"
        for feature in json.loads((tmp_path / "out" / name / "detections.geojson").read_text())["features"]
    ]
    assert sorted(names + also) == sorted(own)  # every detection is kept or named, once
    assert "there may be landslides there" in summary["note"] and "neither when the slope failed" in summary["note"]
    assert collection["warnings"] == [f"{name}: cloud unchecked" for name in "abcd"]

    path = tmp_path / "m" / "scores.tif"
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as raster:
        band = dict(zip(raster.descriptions, raster.read(), strict=True))
        assert raster.tags()["bundle_sha256"] == "ab" * 32 and raster.tags()["tiles"] == "a,b,c,d"
    assert (np.isnan(band["class"]) == (band["n_tiles"] == 0)).all()
    assert (np.isnan(band["probability"]) == (band["n_tiles_seen"] == 0)).all()
    assert ((band["class"] >= POSSIBLE) == (band["n_tiles_slide"] > 0)).all()

    layers = dict(pyogrio.list_layers(tmp_path / "m" / "merged.gpkg"))
    assert layers["detections"] == layers["not_observed"] == layers["tiles"] == "Polygon"
    table = pyogrio.read_info(tmp_path / "m" / "merged.gpkg", layer="detections")
    assert table["features"] == totals["detections"]
    unseen = pyogrio.raw.read(tmp_path / "m" / "merged.gpkg", layer="not_observed")
    assert set(unseen[3][0]) == {"not observed"}


def test_the_order_of_folders_changes_nothing(tmp_path):
    written = []
    for number, names in enumerate(("abcd", "dcba", "abcd")):
        out = region(tmp_path / str(number), names)
        (out / "m").mkdir()
        write_merged(out / "m", merge_tiles(out))
        written.append({path.name: path.read_bytes() for path in (out / "m").iterdir()})
    assert written[0] == written[1] == written[2]


# --- what cannot be merged -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "event_time", "line"),
    [
        ({"bundle_sha256": "cd" * 32}, "2022-07-01T00:00:00Z", r"bundle_sha256 is abab.* in a and cdcd.* in b"),
        ({"prevalence": 0.01}, "2022-07-01T00:00:00Z", r"assumed_prevalence is 0.176,0.18 in a and 0.01,0.01 in b"),
        ({}, None, r"event_time is 2022-07-01T00:00:00Z in a and not stated in b"),
    ],
)
def test_answers_to_different_questions_are_refused(tmp_path, about, event_time, line):
    for name, changes, time in (("a", {}, "2022-07-01T00:00:00Z"), ("b", about, event_time)):
        tile = named_tile(name, 64, 64, event_time=time)
        write_scored(tmp_path, tile, make_scores(tile), context(**changes))
    with pytest.raises(UsageError, match=line) as caught:
        merge_tiles(tmp_path)
    assert caught.value.exit_code == 2


def test_the_same_tile_twice_is_refused(tmp_path):
    tile = named_tile("a", 64, 64)
    for folder in ("one", "two"):
        write_scored(tmp_path, tile, make_scores(tile), folder=folder)
    with pytest.raises(UsageError, match="one and two hold the same tile a"):
        merge_tiles(tmp_path)


def test_tiles_at_two_ends_of_the_world_are_refused(tmp_path):
    one_patch(tmp_path, "a", SLIDE, 0.9)
    one_patch(tmp_path, "b", SLIDE, 0.9, epsg=32650)
    with pytest.raises(UsageError, match=r"lies too far from the other tiles \(EPSG:32633\)"):
        merge_tiles(tmp_path)


def test_a_damaged_tile_is_named_and_the_others_are_merged(tmp_path):
    region(tmp_path, "abc")
    truncate(tmp_path / "a" / "scores.tif", 0.1)
    (tmp_path / "b" / "detections.geojson").write_text("{}")
    merged = merge_tiles(tmp_path)
    assert [tile.id for tile in merged.tiles] == ["c"] and sorted(merged.failed) == ["a", "b"]
    assert merged.totals["failed"] == 2
    assert "Tiles that failed are in none of these figures: a, b." in summary_json(merged)["note"]


@pytest.mark.parametrize("name", ["scores.tif", "detections.geojson"])
def test_half_a_tile_is_not_passed_over(tmp_path, name):
    region(tmp_path, "ab")
    (tmp_path / "a" / name).unlink()
    assert f"holds no {name}" in merge_tiles(tmp_path).failed["a"]


@pytest.mark.parametrize("content", [None, "empty", "hidden", "broken"])
def test_a_folder_without_tiles(tmp_path, content):
    out = tmp_path / "out"
    if content == "hidden":
        region(out, "a")
        (out / "a").rename(out / ".a.partial")
    elif content == "broken":
        truncate(region(out, "a") / "a" / "scores.tif", 0.1)
    elif content:
        out.mkdir()
    with pytest.raises(SourceError, match="is no folder" if content is None else "holds no tile of lsd-run"):
        merge_tiles(out)


def test_merged_products_are_no_tile(tmp_path):
    region(tmp_path, "ab")
    (tmp_path / "before").mkdir()
    write_merged(tmp_path / "before", merge_tiles(tmp_path))
    assert [tile.id for tile in merge_tiles(tmp_path).tiles] == ["a", "b"]


def test_tiles_that_the_last_run_could_not_score_are_told(tmp_path):
    region(tmp_path, "a")
    tiles = [{"id": "a", "status": "done", "error": None}, {"id": "z", "status": "failed", "error": "truncated"}]
    (tmp_path / "summary.json").write_text(json.dumps({"tiles": tiles}))
    merged = merge_tiles(tmp_path)
    assert merged.not_scored == {"z": "truncated"} and summary_json(merged)["not_scored"] == {"z": "truncated"}
