"""Tiles on common ground are one group, which folds must not split."""

from __future__ import annotations

import numpy as np
from affine import Affine
from labelled_tiles import (
    write_tile,
)
from rasterio.crs import CRS
from rasterio.warp import transform
from tiles import L2A_NEW, UTM, write_tiff

from lsd.runtime.tiles import Grid
from lsd.train.datasets.raster_labels import RasterLabels
from lsd.train.datasets.shared_ground import groups_of_tiles
from lsd.train.datasets.tiles import tile_dataset


def test_tiles_on_common_ground_are_one_group(tmp_path):
    names = ["a_west", "b_middle", "c_east", "d_apart", "e_zone"]
    mask = np.zeros((128, 1000), np.uint8)
    mask[5:25, 5:25] = mask[5:25, 350:380] = mask[5:25, 600:640] = 1
    folder = tmp_path / "tiles"
    for name, at in zip(names, [0, 120, 248, 400, 600], strict=False):  # the third begins where the second ends
        write_tile(folder / name, f"{L2A_NEW}_{name}", at=(at, 0), height=128, width=128)
    found = tile_dataset(folder, RasterLabels(write_tiff(tmp_path / "m.tif", mask)))
    group_of = {name[len(L2A_NEW) + 1 : -10]: group for name, group in zip(found.ids, found.groups, strict=True)}
    first = f"{L2A_NEW}_a_west"
    assert group_of["a_west"] == group_of["b_middle"] == first
    assert group_of["c_east"] == f"{L2A_NEW}_c_east" and group_of["d_apart"] == f"{L2A_NEW}_d_apart"


def grid(west, north, width=100, height=100, crs=UTM):
    return Grid(CRS.from_string(crs), Affine(10, 0, west, 0, -10, north), width, height)


def test_overlap_is_found_through_others_in_other_crs_and_across_the_antimeridian():
    chain = [grid(500_000, 4_600_000), grid(501_800, 4_600_000), grid(500_900, 4_600_000), grid(505_000, 4_600_000)]
    assert groups_of_tiles("abcd", chain) == ("a", "a", "a", "d")
    edge = [grid(500_000, 4_600_000), grid(501_000, 4_600_000), grid(500_000, 4_599_000), grid(499_010, 4_600_990)]
    assert groups_of_tiles("abcd", edge) == ("a", "b", "c", "d")  # edges, and one pixel of a corner
    (east,), (north,) = transform(CRS.from_string(UTM), CRS.from_string("EPSG:32632"), [500_500], [4_599_500])
    zones = [grid(500_000, 4_600_000), grid(east, north, crs="EPSG:32632"), grid(east + 5000, north, crs="EPSG:32632")]
    assert groups_of_tiles("abc", zones) == ("a", "a", "c")
    (east,), (north,) = transform(CRS.from_epsg(4326), CRS.from_string("EPSG:32701"), [-179.999], [-17.0])
    (far,), (same,) = transform(CRS.from_epsg(4326), CRS.from_string("EPSG:32760"), [179.999], [-17.0])
    fiji = [grid(east - 600, north, crs="EPSG:32701"), grid(far, same, crs="EPSG:32760"), grid(far - 9000, same)]
    assert groups_of_tiles("ab", fiji[:2]) == ("a", "a")
