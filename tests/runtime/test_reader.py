"""The reader: validity, units, alignment against numpy references, and independence of how windows are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from tiles import L2A_NEW, L2A_OLD, ORIGIN, UTM, optical, radar, truncate, write_band_folder, write_tiff

from lsd.runtime.errors import TileError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import patch_batches, read_windows
from lsd.runtime.sources import tiles_of
from lsd.runtime.tiles import Tile

NAMES = ["blue", "green", "red", "nir"]


def tile_from(*paths: Path) -> Tile:
    (tile,) = tiles_of(paths)
    assert isinstance(tile, Tile), tile
    return tile


def whole(tile: Tile, **cut: int) -> np.ndarray:
    """All pixels of a tile (band, y, x), put together from the windows."""
    grid = PatchGrid(tile.grid.width_px, tile.grid.height_px)
    out = np.full((len(tile.bands), grid.height_px, grid.width_px), -1, np.float32)
    for window in read_windows(tile, grid, **cut):
        _, height, width = window.pixels.shape
        out[:, window.y_px : window.y_px + height, window.x_px : window.x_px + width] = window.pixels
    return out


def patches(tile: Tile, stride: int, rows: int, columns: int, batch: int) -> dict[tuple[int, int], np.ndarray]:
    grid = PatchGrid(tile.grid.width_px, tile.grid.height_px, stride)
    found = {}
    for window in read_windows(tile, grid, rows, columns):
        for part in patch_batches(window, grid, batch):
            assert 1 <= len(part) <= batch
            found.update({(int(r), int(c)): p for r, c, p in zip(part.rows, part.columns, part.pixels, strict=True)})
    assert set(found) == {(r, c) for r in range(grid.rows) for c in range(grid.columns)}
    return found


def bilinear(source: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear value of (y, x) at pixel-centre coordinates; weights of NaN are given to the others."""
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weight = np.zeros(x.shape), np.zeros(x.shape)
    for dy in (0, 1):
        for dx in (0, 1):
            inside = (y0 + dy >= 0) & (y0 + dy < source.shape[0]) & (x0 + dx >= 0) & (x0 + dx < source.shape[1])
            value = source[np.clip(y0 + dy, 0, source.shape[0] - 1), np.clip(x0 + dx, 0, source.shape[1] - 1)]
            w = np.abs(1 - dy - (y - y0)) * np.abs(1 - dx - (x - x0)) * (inside & ~np.isnan(value))
            total += w * np.nan_to_num(value)
            weight += w
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)


def test_same_grid_is_bit_exact_and_offset_is_added_to_positive_dn(tmp_path):
    dn = optical(low=1, high=4000)
    dn[:, 10:20, 10:20] = 0  # swath edge: nodata
    dn[0, 40, 40] = 0  # dark in one band: stays
    tile = tile_from(write_tiff(tmp_path / f"{L2A_OLD}.tif", dn, NAMES))
    expected = np.where(dn > 0, dn + 1000.0, 0).astype(np.float32)
    expected[:, 10:20, 10:20] = np.nan
    np.testing.assert_array_equal(whole(tile), expected)
    kept = tile_from(write_tiff(tmp_path / f"{L2A_NEW}.tif", optical(), NAMES))
    np.testing.assert_array_equal(whole(kept), optical().astype(np.float32))


def test_invalid_pixels_of_one_band_stay_valid_in_the_others(tmp_path):
    dn = optical().astype(np.float32)
    dn[1, 3, 3], dn[2, 4, 4], dn[3, 5, 5] = -9999, np.nan, 60000
    pixels = whole(tile_from(write_tiff(tmp_path / f"{L2A_NEW}.tif", dn, NAMES, nodata=-9999)))
    assert np.argwhere(np.isnan(pixels)).tolist() == [[1, 3, 3], [2, 4, 4], [3, 5, 5]]  # 60,000 is out of range


def test_zero_db_and_power_that_is_not_positive_are_nodata(tmp_path):
    db = radar()
    power = (10 ** (db.astype(np.float64) / 10)).astype(np.float32)
    db[0, 7, 7] = power[0, 7, 7] = 0
    from_db = whole(tile_from(write_tiff(tmp_path / "db.tif", db, ["desc_vv", "desc_vh"])))
    from_power = whole(tile_from(write_tiff(tmp_path / "p.tif", power, ["desc_vv", "desc_vh"], units=["power"] * 2)))
    assert np.argwhere(np.isnan(from_db)).tolist() == np.argwhere(np.isnan(from_power)).tolist() == [[0, 7, 7]]
    np.testing.assert_allclose(from_power, from_db, atol=1e-5)


