"""Run summary: sums, a table that people can read, JSON that programs can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from contexts import context
from rasterio.crs import CRS

from lsd.runtime.errors import TileError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import NO_SLIDE, NOT_SCORED, SLIDE, TileScores
from lsd.runtime.sinks.summary import RunSummary, TileResult, done_result, failed_result
from lsd.runtime.tiles import Grid, Tile

CONTEXT = context(bundle_sha256="cd" * 32)


def tile_of(name: str, warnings: tuple[str, ...] = ()) -> tuple[Tile, TileScores]:
    grid = Grid(CRS.from_epsg(32633), Affine(10, 0, 500_000, 0, -10, 5_200_000), 200, 64)
    return Tile(name, grid, {}, warnings=warnings), TileScores(PatchGrid(200, 64))


@pytest.fixture
def summary() -> RunSummary:
    tile, scores = tile_of("alpha", ("cloud unchecked",))
    scores.decision[0] = (SLIDE, NO_SLIDE, NO_SLIDE, NOT_SCORED)
    scores.status[0] = (0, 0, 0, 1)
    scores.probability[0] = (0.875, 0.1, 0.0, np.nan)
    scores.configuration[0] = (2, 2, 1, 0)
    unseen_tile, unseen = tile_of("a much longer name")
    done = RunSummary()
    done.add(
        done_result(tile, scores, CONTEXT, {"detections": "alpha/detections.geojson"}, {"read": 1.25, "infer": 0.5})
    )
    done.add(done_result(unseen_tile, unseen, CONTEXT, {}, {"read": 1.0}))
    done.add(failed_result("bad", TileError("no CRS\nin b.tif"), {"read": 0.25}))
    return done


def test_totals_add_up(summary: RunSummary):
    totals = summary.totals()
    assert (totals["tiles"], totals["done"], totals["failed"]) == (3, 2, 1)
    assert (totals["patches"], totals["slide"], totals["no_slide"], totals["not_scored"]) == (8, 1, 2, 5)
    assert totals["slide"] + totals["no_slide"] + totals["not_scored"] == totals["patches"]
    assert totals["too_few_valid_pixels"] + totals["no_configuration"] == totals["not_scored"]
    assert totals["seconds"] == {"infer": 0.5, "read": 2.5}
    assert totals["ground_km2"] == 2 * 1.28 and totals["scored_ground_km2"] == pytest.approx(192 * 64 / 1e4)


def test_a_result_tells_what_answered_and_how_sure_it_was(summary: RunSummary):
    done, unseen, failed = summary.tiles
    assert done.configurations == {"optical": 1, "all": 2} and done.max_probability == 0.875
    assert unseen.configurations == {} and unseen.max_probability is None and "4 of 4 patches" in unseen.note
    assert failed.error == "no CRS in b.tif" and failed.counts == {}


def test_json_is_complete_and_strict(summary: RunSummary, tmp_path: Path):
    summary.write(tmp_path / "summary.json", CONTEXT, {"stride_px": 64, "sources": ["in"]})
    text = (tmp_path / "summary.json").read_text(encoding="ascii")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read["schema_version"] == 2 and read["options"] == {"stride_px": 64, "sources": ["in"]}
    assert read["bundle"]["sha256"] == "cd" * 32 and read["bundle"]["configurations"] == {"optical": 0.4, "all": 0.5}
    assert [tile["status"] for tile in read["tiles"]] == ["done", "done", "failed"]
    assert read["tiles"][0]["products"] == {"detections": "alpha/detections.geojson"}
    assert read["tiles"][2]["error"] == "no CRS in b.tif"


def test_table(summary: RunSummary):
    assert summary.table().splitlines() == [
        "tile                patches  slide  look  no slide  not scored  configuration     max p  remarks",
        "alpha                     4      1     0         2           1  optical 1, all 2  0.875  1 warning",
        "a much longer name        4      0     0         0           4  none                  -  nothing was scored",
        "bad                       -      -     -         -           -  -                     -  failed",
        "2 of 3 tiles done, 1 failed: 1 slide, 0 look, 2 no slide, 5 not scored; looked at 1.23 km2, 1.33 km2 unseen",
    ]


def test_failures_are_listed_and_a_warning_of_many_tiles_is_one_line():
    run = RunSummary()
    for name in ("a", "b"):
        run.add(TileResult(name, "done", warnings=("no cloud layer", f"haze over {name}")))
    run.add(TileResult("bad\nname", "failed", error="no CRS in b.tif"))
    assert run.looks() == ["look: 2 tiles: no cloud layer", "look: a: haze over a", "look: b: haze over b"]
    assert run.failures() == ["failed: bad name: no CRS in b.tif"]


def test_an_empty_run_still_has_a_table():
    assert RunSummary().table().splitlines()[-1].startswith("0 of 0 tiles done: 0 slide")
