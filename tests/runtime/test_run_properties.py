"""What a run promises whatever the tile: same bytes however it is cut, no strip unseen, products at the right place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform
from rio_cogeo.cogeo import cog_validate
from single_run import fixed, products, run_once
from tiles import L2A_NEW, ORIGIN, optical, radar, write_band_folder, write_tiff

from bundles import random_bundle, step_bundle, write
from lsd.runtime.chain import Chain
from lsd.runtime.cli.run import main
from lsd.runtime.patches import PatchGrid
from lsd.runtime.run import RunPlan
from lsd.runtime.scoring import ScoringOptions, score_tile
from lsd.runtime.sources import tiles_of
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.stream.events import TileEnded

BANDS = ("B04", "B03", "B02", "B08")
SCORES = ("probability", "decision", "configuration", "valid_fraction", "status")
CHAIN = Chain(random_bundle())
BUNDLE = random_bundle()


def run(source: Path, out: Path, chain: Chain = CHAIN, **options: int) -> dict[str, bytes]:
    """Products of the tiles below `source`, by relative path."""
    told = run_once([source], out, fixed(BUNDLE, chain), RunPlan(scoring=ScoringOptions(**options)))
    results = [event.result for event in told if isinstance(event, TileEnded)]
    assert results and all(result.status == "done" for result in results), results
    return products(out)


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 12 bands, 200 x 150 px: holes of nodata, one radar pair in degrees that ends inside the tile."""
    source = tmp_path_factory.mktemp("hard")
    folder = source / L2A_NEW
    dn = optical(150, 200)
    dn[:, 20:60, 90:140] = 0
    dn[1, 100:110] = 0
    db = radar(150, 200, seed=2)
    db[0, 140:, :30] = 0
    write_band_folder(folder, dict(zip(BANDS, dn, strict=True)))
    for name in ("desc_dvv", "desc_dvh", "asc_vv", "asc_vh", "asc_dvv", "asc_dvh"):
        write_band_folder(folder, {name: db[0]}, nodata=0)
    degrees = Affine(1.1e-4, 0, 14.9995, 0, -9.2e-5, 41.5504)
    for name, band in zip(("desc_vv", "desc_vh"), radar(170, 190), strict=True):
        write_band_folder(folder, {name: band}, crs="EPSG:4326", transform=degrees)
    return source


@pytest.fixture(scope="module")
def expected(hard: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, bytes]]:
    """Stride -> products, everything read and scored at once."""
    out = tmp_path_factory.mktemp("expected")
    cut = {"batch_size": 4096, "window_rows": 100, "window_columns": 100}
    return {stride: run(hard, out / str(stride), stride_px=stride, **cut) for stride in (64, 41)}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stride=st.sampled_from([64, 41]),
    window_rows=st.integers(1, 5),
    window_columns=st.integers(1, 5),
    batch_size=st.integers(1, 30),
)
def test_products_do_not_depend_on_windows_or_batches(
    hard, expected, tmp_path_factory, stride, window_rows, window_columns, batch_size
):
    out = tmp_path_factory.mktemp("cut") / "out"
    cut = {"batch_size": batch_size, "window_rows": window_rows, "window_columns": window_columns}
    assert run(hard, out, stride_px=stride, **cut) == expected[stride]


def test_the_hard_tile_is_hard(expected):
    """Both configurations answer in it, and there are patches that none answers."""
    with rasterio.MemoryFile(expected[41][f"{L2A_NEW}/scores.tif"]) as memory, memory.open() as scores:
        assert set(np.unique(scores.read(4))) == {0, 1, 2}
        assert set(np.unique(scores.read(5))) == {0, 1}


@pytest.mark.parametrize("stride", [32, 16])
def test_a_smaller_stride_adds_patches_and_changes_none(hard, stride):
    (tile,) = tiles_of([hard])

    def answers(stride_px: int) -> dict[tuple[int, int], tuple[float, ...]]:
        scores, _ = score_tile(tile, CHAIN, ScoringOptions(stride_px), Stopwatch())
        grid = scores.grid
        return {
            (grid.y_px(row), grid.x_px(column)): tuple(float(getattr(scores, name)[row, column]) for name in SCORES)
            for row in range(grid.rows)
            for column in range(grid.columns)
        }

    few, many = answers(64), answers(stride)
    assert set(few) < set(many)
    for place, answer in few.items():
        np.testing.assert_array_equal(many[place], answer)


