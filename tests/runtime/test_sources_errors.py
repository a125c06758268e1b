"""Every bad tile is a failure with one clear line, and the good tile after it is read."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from tiles import L2A_NEW, optical, radar, truncate, write_band_folder, write_tiff

from lsd.runtime.errors import BandError, SourceError, TileError, UnprovenUnitError
from lsd.runtime.sources import TileFailure, tiles_of
from lsd.runtime.tiles import Tile

NAMES = ["red", "green", "blue", "nir"]
GCPS = [GroundControlPoint(r, c, 15 + c / 1000, 41 - r / 1000) for r in (0, 79) for c in (0, 95)]
FAR = Affine(10, 0, 700_000, 0, -10, 4_600_000)


def bad_no_crs(folder):
    write_tiff(folder / "x.tif", optical(), NAMES, crs=None)


def bad_grd(folder):
    write_tiff(folder / "x.tif", optical()[:2], ["desc_vv", "desc_vh"], gcps=GCPS)


def bad_disjoint(folder):
    write_band_folder(folder, {"B04": optical()[0]})
    write_band_folder(folder, {"desc_vv": radar()[0]}, transform=FAR)


def bad_truncated(folder):
    truncate(write_tiff(folder / "x.tif", optical(), NAMES))


def bad_garbage(folder):
    folder.mkdir(parents=True)
    (folder / "x.tif").write_bytes(b"not a TIFF")


def bad_resolution(folder):
    write_tiff(folder / "x.tif", optical(), NAMES, transform=Affine(20, 0, 500_000, 0, -20, 4_600_000))


def bad_rotation(folder):
    write_tiff(folder / "x.tif", optical(), NAMES, transform=Affine(10, 1, 500_000, 1, -10, 4_600_000))


def bad_web_mercator(folder):
    write_tiff(folder / "x.tif", optical(), NAMES, crs="EPSG:3857")


def bad_place(folder):
    write_tiff(folder / "x.tif", radar(), ["VV", "VH"], transform=Affine(10, 0, 5e8, 0, -10, 4e9))


def bad_duplicate(folder):
    write_tiff(folder / "x.tif", optical(), ["red", "green", "blue", "B04"])


def bad_unknown(folder):
    write_tiff(folder / "x.tif", optical(), ["red", "green", "blue", "nirr"])


def bad_unnamed(folder):
    write_tiff(folder / "x.tif", optical())


def bad_file_name(folder):
    write_band_folder(folder, {"B04": optical()[0], "labels": optical()[1]})


def bad_level_1c(folder):
    write_tiff(folder / "x.tif", optical(), ["B04", "B03", "B02", "B10"])


def bad_nothing_valid(folder):
    write_tiff(folder / "x.tif", np.zeros((4, 300, 300), np.uint16), NAMES)


def bad_float(folder):
    write_tiff(folder / "x.tif", optical().astype(np.float32) / 10000, NAMES)


def bad_power(folder):
    write_tiff(folder / "x.tif", 10 ** (radar() / 10), ["desc_vv", "desc_vh"])


def bad_json(folder):
    write_band_folder(folder, {"B04": optical()[0]})
    (folder / "metadata.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "error", "says"),
    [
        (bad_no_crs, TileError, "no CRS"),
        (bad_grd, TileError, "calibrate"),
        (bad_disjoint, TileError, "does not overlap"),
        (bad_truncated, TileError, "is the file complete"),
        (bad_garbage, TileError, "x.tif"),
        (bad_resolution, TileError, "gdalwarp -t_srs EPSG:32633 -tr 10 10"),
        (bad_rotation, TileError, "rotation"),
        (bad_web_mercator, TileError, "EPSG:3857"),
        (bad_place, TileError, "nowhere on the ground"),
        (bad_duplicate, BandError, "given twice"),
        (bad_unknown, BandError, "did you mean 'nir'"),
        (bad_unnamed, BandError, "no name for band 1, 2, 3, 4"),
        (bad_file_name, BandError, "labels.tif"),
        (bad_level_1c, TileError, "Level-1C"),
        (bad_nothing_valid, TileError, "no valid pixel"),
        (bad_float, UnprovenUnitError, "x 10,000 + 1,000"),
        (bad_power, UnprovenUnitError, "10 log10"),
        (bad_json, SourceError, "metadata.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_tile_fails_alone(tmp_path, write, error, says):
    write(tmp_path / "a" / L2A_NEW)
    write_band_folder(tmp_path / "b" / L2A_NEW.replace("T33NZA", "T33NZB"), {"B04": optical()[0]})
    found = list(tiles_of([tmp_path]))
    (failure,) = (one for one in found if isinstance(one, TileFailure))
    assert isinstance(failure.error, error)
    assert says in str(failure.error)
    assert "\n" not in str(failure.error)
    assert [one.id for one in found if isinstance(one, Tile)] == [L2A_NEW.replace("T33NZA", "T33NZB")]


def test_degrees_become_utm_at_ten_metres(tmp_path):
    degrees = Affine(1e-4, 0, 15.0, 0, -9e-5, 41.0)
    (tile,) = tiles_of([write_tiff(tmp_path / f"{L2A_NEW}.tif", optical(), NAMES, crs="EPSG:4326", transform=degrees)])
    assert isinstance(tile, Tile)
    assert tile.grid.is_ten_metre
    assert tile.grid.crs.to_epsg() == 32633
    assert any(decision.subject == "grid" for decision in tile.decisions)
    assert any(decision.choice.startswith("aligned by bilinear") for decision in tile.decisions)
