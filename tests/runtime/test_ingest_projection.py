"""Places outside of a projection are told, also after GDAL fell silent about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform
from tiles import ORIGIN, UTM, optical, write_tiff

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.clouds import cloud_layer
from lsd.runtime.ingest.projection import placed, placed_bounds, projected
from lsd.runtime.merging.ground import ground_m2
from lsd.runtime.reader import TileReader
from lsd.runtime.sources.alignment import centre_deg, cropped, refuse_disjoint, tile_grid
from lsd.runtime.tiles import BandSource, Grid, Tile

WGS84, UTM_33 = CRS.from_epsg(4326), CRS.from_string(UTM)
# A gnomonic projection shows half of the Earth: this one the half without zone 33.
OTHER_SIDE = CRS.from_proj4("+proj=gnom +lat_0=-41.5 +lon_0=-165 +datum=WGS84 +units=m")
THIS_SIDE = CRS.from_proj4("+proj=gnom +lat_0=41.5 +lon_0=15 +datum=WGS84 +units=m")
SOMEWHERE = CRS.from_wkt('LOCAL_CS["somewhere",UNIT["metre",1]]')
TILE = Grid(UTM_33, ORIGIN, 128, 128)
FAR = Grid(OTHER_SIDE, Affine(10, 0, 0, 0, -10, 0), 128, 128)
UNPLACED = Grid(UTM_33, Affine(10, 0, 1e9, 0, -10, 1e12), 128, 128)
OFTEN = range(45)  # GDAL raises for twenty points of a transformation


def test_a_place_outside_is_infinite_every_time_and_the_others_are_exact():
    longitude, latitude = [15.0, -165.0, 16.0, -164.0], [41.0, -41.0, 42.0, -42.0]
    x, y = transform(WGS84, THIS_SIDE, longitude[::2], latitude[::2])
    for _ in OFTEN:
        east, north = projected(WGS84, THIS_SIDE, longitude, latitude)
        assert east.dtype == np.float64 and np.isinf(east[1::2]).all() and np.isinf(north[1::2]).all()
        np.testing.assert_array_equal([east[::2], north[::2]], [x, y])


@given(inside=st.lists(st.booleans(), max_size=40))
def test_any_mix_of_places(inside):
    east = np.where(inside, 500_000.0 + np.arange(len(inside)), 1e9)
    found, _ = projected(UTM_33, WGS84, east, np.where(inside, 4_600_000.0, 1e12))
    assert np.isfinite(found).tolist() == inside


def test_what_is_no_number_and_what_no_way_leads_to_have_no_place():
    for source, target in ((UTM_33, WGS84), (UTM_33, UTM_33)):
        east, north = projected(source, target, [np.nan, 500_000.0], [4_600_000.0, 4_600_000.0])
        assert np.isinf([east[0], north[0]]).all() and np.isfinite([east[1], north[1]]).all()
    assert np.isinf(projected(SOMEWHERE, WGS84, [0.0, 1.0], [0.0, 1.0])).all()


def test_who_needs_every_place_is_told_which_one_is_missing():
    for _ in OFTEN:
        with pytest.raises(TileError, match=r"^x\.tif: 1e\+09 1e\+12 in EPSG:32633 has no place in EPSG:4326 \(2 of 3"):
            placed("x.tif", UTM_33, WGS84, [5e5, 1e9, 1e9], [4.6e6, 1e12, 1e12])
        with pytest.raises(TileError, match=r"^x\.tif: the box 1e\+09 .* in EPSG:32633 has no place in EPSG:4326"):
            placed_bounds("x.tif", UTM_33, WGS84, (1e9, 1e12, 2e9, 2e12))
    with pytest.raises(TileError, match="no place in EPSG:4326"):
        placed_bounds("x.tif", SOMEWHERE, WGS84, (0, 0, 1, 1))


def test_boxes_are_those_of_the_outline_and_cross_the_antimeridian():
    assert placed_bounds("x", UTM_33, UTM_33, (1.0, 2.0, 3.0, 4.0)) == (1.0, 2.0, 3.0, 4.0)
    left, bottom, right, top = placed_bounds("x", WGS84, UTM_33, (14.0, 41.0, 16.0, 42.0))
    edge = np.linspace(14.0, 16.0, 22)
    _, north = transform(WGS84, UTM_33, edge, np.full(22, 42.0))
    assert top == pytest.approx(max(north), abs=1e-6) and left + right == pytest.approx(1e6) and bottom < top
    west, _, east, _ = placed_bounds("x", CRS.from_epsg(32701), WGS84, (150_000, 8_000_000, 200_000, 8_050_000))
    assert west > 170 and east < -170


def read_far(folder: Path) -> None:
    """A tile of which one band lies on the other side of the Earth."""
    path = write_tiff(folder / "far.tif", optical()[0], crs=OTHER_SIDE.to_wkt(), transform=FAR.transform)
    with TileReader(Tile("far", TILE, {"red": BandSource("red", path, 1, None)})) as reader:
        reader.read(0, 0, 64, 64)


CALLERS = {
    "reader": read_far,
    "cloud layer": lambda folder: cloud_layer(folder / "scl.tif", 1, "scl", FAR, np.full(9, 4.0), TILE),
    "overlap": lambda folder: refuse_disjoint(folder / "far.tif", UNPLACED, Grid(WGS84, ORIGIN, 1, 1)),
    "middle": lambda folder: centre_deg(folder / "far.tif", UNPLACED),
    "grid": lambda folder: tile_grid(folder / "far.tif", UNPLACED, coarse=True) and centre_deg(folder, UNPLACED),
    "bbox": lambda folder: cropped(folder / "far.tif", FAR, (14.9, 41.4, 15.1, 41.6)),
}


@pytest.mark.parametrize("call", CALLERS.values(), ids=CALLERS)
def test_whoever_places_a_tile_says_so_however_often(tmp_path, call):
    for _ in OFTEN:
        with pytest.raises(TileError, match=r"no place in|nowhere on the ground"):
            call(tmp_path)


def test_ground_of_two_sides_of_the_earth_adds_up():
    square = np.array([[0, 0, 10_000_000, 10_000_000]], np.int64)
    here = square + np.array([500_000_000, 4_600_000_000] * 2)
    for _ in OFTEN:
        assert ground_m2([(UTM_33, here), (OTHER_SIDE, square)]) == 2 * 10_000.0**2
