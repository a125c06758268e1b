"""OPERA RTC-S1: 30 m, so only if the user insists; differences only, without layover and shadow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from tiles import write_tiff

from lsd.runtime.errors import TileError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import read_windows
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.tiles import Tile

BEFORE = "OPERA_L2_RTC-S1_T069-147170-IW1_20240325T100000Z_20240325T180000Z_S1A_30_v1.0"
AFTER = "OPERA_L2_RTC-S1_T069-147170-IW1_20240406T100000Z_20240406T180000Z_S1A_30_v1.0"
THIRTY_METRES = Affine(30, 0, 300_000, 0, -30, 2_670_000)
UTM = "EPSG:32651"  # eastern Taiwan, where 10 h UTC is 18 h local solar time: ascending
CHANGE_DB = 3.0


def write_burst(folder: Path, name: str, level: float, mask: np.ndarray) -> None:
    for channel, share in (("VV", 1.0), ("VH", 0.2)):
        power = np.full(mask.shape, level * share, np.float32)
        write_tiff(folder / name / f"{name}_{channel}.tif", power, crs=UTM, transform=THIRTY_METRES)
    write_tiff(folder / name / f"{name}_mask.tif", mask, crs=UTM, transform=THIRTY_METRES, nodata=255)


@pytest.fixture
def event(tmp_path: Path) -> Path:
    mask = np.zeros((64, 72), np.uint8)
    mask[20:30, 10:20] = 2
    write_burst(tmp_path, BEFORE, 0.1, np.zeros_like(mask))
    write_burst(tmp_path, AFTER, 0.1 * 10 ** (CHANGE_DB / 10), mask)
    file = tmp_path / "burst.tile.json"
    file.write_text(json.dumps({"schema_version": 1, "event_time": "2024-04-02T23:58:00Z", "radar": [BEFORE, AFTER]}))
    return file


def test_thirty_metres_are_refused_unless_forced(event):
    (failure,) = tiles_of([event])
    assert isinstance(failure, TileFailure) and isinstance(failure.error, TileError)
    assert "30 m" in str(failure.error) and "--force-coarse-radar" in str(failure.error)


def test_differences_without_layover_and_shadow(event):
    (tile,) = tiles_of([event], SourceOptions(force_coarse_radar=True))
    assert isinstance(tile, Tile), tile
    assert list(tile.bands) == ["asc_dvv", "asc_dvh"]
    assert tile.grid.is_ten_metre and (tile.grid.width_px, tile.grid.height_px) == (216, 192)
    assert [(scene.role, scene.relative_orbit) for scene in tile.scenes] == [("post", 69), ("pre", 69)]
    (window,) = read_windows(tile, PatchGrid(216, 192), rows_per_window=9)
    np.testing.assert_allclose(window.pixels[:, 120:, 100:190], CHANGE_DB, atol=1e-4)
    assert np.isnan(window.pixels[:, 62:88, 32:58]).all()  # the masked ground, a pixel of resampling left out
    assert not np.isnan(window.pixels[:, 93:, :]).any()


def test_a_mask_of_another_size_is_refused(event):
    path = event.parent / AFTER / f"{AFTER}_mask.tif"
    path.unlink()
    write_tiff(path, np.zeros((10, 10), np.uint8), crs=UTM, transform=THIRTY_METRES)
    (failure,) = tiles_of([event], SourceOptions(force_coarse_radar=True))
    assert isinstance(failure, TileFailure) and "should lie on the grid of" in str(failure.error)
