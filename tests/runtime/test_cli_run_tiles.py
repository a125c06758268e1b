"""lsd-run meets bad tiles among good ones: one clear line each, nothing half-written, the others done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from commands import files, invoke
from tiles import L2A_NEW, optical, radar, truncate, write_band_folder, write_tiff

from bundles import random_bundle, write
from lsd.runtime.cli.run import main

NAMES = ["red", "green", "blue", "nir"]
BAD = f"bad_{L2A_NEW}"
AWAY = Affine(10, 0, 700_000, 0, -10, 4_600_000)


def write_deflated(path: Path, pixels: np.ndarray, strip_rows: int = 8) -> Path:
    plain = write_tiff(path.with_name("plain.tif"), pixels, NAMES)
    rasterio.shutil.copy(plain, path, driver="GTiff", compress="deflate", blockysize=strip_rows, interleave="band")
    plain.unlink()
    return path


def cut_in_half(path: Path) -> None:
    truncate(write_deflated(path, optical(700, 700)))


def damage_the_middle(path: Path) -> None:
    """Rows 48 to 55 cannot be inflated; no sample of the ingest lies there."""
    with rasterio.open(write_deflated(path, optical(700, 700))) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{what}_0_6", "TIFF", bidx=2)) for what in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = b"\xff" * size
    path.write_bytes(data)


def disjoint(path: Path) -> None:
    folder = path.with_suffix("")
    write_band_folder(folder, {"B04": optical()[0]})
    write_band_folder(folder, {"desc_vv": radar()[0]}, transform=AWAY)


def one_band_twice(path: Path) -> None:
    write_tiff(path, optical(), ["red", "green", "blue", "B04"])


# what is wrong: (how the tile is written, what its line says)
BAD_TILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown band": (
        lambda path: write_tiff(path, optical(), ["red", "green", "blue", "purple"]),
        r"unknown band 'purple'.* \(known: blue, green",
    ),
    "duplicate band": (one_band_twice, r"band 'red' is given twice: by .* as 'red' and by .* as 'B04'; remove one"),
    "bands without names": (
        lambda path: write_tiff(path, optical()),
        r"no name for band 1, 2, 3, 4 of 4; set the band descriptions",
    ),
    "no CRS": (lambda path: write_tiff(path, optical(), NAMES, crs=None), r"has no CRS, .*set it with gdal_edit\.py"),
    "grids that do not overlap": (
        disjoint,
        r"desc_vv\.tif does not overlap the other bands of its tile.*another place",
    ),
    "cut in half": (cut_in_half, r"cannot be read as GeoTIFF \(.*\); is the file complete\? Fetch or copy it again"),
    "damaged in the middle": (damage_the_middle, r"cannot be read as GeoTIFF \(.*\); is the file complete\?"),
    "smaller than a patch": (
        lambda path: write_tiff(path, optical(63, 200), NAMES),
        r"tile is 200 x 63 px, smaller than one patch \(64 x 64 px\); give a larger tile",
    ),
    "all nodata": (
        lambda path: write_tiff(path, np.zeros((4, 80, 96), np.uint16), NAMES),
        r"holds no valid pixel: every band is nodata throughout",
    ),
    "no proof of the offset": (
        lambda path: write_tiff(path.with_name("bad.tif"), optical(), NAMES),
        r"nothing tells whether its DN hold the offset of 1,000 .*say --s2-offset present",
    ),
    "no TIFF": (lambda path: path.write_text("a page of a portal that wants a password"), r"cannot be read as GeoTIFF"),
}


@pytest.mark.parametrize("what", BAD_TILES)
def test_a_bad_tile_fails_alone(bundle, good, tmp_path, what):
    written, says = BAD_TILES[what]
    written(good / f"{BAD}.tif")
    write_tiff(good / f"zz_{L2A_NEW}.tif", optical(seed=3), NAMES)
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", "--json", "--progress", "off")
    assert ran.code == 1
    (line,) = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert re.search(says, line), line
    assert ran.err.splitlines()[-1].startswith("1 OF 3 TILES FAILED | ")
    summary = json.loads(ran.out)
    (failed,) = [tile for tile in summary["tiles"] if tile["status"] == "failed"]
    assert failed["id"] in (BAD, "bad") and re.search(says, failed["error"]) and not failed["products"]
    assert summary["totals"]["done"] == 2
    assert {name.split("/")[0] for name in files(tmp_path / "out")} == {
        L2A_NEW,
        f"zz_{L2A_NEW}",
        "summary.json",
        "index.html",
        "collection.json",
    }


def test_a_bad_tile_alone_is_also_exit_code_1(bundle, tmp_path):
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(10, 10), NAMES)
    ran = invoke(main, bundle, tmp_path / "in", "-o", tmp_path / "out")
    assert ran.code == 1 and "0 of 1 tiles done, 1 failed" in ran.out
    assert set(files(tmp_path / "out")) == {"summary.json", "index.html"}


@pytest.mark.parametrize("made", ["empty", "text"])
def test_a_folder_without_tiles_is_a_failure_not_an_empty_success(bundle, tmp_path, made):
    (tmp_path / "in").mkdir()
    if made == "text":
        (tmp_path / "in" / "readme.txt").write_text("tiles will arrive on Monday")
    ran = invoke(main, bundle, tmp_path / "in", "-o", tmp_path / "out")
    assert ran.code == 1 and "holds no GeoTIFF, here or below" in ran.err


def test_a_missing_band_is_not_an_error_and_never_a_negative(bundle, tmp_path):
    """All bands: configuration `all`. No radar: `optical`. Three bands: nothing answers, and every product says so."""
    noise = dict(zip(("B04", "B03", "B02", "B08"), optical(), strict=True))
    sar = [f"{orbit}_{band}" for orbit in ("desc", "asc") for band in ("vv", "vh", "dvv", "dvh")]
    write_band_folder(tmp_path / "in" / f"a_{L2A_NEW}", {**noise, **{name: radar()[0] for name in sar}})
    write_band_folder(tmp_path / "in" / f"b_{L2A_NEW}", noise)
    write_band_folder(tmp_path / "in" / f"c_{L2A_NEW}", {name: noise[name] for name in ("B04", "B03", "B02")})
    ran = invoke(main, bundle, tmp_path / "in", "-o", tmp_path / "out", "--json")
    tiles = json.loads(ran.out)["tiles"]
    assert ran.code == 0
    assert [tile["configurations"] for tile in tiles] == [{"all": 4}, {"optical": 4}, {}]
    unseen = tiles[2]
    assert unseen["counts"]["no_configuration"] == unseen["counts"]["not_scored"] == 4
    assert unseen["counts"]["no_slide"] == 0 and unseen["max_probability"] is None and unseen["scored_ground_km2"] == 0
    assert "there may be landslides there" in unseen["note"]
    found = json.loads((tmp_path / "out" / unseen["products"]["detections"]).read_text())
    assert found["features"] == [] and "4 of 4 patches (100.0 %) were not scored" in found["note"]
    with rasterio.open(tmp_path / "out" / unseen["products"]["scores"]) as scores:
        assert np.isnan(scores.read([1, 2])).all() and (scores.read(5) == 2).all()


def test_a_hole_of_nodata_is_not_scored_and_the_rest_is(bundle, tmp_path):
    dn = optical(128, 192)
    dn[:, :64, 64:128] = 0
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", dn, NAMES)
    ran = invoke(main, bundle, tmp_path / "in", "-o", tmp_path / "out", "--json")
    (tile,) = json.loads(ran.out)["tiles"]
    assert tile["counts"]["too_few_valid_pixels"] == tile["counts"]["not_scored"] == 1
    with rasterio.open(tmp_path / "out" / tile["products"]["scores"]) as scores:
        assert np.argwhere(np.isnan(scores.read(2))).tolist() == [[0, 1]]
        assert scores.read(3).tolist() == [[1, 0, 1], [1, 1, 1]]


def test_an_old_product_without_the_offset_gives_the_same_answers(bundle, tmp_path):
    """Baseline 02.14 is stored 1,000 lower than 04.00: the same ground, the same probabilities."""
    old = L2A_NEW.replace("N0400", "N0214")
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), NAMES)
    write_tiff(tmp_path / "in" / f"{old}.tif", optical() - np.uint16(1000), NAMES)
    ran = invoke(main, bundle, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    grids = []
    for tile in json.loads(ran.out)["tiles"]:
        with rasterio.open(tmp_path / "out" / tile["products"]["scores"]) as scores:
            grids.append(scores.read())
            assert tuple(scores.transform)[:6] == (640, 0, 500_000, 0, -640, 4_600_000)
    np.testing.assert_array_equal(*grids)


def test_a_bundle_for_optical_alone_takes_a_tile_with_radar(tmp_path):
    lean = write(random_bundle(configurations=("optical",)), tmp_path / "lean")
    folder = tmp_path / "in" / L2A_NEW
    write_band_folder(folder, dict(zip(("B04", "B03", "B02", "B08"), optical(), strict=True)))
    write_band_folder(folder, {"desc_vv": radar()[0]})
    ran = invoke(main, lean, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert ran.code == 0 and json.loads(ran.out)["tiles"][0]["configurations"] == {"optical": 4}
