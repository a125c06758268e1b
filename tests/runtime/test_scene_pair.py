"""Two radar scenes of a track and an optical scene become a map with the slides where they were planted.

The reference bundle has seen the planted rows in training (it is fitted on all rows), so the share found here is no
measure of accuracy: benchmarks/faults.py measures with rows held out. What is tested is the way from files to a map:
pairing, alignment of another grid, resampling in power, differences, place.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import invoke
from rasterio.crs import CRS
from rasterio.warp import transform
from scene_pair import SHIFTED_PX, Event, build_event

from lsd.runtime.bands import PATCH_GSD_M, PATCH_SIZE_PX
from lsd.runtime.cli.run import main
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import read_windows
from lsd.runtime.sources import tiles_of
from lsd.runtime.tiles import Tile

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="the tile file is TOML: Python 3.11 and later")
REFERENCE = Path(__file__).resolve().parents[2] / "bundles" / "reference"
HALF_PIXEL_M = PATCH_GSD_M / 2


CASES = {  # orbit, unit, shift of the radar's grid, share of the slides to be found
    "descending, one grid": ("descending", None, (0.0, 0.0), 0.85),
    "ascending, shifted": ("ascending", None, SHIFTED_PX, 0.85),
    "descending, power, shifted": ("descending", "power", SHIFTED_PX, 0.85),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request) -> tuple:
    return request.param


@pytest.fixture(scope="module")
def event(case, shared_data, tmp_path_factory) -> Event:
    orbit, unit, shift, _ = case
    table = shared_data / "zindi-landslide" / "features.csv.gz"
    return build_event(tmp_path_factory.mktemp("event"), table, (orbit,), slides=14, radar_unit=unit, shift_px=shift)


@pytest.fixture(scope="module")
def found(event, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("products")
    done = invoke(main, REFERENCE, event.tile_file, "-o", out, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    (tile,) = summary["tiles"]
    detections = json.loads((out / "simulated-event" / "detections.geojson").read_text(encoding="utf-8"))
    return {"tile": tile, "features": detections["features"]}


def utm(ring: list[list[float]]) -> np.ndarray:
    longitude, latitude = np.array(ring).T
    return np.array(transform(CRS.from_epsg(4326), CRS.from_epsg(32633), longitude, latitude)).T


def test_slides_are_found_where_they_were_planted(case, event, found):
    orbit = case[0].removesuffix("ending")
    assert found["tile"]["configurations"] == {f"optical+{orbit}_pair": event.shape[0] * event.shape[1]}
    called = {(one["properties"]["row"], one["properties"]["column"]) for one in found["features"]}
    called -= {event.point_cell}
    assert len(called & event.slides) >= case[3] * len(event.slides)
    assert len(called - event.slides) <= 2


def test_a_detection_lies_on_its_patch_to_half_a_pixel(event, found):
    for one in found["features"]:
        corners = utm(one["geometry"]["coordinates"][0])
        west, south, east, north = event.outline(one["properties"]["row"], one["properties"]["column"])
        for corner in ((west, north), (west, south), (east, south), (east, north)):
            assert np.hypot(*(corners - corner).T).min() < HALF_PIXEL_M


def test_the_products_say_before_and_after(event, found):
    properties = found["features"][0]["properties"]
    assert properties["time_pre"] < properties["event_time"] < properties["time_post"]
    assert len(properties["source_ids"]) == 3


def test_a_bright_point_lies_in_the_aligned_difference_where_it_is_on_the_ground(event):
    (tile,) = tiles_of([event.tile_file])
    assert isinstance(tile, Tile)
    row, column = event.point_cell
    for window in read_windows(tile, PatchGrid(tile.grid.width_px, tile.grid.height_px)):
        if row not in window.rows:
            continue
        first = column * PATCH_SIZE_PX - window.x_px
        for band in [name for name in window.bands if name.endswith(("_dvv", "_dvh"))]:
            change = window.pixels[window.bands.index(band), :, first : first + PATCH_SIZE_PX].astype(np.float64)
            y, x = np.unravel_index(np.nanargmax(_smooth(change)), change.shape)
            power = 10 ** (change[y - 4 : y + 5, x - 4 : x + 5] / 10)
            power = np.clip(power - np.median(power), 0, None)
            rows, columns = np.mgrid[y - 4 : y + 5, x - 4 : x + 5]
            centre = [(power * axis).sum() / power.sum() + 0.5 for axis in (columns + first + window.x_px, rows)]
            east, north = tile.grid.ground(centre[0], centre[1] + window.y_px)
            assert np.hypot(east - event.point_m[0], north - event.point_m[1]) < HALF_PIXEL_M, band
        return
    pytest.fail("no window holds the bright point")


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over 3 x 3 pixels: the point is wider than speckle."""
    padded = np.pad(values, 1, mode="edge")
    return sum(padded[i : i + 64, j : j + 64] for i in range(3) for j in range(3)) / 9


def test_grounds_without_slides_are_not_called(event, found):
    assert found["tile"]["counts"]["no_slide"] >= 0.5 * event.shape[0] * event.shape[1]
    assert found["tile"]["counts"]["not_scored"] == 0