def test_radar_of_the_tiles_pixel_size_comes_by_nearest_neighbour(tmp_path):
    db = radar(100, 100)
    db[0, 30:34, 30:34] = 0
    write_band_folder(tmp_path / L2A_NEW, {"B04": optical(150, 140)[0]})
    shifted = Affine(10, 0, 500_000 + 233, 0, -10, 4_600_000 - 146)  # 23.3 and 14.6 px
    write_band_folder(tmp_path / L2A_NEW, {"desc_vv": db[0], "desc_dvv": db[1]}, transform=shifted)
    tile = tile_from(tmp_path)
    assert any(d.subject == "desc_vv, desc_dvv" and "nearest neighbour" in d.choice for d in tile.decisions)
    y, x = np.mgrid[:150, :140]
    columns, rows = np.floor(x + 0.5 - 23.3).astype(int), np.floor(y + 0.5 - 14.6).astype(int)
    inside = (columns >= 0) & (columns < 100) & (rows >= 0) & (rows < 100)
    for got, band in zip(whole(tile)[1:], db, strict=True):
        expected = np.full(got.shape, np.nan, np.float32)
        expected[inside] = np.where(band == 0, np.nan, band)[rows[inside], columns[inside]]
        np.testing.assert_array_equal(got, expected)


def test_coarser_radar_is_bilinear_in_power_and_nan_outside(tmp_path):
    db = radar(100, 100)
    db[:, 30:34, 30:34] = 0
    db[1, 60, 60] = -999
    write_band_folder(tmp_path / L2A_NEW, {"B04": optical(150, 140)[0]})
    shifted = Affine(20, 0, 500_000 + 233, 0, -20, 4_600_000 - 146)  # 23.3 and 14.6 px of 10 m
    write_band_folder(tmp_path / L2A_NEW, {"desc_vv": db[0], "desc_vh": db[1]}, transform=shifted, nodata=-999)
    tile = tile_from(tmp_path)
    assert any(d.subject == "desc_vv, desc_vh" and "linear power" in d.choice for d in tile.decisions)
    pixels = whole(tile)[1:]
    y, x = np.mgrid[:150, :140].astype(np.float64)
    for got, band in zip(pixels, db, strict=True):
        power = np.where((band == 0) | (band == -999), np.nan, 10 ** (band.astype(np.float64) / 10))
        expected = 10 * np.log10(bilinear(power, (x + 0.5 - 23.3) / 2 - 0.5, (y + 0.5 - 14.6) / 2 - 0.5))
        both = ~np.isnan(got) & ~np.isnan(expected)
        np.testing.assert_allclose(got[both], expected[both], atol=2e-5)
        inside = (x > 24.8) & (y > 16.1)
        assert not (np.isnan(expected) & ~np.isnan(got)).any()
        assert (np.isnan(got) == np.isnan(expected))[inside].mean() > 0.995  # GDAL drops light corners at holes
        assert np.isnan(got[:, :22]).all()


def test_resampling_of_a_band_does_not_depend_on_holes_of_another(tmp_path):
    shifted = Affine(10, 0, 500_003, 0, -10, 4_599_996)
    found = []
    for place, holes in (("one", [1]), ("both", [0, 1])):
        db = radar(100, 100)
        db[holes, 40:43, 50] = np.nan
        folder = write_band_folder(tmp_path / place / L2A_NEW, {"B04": optical(100, 100)[0]})
        write_band_folder(folder, {"desc_vv": db[0], "desc_vh": db[1]}, transform=shifted)
        found.append(whole(tile_from(folder))[2])
    np.testing.assert_array_equal(*found)


def test_blocks_join_as_one_warp_of_the_whole_file(tmp_path):
    """A finer source that covers part of a wide tile: same as GDAL in one piece, whatever the windows."""
    finer = Affine(7, 0, 500_500, 0, -7, 4_599_700)
    band = np.random.default_rng(2).normal(0, 2, (150, 900)).astype(np.float32)
    write_tiff(tmp_path / L2A_NEW / "B04.tif", optical(130, 700)[0])
    path = write_tiff(tmp_path / L2A_NEW / "desc_dvv.tif", band, transform=finer, nodata=np.nan)
    tile = tile_from(tmp_path)
    options = {"XSCALE": "0.7", "YSCALE": "0.7", "resampling": Resampling.bilinear, "tolerance": 1e-9}
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(dataset, crs=UTM, transform=ORIGIN, width=700, height=130, **options) as warped,
    ):
        expected = warped.read(1)
    for columns in (1, 3, 64):
        np.testing.assert_allclose(whole(tile, columns_per_window=columns)[1], expected, atol=1e-5)
    np.testing.assert_array_equal(whole(tile, columns_per_window=3), whole(tile, rows_per_window=2))


