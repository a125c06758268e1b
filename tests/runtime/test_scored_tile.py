"""Reading the products of a tile back: what is not whole, or of another version, is refused with its line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import rasterio
from scored_folders import named_tile, random_scores, region, write_scored

from lsd.runtime.errors import TileError
from lsd.runtime.merging.scored_tile import class_of, read_scored_tile


@pytest.mark.parametrize("stride_px", [64, 37, 9])
def test_a_tile_comes_back_as_it_was_written(tmp_path, stride_px):
    tile = named_tile("a", 200, 150, x=399_960.0, y=5_300_040.0)
    scores = random_scores(tile, stride_px, np.random.default_rng(1))
    found = read_scored_tile(write_scored(tmp_path, tile, scores))
    assert (found.grid, found.patches, found.id) == (tile.grid, scores.grid, "a")
    assert (found.classes == scores.classes()).all()
    np.testing.assert_array_equal(found.probability, scores.probability)
    assert (class_of(found.certainty()) == found.classes).all()
    left, _, _, top = found.boxes(np.array([scores.grid.rows - 1]), np.array([scores.grid.columns - 1]))[0]
    assert (left, top) == ((399_960 + 10 * (200 - 64)) * 1000, (5_300_040 - 10 * (150 - 64)) * 1000)  # shifted inward


def test_products_that_do_not_belong_together(tmp_path):
    region(tmp_path, "ab")
    shutil.copy(tmp_path / "b" / "detections.geojson", tmp_path / "a" / "detections.geojson")
    with pytest.raises(TileError, match="are not the same patches"):
        read_scored_tile(tmp_path / "a")


def test_a_score_grid_of_another_version(tmp_path):
    region(tmp_path, "a")
    path = tmp_path / "a" / "scores.tif"
    with rasterio.open(path) as raster:
        profile, pixels, names, tags = raster.profile, raster.read(), raster.descriptions, raster.tags()
    plain = {key: profile[key] for key in ("count", "width", "height", "dtype", "crs", "transform", "nodata")}

    def rewrite(names, tags):
        path.unlink()
        with rasterio.open(path, "w", driver="GTiff", **plain) as raster:
            raster.write(pixels)
            raster.descriptions = names
            raster.update_tags(**tags)

    rewrite(["other" if name == "class" else name for name in names], tags)
    with pytest.raises(TileError, match=r"has no band 'class'.*older lsd-run"):
        read_scored_tile(tmp_path / "a")
    rewrite(names, {key: value for key, value in tags.items() if key != "stride_px"})
    with pytest.raises(TileError, match="lacks stride_px"):
        read_scored_tile(tmp_path / "a")
    rewrite(names, {**tags, "stride_px": "16"})
    with pytest.raises(TileError, match=r"has 3 x 4 pixels, its tags promise 9 x 10"):
        read_scored_tile(tmp_path / "a")
