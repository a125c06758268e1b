"""Score grid and coverage: right place on the ground, unseen told apart from empty, valid COG, same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from contexts import context
from hypothesis import given, settings
from hypothesis import strategies as st
from rio_cogeo.cogeo import cog_validate
from scored_tiles import answer, make_scores, make_tile

from lsd.runtime.errors import OutputError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import LOOK, NO_CONFIGURATION, NO_SLIDE, NOT_SCORED, SLIDE, TileScores
from lsd.runtime.sinks.coverage import coverage_of, scored_ground_px
from lsd.runtime.sinks.score_grid import score_transform, write_score_grid

CONTEXT = context()
sizes = st.integers(64, 330)
strides = st.integers(9, 64)


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


def test_score_grid_is_a_valid_cog_that_tells_unseen_from_negative(tmp_path: Path):
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 0, 1, SLIDE)
    answer(scores, 0, 2, LOOK)
    answer(scores, 1, 0, NOT_SCORED)
    path = tmp_path / "scores.tif"
    write_score_grid(path, tile, scores, CONTEXT)
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as raster:
        assert raster.crs == tile.grid.crs and raster.transform == Affine(640, 0, 500_000, 0, -640, 5_200_000)
        names = ("probability", "decision", "valid_fraction", "configuration", "status", "shifted", "class", "stage")
        assert raster.descriptions == names and set(raster.dtypes) == {"float32"} and np.isnan(raster.nodata)
        band = dict(zip(names, raster.read(), strict=True))
        tags, meaning = raster.tags(), raster.tags(2)["meaning"]
        assert raster.tags(4)["meaning"] == "0 none; 1 optical; 2 all"
    unseen = scores.decision == NOT_SCORED
    assert (np.isnan(band["probability"]) == unseen).all() and (np.isnan(band["decision"]) == unseen).all()
    assert (band["decision"][~unseen] == scores.decision[~unseen]).all()
    assert (band["probability"][~unseen] == scores.probability[~unseen]).all()
    assert (band["stage"] == scores.stage).all() and set(scores.stage.flat) == {0, 2}
    assert (band["status"] == scores.status).all() and band["status"][1, 0] == NO_CONFIGURATION
    assert (band["configuration"] == scores.configuration).all() and (band["shifted"] == scores.shifted).all()
    assert (band["class"] == scores.classes()).all()
    assert band["shifted"][:, 3].all() and not band["shifted"][:, :3].any()
    assert meaning == "0 no slide; 1 slide; 2 look; NaN not scored"
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
    for name in "ab":
        write_score_grid(tmp_path / name, tile, scores, CONTEXT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no .aux.xml beside them


def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path: Path):
    tile = make_tile(64, 64)
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; "):
        write_score_grid(tmp_path / "absent" / "product", tile, make_scores(tile), CONTEXT)