def test_nodata_does_not_bleed_into_resampled_optical(tmp_path):
    dn = np.full((4, 100, 100), 2000, np.uint16)
    dn[:, :, :50] = 0
    for name, band in zip(("B03", "B02", "B08"), dn, strict=False):
        write_tiff(tmp_path / L2A_OLD / f"{name}.tif", band, transform=Affine(10, 0, 500_004, 0, -10, 4_599_996))
    write_tiff(tmp_path / L2A_OLD / "B04.tif", np.full((100, 100), 700, np.uint16))
    pixels = whole(tile_from(tmp_path))
    assert np.unique(pixels[1][~np.isnan(pixels[1])]).tolist() == [3000]
    assert np.isnan(pixels[1, :, :49]).all()


def test_reprojected_pixels_lie_at_the_right_place(tmp_path):
    """A plane in longitude and latitude, stored in degrees, comes out as that plane on the UTM grid."""
    height, width = 200, 220
    t = Affine(1.2e-4, 0, 15.5, 0, -9.2e-5, 41.0)  # coarser than 10 m: GDAL averages nothing, bilinear is exact
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    plane = (2000 + 4 * columns + 3 * rows).astype(np.float32)
    path = write_tiff(tmp_path / f"{L2A_NEW}.tif", plane[None], ["red"], crs="EPSG:4326", transform=t)
    tile = tile_from(path)
    pixels = whole(tile)[0]
    x, y = np.meshgrid(np.arange(tile.grid.width_px) + 0.5, np.arange(tile.grid.height_px) + 0.5)
    east, north = tile.grid.ground(x.ravel(), y.ravel())
    lon, lat = (np.asarray(axis).reshape(x.shape) for axis in transform(tile.grid.crs, "EPSG:4326", east, north))
    source_x, source_y = (lon - t.c) / t.a, (lat - t.f) / t.e
    inner = (source_x > 2) & (source_x < width - 2) & (source_y > 2) & (source_y < height - 2)
    np.testing.assert_allclose(pixels[inner], (2000 + 4 * source_x + 3 * source_y)[inner], atol=0.01)
    assert np.isnan(pixels[(source_x < -1) | (source_y < -1) | (source_x > width + 1)]).all()


@pytest.fixture(scope="module")
def mixed_tile(tmp_path_factory) -> Tile:
    """230 x 210 px: optical on the tile's grid, one band of it shifted, radar in degrees."""
    folder = tmp_path_factory.mktemp("mixed") / L2A_NEW
    dn = optical(210, 230)
    write_band_folder(folder, {"B04": dn[0], "B03": dn[1], "B02": dn[2]})
    write_tiff(folder / "B08.tif", dn[3], transform=Affine(10, 0, 500_003, 0, -10, 4_600_007))
    degrees = Affine(1.1e-4, 0, 15.001, 0, -9.2e-5, 41.5504)
    write_band_folder(
        folder, {"desc_vv": radar(220, 240)[0], "desc_vh": radar(220, 240)[1]}, crs="EPSG:4326", transform=degrees
    )
    tile = tile_from(folder)
    assert not np.isnan(whole(tile)).all(axis=(1, 2)).any()  # every band covers part of the tile
    return tile


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stride=st.sampled_from([64, 50, 33]),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    batch=st.integers(1, 40),
)
def test_patches_do_not_depend_on_windows_or_batches(mixed_tile, stride, rows, columns, batch):
    reference = patches(mixed_tile, stride, 100, 100, 1000)
    found = patches(mixed_tile, stride, rows, columns, batch)
    for cell, pixels in reference.items():
        np.testing.assert_array_equal(found[cell], pixels)


def test_patches_are_cut_where_the_grid_says(mixed_tile):
    pixels, grid = whole(mixed_tile), PatchGrid(230, 210)
    for (row, column), patch in patches(mixed_tile, 64, 2, 3, 5).items():
        y, x = grid.y_px(row), grid.x_px(column)
        np.testing.assert_array_equal(patch, pixels[:, y : y + 64, x : x + 64])


def test_file_cut_short_after_assembly_is_a_tile_error_that_names_it(tmp_path):
    path = write_tiff(tmp_path / f"{L2A_NEW}.tif", optical(300, 300), NAMES)
    tile = tile_from(path)
    truncate(path)
    with pytest.raises(TileError, match=rf"{L2A_NEW}\.tif.*is the file complete") as caught:
        whole(tile)
    assert "\n" not in str(caught.value)


def test_patch_grid_of_another_size_is_a_bug_of_the_caller(tmp_path):
    tile = tile_from(write_tiff(tmp_path / f"{L2A_NEW}.tif", optical(), NAMES, crs=UTM, transform=ORIGIN))
    with pytest.raises(ValueError, match="96 x 80"):
        next(read_windows(tile, PatchGrid(80, 96)))


def test_memory_of_a_window_does_not_grow_with_the_tile(tmp_path):
    tile = tile_from(write_tiff(tmp_path / f"{L2A_NEW}.tif", optical(640, 1280), NAMES))
    shapes = [window.pixels.shape for window in read_windows(tile, PatchGrid(1280, 640), 1, 4)]
    assert set(shapes) == {(4, 64, 256)}
