"""A cloud layer belongs to the optical bands by its outline, and holds classes of its kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from tiles import ORIGIN, UTM

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.clouds import INVALID, cloud_layer
from lsd.runtime.tiles import Grid

OPTICAL = Grid(CRS.from_string(UTM), ORIGIN, 192, 128)
PATH = Path("x_SCL.jp2")


def grid(size_m: float, width: int, height: int, east: float = 0.0, south: float = 0.0) -> Grid:
    return Grid(OPTICAL.crs, Affine(size_m, 0, ORIGIN.c + east, 0, -size_m, ORIGIN.f - south), width, height)


def degrees(margin: float, size: float = 2e-4) -> Grid:
    """A grid in degrees that reaches `margin` pixels beyond the optical bands on every side."""
    west, south, east, north = transform_bounds(OPTICAL.crs, "EPSG:4326", 500_000, 4_598_720, 501_920, 4_600_000)
    west, south, east, north = west - margin * size, south - margin * size, east + margin * size, north + margin * size
    width, height = round((east - west) / size), round((north - south) / size)
    return Grid(
        CRS.from_epsg(4326), Affine((east - west) / width, 0, west, 0, (south - north) / height, north), width, height
    )


def layer(where: Grid, values=(4.0, 9.0), kind="scl"):
    return cloud_layer(PATH, 1, kind, where, np.array(values), OPTICAL)


@pytest.mark.parametrize(
    "where",
    [
        OPTICAL,
        grid(20, 96, 64),
        grid(60, 32, 22),  # 1,320 m for 1,280: to the next whole pixel
        grid(60, 33, 22),
        grid(20, 96, 64, 10, -10),
        degrees(0.0),
        degrees(40.0),  # another CRS cannot have the same outline
    ],
)
def test_ordinary_sizes(where):
    found, decision = layer(where)
    assert (found.path, found.index, found.kind, found.trusted) == (PATH, 1, "scl", True)
    assert decision.choice == "masked by the SCL layer x_SCL.jp2" and "50% of its sampled pixels" in decision.reason


@pytest.mark.parametrize(
    "where",
    [
        grid(20, 96, 32),
        grid(20, 48, 64),
        grid(20, 100, 64),
        grid(10, 96, 64),
        grid(20, 96, 64, 40),
        grid(20, 96, 64, 0, -40),
        degrees(-4.0),
        Grid(CRS.from_epsg(4326), Affine(2e-4, 0, 16.0, 0, -2e-4, 41.6), 96, 64),
    ],
)
def test_another_size_or_place_is_refused(where):
    with pytest.raises(TileError) as caught:
        layer(where)
    says = str(caught.value)
    assert f"({where.width_px} x {where.height_px} px), the optical bands" in says and "(192 x 128 px)" in says
    assert says.endswith("it belongs to another scene or was cut; fetch the layer of this product, or remove it")
    assert "\n" not in says


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("scl", [4, 12], "no scl layer: classes 0..11 expected, found 12"),
        ("scl", [4, 255], "found 255"),
        ("scl", [0.25, 4], "found 0.25"),
        ("mask", [0, 4], "no mask layer: classes 0..3 expected, found 4"),
        ("mask", [-1, 0], "found -1"),
    ],
)
def test_values_that_are_no_classes(kind, values, says):
    with pytest.raises(TileError, match=says):
        layer(OPTICAL, values, kind)


def test_what_hides_the_ground():
    assert set(range(12)) - set(INVALID["scl"]) == {2, 4, 5, 6, 7} and INVALID["mask"] == (1, 2, 3)
    found, decision = layer(OPTICAL, [0, 0, 1, np.nan], "mask")
    assert found.invalid == (1, 2, 3) and "33% of its sampled pixels" in decision.reason
    assert "100%" in layer(OPTICAL, [np.nan, np.nan])[1].reason