@given(width_px=st.integers(64, 400), height_px=st.integers(64, 400), stride_px=st.integers(1, 64))
def test_every_pixel_lies_in_a_patch_and_every_patch_in_the_tile(width_px, height_px, stride_px):
    grid = PatchGrid(width_px, height_px, stride_px)
    for count, start_px, size_px in ((grid.columns, grid.x_px, width_px), (grid.rows, grid.y_px, height_px)):
        starts = [start_px(i) for i in range(count)]
        assert starts[0] == 0 and starts[-1] + 64 == size_px
        assert all(0 < after - before <= 64 for before, after in zip(starts, starts[1:], strict=False))


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that calls every patch a slide."""
    return write(step_bundle("red_mean", 0.0), tmp_path_factory.mktemp("bundles") / "everywhere")


@pytest.mark.parametrize("stride", [64, 24])
@pytest.mark.parametrize(("epsg", "east", "north"), [(32633, 500_000, 4_600_000), (32760, 300_004, 5_000_007)])
def test_products_lie_where_the_patches_lie(everywhere, tmp_path, epsg, east, north, stride):
    """Corners of the polygons, brought back to the tile's CRS, are the corners of the patches to 1 cm; the middles of
    the pixels of the score grid lie inside; shifted patches are flagged in both."""
    place = Affine(10, 0, east, 0, -10, north)
    write_tiff(
        tmp_path / "in" / f"{L2A_NEW}.tif",
        optical(150, 200),
        ["red", "green", "blue", "nir"],
        crs=f"EPSG:{epsg}",
        transform=place,
    )
    main(
        [str(everywhere), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--stride", str(stride), "-qq"],
        standalone_mode=False,
    )
    folder = tmp_path / "out" / L2A_NEW
    grid = PatchGrid(200, 150, stride)
    features = json.loads((folder / "detections.geojson").read_text())["features"]
    assert len(features) == grid.rows * grid.columns
    valid, errors, warnings = cog_validate(folder / "scores.tif", strict=True, quiet=True)
    assert valid and not errors and not warnings
    with rasterio.open(folder / "scores.tif") as scores:
        shifted, lie = scores.read(6), scores.transform
        assert scores.crs.to_epsg() == epsg and scores.shape == (grid.rows, grid.columns)
    for feature in features:
        row, column = feature["properties"]["row"], feature["properties"]["column"]
        x, y = grid.x_px(column), grid.y_px(row)
        (ring,) = feature["geometry"]["coordinates"]
        found = transform("EPSG:4326", f"EPSG:{epsg}", *np.transpose(ring))
        left, top, right, bottom = east + 10 * x, north - 10 * y, east + 10 * (x + 64), north - 10 * (y + 64)
        corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
        np.testing.assert_allclose(np.transpose(found), corners, rtol=0, atol=0.01)
        is_shifted = (x, y) != (column * stride, row * stride)
        assert feature["properties"]["shifted"] == is_shifted == bool(shifted[row, column])
        if not is_shifted:
            middle = lie.c + lie.a * (column + 0.5), lie.f + lie.e * (row + 0.5)
            assert middle == ((left + right) / 2, (top + bottom) / 2)


def planted_at(x_px: int, y_px: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top in the tile's CRS of the patch that begins at this pixel."""
    left, top = ORIGIN.c + 10 * x_px, ORIGIN.f - 10 * y_px
    return left, top - 640, left + 640, top


@pytest.mark.parametrize("delivered", ["on the grid", "in degrees", "8 m, shifted"])
def test_an_anomaly_is_found_where_it_was_planted(tmp_path, delivered):
    """One patch of bright near infrared, in a band that may come on another grid: that patch is called, no other.

    The bright square is 16 m larger on each side, so that only its own patch is bright throughout after resampling; a
    displacement of two pixels would leave none.
    """
    left, bottom, right, top = planted_at(64, 128)
    lies = {
        "on the grid": ("EPSG:32633", ORIGIN, 300),
        "in degrees": ("EPSG:4326", Affine(1.1e-4, 0, 14.9971, 0, -8.8e-5, 41.5531), 420),
        "8 m, shifted": ("EPSG:32633", Affine(8, 0, 499_913, 0, -8, 4_600_071), 420),
    }
    crs, lie, size_px = lies[delivered]
    columns, rows = np.meshgrid(np.arange(size_px) + 0.5, np.arange(size_px) + 0.5)
    x, y = lie.c + lie.a * columns.ravel(), lie.f + lie.e * rows.ravel()
    east, north = (np.reshape(axis, columns.shape) for axis in transform(crs, "EPSG:32633", x, y))
    nir = np.full(columns.shape, 2000, np.uint16)
    inside = (east > left - 16) & (east < right + 16) & (north > bottom - 16) & (north < top + 16)
    nir[inside] = 6000
    folder = tmp_path / "in" / L2A_NEW
    write_band_folder(folder, dict(zip(BANDS[:3], optical(300, 300), strict=False)))
    write_band_folder(folder, {"B08": nir}, crs=crs, transform=lie)

    bundle = write(step_bundle("nir_min", 5900), tmp_path / "bundle")
    main([str(bundle), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-qq"], standalone_mode=False)
    products = tmp_path / "out" / L2A_NEW
    (feature,) = json.loads((products / "detections.geojson").read_text())["features"]
    (ring,) = feature["geometry"]["coordinates"]
    found = np.transpose(transform("EPSG:4326", "EPSG:32633", *np.transpose(ring)))
    np.testing.assert_allclose([*found.min(axis=0), *found.max(axis=0)], [left, bottom, right, top], rtol=0, atol=0.01)
    with rasterio.open(products / "scores.tif") as scores:
        assert np.argwhere(scores.read(2) == 1).tolist() == [[2, 1]]
        assert list(scores.index((left + right) / 2, (bottom + top) / 2)) == [2, 1]
