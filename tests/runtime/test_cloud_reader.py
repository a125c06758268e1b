"""Classes on the tile's grid: those of the pixel of the layer that each middle of a pixel lies in, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform
from tiles import ORIGIN, UTM, truncate, write_tiff

from lsd.runtime.cloud_reader import UNKNOWN, CloudReader
from lsd.runtime.errors import TileError
from lsd.runtime.ingest.clouds import INVALID
from lsd.runtime.tiles import CloudLayer, Grid

TILE = Grid(CRS.from_string(UTM), ORIGIN, 96, 80)
RNG = np.random.default_rng(3)


def layer_in(path, classes, transform=ORIGIN, kind="scl", **options):
    return CloudLayer(write_tiff(path, classes, transform=transform, **options), 1, kind, INVALID[kind])


def brute_force(classes, grid, tile=TILE):
    """Class at the middle of every pixel of the tile, one by one."""
    out = np.full((tile.height_px, tile.width_px), UNKNOWN)
    for y in range(tile.height_px):
        for x in range(tile.width_px):
            east, north = tile.ground(x + 0.5, y + 0.5)
            column, row = (int(np.floor(value)) for value in grid.pixel(east, north))
            if 0 <= row < grid.height_px and 0 <= column < grid.width_px:
                out[y, x] = classes[row, column]
    return out


@settings(max_examples=25)
@given(
    size_m=st.sampled_from([10.0, 20.0, 60.0]),
    east=st.integers(-30, 30),
    south=st.integers(-30, 30),
    y=st.integers(0, 79),
    x=st.integers(0, 95),
    height=st.integers(1, 80),
    width=st.integers(1, 96),
)
def test_any_window_of_any_grid(tmp_path_factory, size_m, east, south, y, x, height, width):
    """Shifts of 3 m and multiples: never on the middle of a pixel, where rounding would decide."""
    rows, columns = round(800 / size_m), round(960 / size_m)
    where = Affine(size_m, 0, ORIGIN.c + 3 * east, 0, -size_m, ORIGIN.f - 3 * south)
    classes = RNG.integers(0, 12, (rows, columns)).astype(np.uint8)
    height, width = min(height, 80 - y), min(width, 96 - x)
    layer = layer_in(tmp_path_factory.mktemp("layer") / "scl.tif", classes, where)
    with CloudReader(layer, TILE) as reader:
        found = reader.classes(y, x, height, width)
        invalid = reader.invalid(y, x, height, width)
    expected = brute_force(classes, Grid(TILE.crs, where, columns, rows))[y : y + height, x : x + width]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(invalid, np.isin(expected, [0, 1, 3, 8, 9, 10, 11, UNKNOWN]))


def test_twenty_metres_on_ten(tmp_path):
    classes = RNG.integers(0, 12, (40, 48)).astype(np.uint8)
    layer = layer_in(tmp_path / "scl.tif", classes, Affine(20, 0, ORIGIN.c, 0, -20, ORIGIN.f))
    with CloudReader(layer, TILE) as reader:
        np.testing.assert_array_equal(reader.classes(0, 0, 80, 96), classes.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("nodata", [None, 0])
def test_another_crs(tmp_path, nodata):
    """In degrees, and not reaching the east of the tile; a class that is declared nodata hides as well."""
    size, west, north = 2e-4, 14.9995, 41.552
    classes = RNG.integers(1, 12, (60, 40)).astype(np.uint8)
    classes[20:24, 10:14] = 0
    layer = layer_in(
        tmp_path / "scl.tif", classes, Affine(size, 0, west, 0, -size, north), crs="EPSG:4326", nodata=nodata
    )
    x, y = np.meshgrid(np.arange(96) + 0.5, np.arange(80) + 0.5)
    east, north_m = TILE.ground(x.ravel(), y.ravel())
    longitude, latitude = (np.array(axis) for axis in transform(TILE.crs, "EPSG:4326", east, north_m))
    columns, rows = (longitude - west) / size, (north - latitude) / size
    inside = (columns >= 0) & (columns < 40) & (rows >= 0) & (rows < 60)
    assert 0.5 < inside.mean() < 0.95
    at = np.clip(np.floor(rows).astype(int), 0, 59), np.clip(np.floor(columns).astype(int), 0, 39)
    expected = np.where(inside, classes[at], UNKNOWN).reshape(80, 96)
    with CloudReader(layer, TILE) as reader:
        found = reader.classes(0, 0, 80, 96)
        parts = np.vstack([reader.classes(y, 0, 10, 96) for y in range(0, 80, 10)])
        invalid = reader.invalid(0, 0, 80, 96)
    if nodata is not None:
        found = np.where((expected == 0) & (found == UNKNOWN), 0, found)
    assert (found == expected).mean() > 0.999  # a middle within a rounding error of an edge may fall on either side
    np.testing.assert_array_equal(invalid, np.isin(found, [0, 1, 3, 8, 9, 10, 11, UNKNOWN]))
    if nodata is None:
        np.testing.assert_array_equal(parts, found)


@pytest.mark.parametrize("columns", [0, 20])
def test_where_the_layer_does_not_reach_nothing_is_seen(tmp_path, columns):
    where = Affine(20, 0, ORIGIN.c + 10_000 * (columns == 0), 0, -20, ORIGIN.f)
    layer = layer_in(tmp_path / "scl.tif", np.full((40, 20), 4, np.uint8), where)
    with CloudReader(layer, TILE) as reader:
        invalid = reader.invalid(0, 0, 80, 96)
    assert not invalid[:, : 2 * columns].any() and invalid[:, 2 * columns :].all()


def test_classes_as_floats(tmp_path):
    classes = np.full((80, 96), 4, np.float32)
    classes[0, :5] = np.nan, 4.5, 1e9, -np.inf, -1
    classes[1, 0] = 9
    with CloudReader(layer_in(tmp_path / "scl.tif", classes), TILE) as reader:
        invalid = reader.invalid(0, 0, 80, 96)
    assert invalid[0, :5].all() and invalid[1, 0] and invalid.sum() == 6


def test_a_mask_of_major_tom(tmp_path):
    classes = np.arange(96, dtype=np.uint8)[None].repeat(80, 0) % 5  # 4 is no class of it
    with CloudReader(layer_in(tmp_path / "cloud_mask.tif", classes, kind="mask"), TILE) as reader:
        np.testing.assert_array_equal(reader.invalid(0, 0, 80, 96), classes != 0)


def test_a_layer_that_was_changed_or_cut(tmp_path):
    layer = layer_in(tmp_path / "scl.tif", np.full((80, 96), 4, np.uint8))
    with (
        pytest.raises(TileError, match=r"scl\.tif was changed while it was being read"),
        CloudReader(CloudLayer(layer.path, 2, "scl", layer.invalid), TILE),
    ):
        pass
    write_tiff(layer.path, np.full((80, 96), 4, np.uint8), crs=None)
    with pytest.raises(TileError, match=r"was changed while it was being read"), CloudReader(layer, TILE):
        pass
    truncate(write_tiff(layer.path, np.full((80, 96), 4, np.uint8)))
    with CloudReader(layer, TILE) as reader, pytest.raises(TileError, match=r"scl\.tif cannot be read as GeoTIFF"):
        reader.classes(70, 0, 10, 96)
