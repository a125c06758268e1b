"""SAFE folders and zips: found by their names, read in place, and one line for everything that can be wrong in one."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
import safe as writer
from tiles import L2A_NEW, L2A_OLD, optical, truncate, write_band_folder, write_tiff

from lsd.runtime.errors import SourceError, TileError, UnprovenUnitError
from lsd.runtime.ingest.raster import open_raster
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import read_windows
from lsd.runtime.sources import TileFailure, tiles_of
from lsd.runtime.sources.safe import is_safe, is_sentinel1_safe, product_from_safe
from lsd.runtime.tiles import Tile

METADATA = "MTD_MSIL2A.xml"


def read(tile):
    (window,) = read_windows(tile, PatchGrid(tile.grid.width_px, tile.grid.height_px), rows_per_window=2)
    return window


def test_bands_and_metadata_of_a_folder(tmp_path):
    product = product_from_safe(writer.write_safe(tmp_path))
    assert product.name == L2A_NEW
    assert [file.name for file in product.files] == ["B02", "B03", "B04", "B08", "SCL"]
    assert product.metadata == {
        "safe": True,
        "PRODUCT_URI": f"{L2A_NEW}.SAFE",
        "PROCESSING_BASELINE": "04.00",
        "PRODUCT_START_TIME": "2022-07-06T08:56:11.024Z",
        "PRODUCT_TYPE": "S2MSI2A",
        "SENSING_ORBIT_NUMBER": "7",
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "BOA_ADD_OFFSET": -1000.0,
    }


def test_a_folder_becomes_a_tile_with_its_cloud_layer(tmp_path):
    dn = optical(128, 192)
    scl = np.full((64, 96), writer.CLEAR, np.uint8)
    scl[10:20, 30:50] = 9
    (tile,) = tiles_of([writer.write_safe(tmp_path, pixels=dn, scl=scl)])
    assert isinstance(tile, Tile) and tile.id == L2A_NEW
    assert tile.acquired == {"sentinel-2": "2022-07-06T08:56:11Z"} and tile.scenes[0].product == "Sentinel-2 L2A SAFE"
    assert tile.clouds is not None and tile.clouds.kind == "scl" and tile.warnings == ()
    window = read(tile)
    expected = dn[[2, 1, 0, 3]].astype(np.float32)  # written red first, read blue first
    expected[:, 20:40, 60:100] = np.nan
    np.testing.assert_array_equal(window.pixels, expected)
    assert window.cloud is not None and window.cloud.sum() == 20 * 40


@pytest.mark.parametrize(("baseline", "name", "added"), [("04.00", L2A_NEW, 0), ("02.14", L2A_OLD, 1000)])
def test_a_zip_gives_the_same_tile_as_its_folder(tmp_path, baseline, name, added):
    folder = writer.write_safe(tmp_path / "a", name, baseline=baseline)
    archive = writer.zipped(folder, tmp_path / "b.zip")
    (one,), (other,) = tiles_of([folder]), tiles_of([archive])
    assert isinstance(one, Tile) and isinstance(other, Tile)
    np.testing.assert_array_equal(read(one).pixels, read(other).pixels)
    np.testing.assert_array_equal(read(other).pixels, optical(128, 192)[[2, 1, 0, 3]].astype(np.float32) + added)
    assert (one.scenes, one.acquired, one.warnings) == (other.scenes, other.acquired, other.warnings)


@pytest.mark.parametrize("root", [f"{L2A_NEW}.SAFE", "", "some/where"])
def test_a_zip_may_hold_the_folder_or_its_content(tmp_path, root):
    archive = writer.zipped(writer.write_safe(tmp_path), tmp_path / "x.ZIP", root)
    assert is_safe(archive) and len(product_from_safe(archive).files) == 5


@pytest.mark.parametrize("folder", ["scene", f"{L2A_NEW}", f"{L2A_NEW.lower()}.safe"])
def test_a_folder_may_have_any_name(tmp_path, folder):
    path = writer.write_safe(tmp_path, folder=folder)
    assert is_safe(path) and product_from_safe(path).name == L2A_NEW
    (tile,) = tiles_of([tmp_path])
    assert isinstance(tile, Tile)


def test_products_before_baseline_0207_and_tiffs_of_them(tmp_path):
    old = writer.write_safe(tmp_path, L2A_OLD, baseline="02.06", prefix="L2A_")
    assert [file.name for file in product_from_safe(old).files][-1] == "SCL"
    for path in sorted(old.rglob("*.jp2")):
        with open_raster(path) as dataset:
            write_tiff(path.with_suffix(".TIF"), dataset.read(), transform=dataset.transform)
        path.unlink()
    assert len(product_from_safe(old).files) == 5


def test_the_60_m_layer_serves_where_the_20_m_one_is_missing(tmp_path):
    path = writer.write_safe(tmp_path, scl=np.empty((0, 0), np.uint8))
    assert [file.name for file in product_from_safe(path).files] == ["B02", "B03", "B04", "B08"]
    (tile,) = tiles_of([path])
    assert isinstance(tile, Tile) and "no cloud layer read: clouds are not masked" in tile.warnings
    images = next(path.glob("GRANULE/*/IMG_DATA"))
    writer.write_jp2(images / "R60m" / "T33NZA_20220706T085611_SCL_60m.jp2", np.full((22, 32), 4, np.uint8), 60.0)
    (tile,) = tiles_of([path])
    assert isinstance(tile, Tile) and tile.clouds is not None and not read(tile).cloud.any()


def test_hidden_copies_of_macos_are_no_second_granule(tmp_path):
    path = writer.write_safe(tmp_path)
    for file in [*path.rglob("*.jp2"), path / METADATA]:
        file.with_name(f"._{file.name}").write_bytes(b"resource fork")
    assert len(product_from_safe(path).files) == 5
    assert len(product_from_safe(writer.zipped(path)).files) == 5


def test_what_is_no_safe(tmp_path):
    patch = write_band_folder(tmp_path / "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_26_57", {"B04": optical()[0]})
    hyp3 = write_band_folder(tmp_path / "S1A_IW_20240406T100000_DVP_RTC10_G_gpuned_3C4D", {"VV": optical()[0]})
    above = tmp_path / "downloads"
    writer.write_sentinel1(above)
    writer.write_safe(above)
    for path in (patch, hyp3, writer.zipped(patch), writer.zipped(hyp3), above, tmp_path / "nowhere.zip"):
        assert not is_safe(path) and not is_sentinel1_safe(path), path


def test_a_sentinel_1_safe_does_not_hide_its_neighbour(tmp_path):
    writer.write_sentinel1(tmp_path)
    writer.write_safe(tmp_path)
    found = list(tiles_of([tmp_path]))
    (failure,) = (one for one in found if isinstance(one, TileFailure))
    assert "Sentinel-1 Level-1 product" in str(failure.error)
    assert [one.id for one in found if isinstance(one, Tile)] == [L2A_NEW]


@pytest.mark.parametrize("folder", [None, "radar"])
def test_sentinel_1_is_refused_as_folder_and_as_zip(tmp_path, folder):
    path = writer.write_sentinel1(tmp_path, folder=folder)
    archive = writer.zipped(path, root=f"{writer.SENTINEL_1}.SAFE")
    for one in (path, archive):
        assert is_sentinel1_safe(one)
        with pytest.raises(TileError, match=r"calibrate to sigma0 and geocode it first"):
            product_from_safe(one)


@pytest.mark.parametrize("folder", [None, "scene"])
def test_level_1c_is_refused_as_folder_and_as_zip(tmp_path, folder):
    path = writer.write_level_1c(tmp_path, folder=folder)
    for one in (path, writer.zipped(path)):
        assert is_safe(one)
        with pytest.raises(TileError, match=r"Level-1C.*fetch the Level-2A product"):
            product_from_safe(one)


def without_metadata(path):
    (path / METADATA).unlink()


def without_granule(path):
    shutil.rmtree(path / "GRANULE")


def without_a_band(path):
    next(path.rglob("*_B08_10m.jp2")).unlink()


def two_granules(path):
    (granule,) = (path / "GRANULE").iterdir()
    shutil.copytree(granule, granule.with_name("L2A_T33NZB"))


def cut_metadata(path):
    truncate(path / METADATA)


def edited(old, new):
    def edit(path):
        text = (path / METADATA).read_text()
        assert old in text
        (path / METADATA).write_text(text.replace(old, new))

    return edit


HALF = {
    "no metadata": (without_metadata, TileError, r"half a SAFE: it lacks MTD_MSIL2A\.xml; fetch the product again"),
    "no granule": (without_granule, TileError, r"it lacks B02 at 10 m, B03 at 10 m, B04 at 10 m, B08 at 10 m; fetch"),
    "no B08": (without_a_band, TileError, r"half a SAFE: it lacks B08 at 10 m; fetch the product again"),
    "two granules": (two_granules, TileError, r"holds B02 2 times \(.*L2A_T33NZA.*, .*L2A_T33NZB.*\); .* by itself"),
    "cut metadata": (cut_metadata, TileError, r"MTD_MSIL2A\.xml is not XML \(.*\); fetch the product again"),
    "entities": (
        edited("<n1:Level", "<!DOCTYPE x [<!ENTITY a 'aaaa'>]>\n<n1:Level"),
        TileError,
        r"is not XML \(it declares entities",
    ),
    "huge metadata": (edited("<!--", "<!--" + " " * 2**24), TileError, r"larger than 16 MiB"),
    "no number": (edited('"3">-1000', '"3">many'), TileError, r"BOA_ADD_OFFSET in MTD_MSIL2A\.xml is 'many'"),
    "other offsets": (edited('"3">-1000', '"3">0'), UnprovenUnitError, r"differs between bands \(\[-1000\.0, 0\.0\]\)"),
    "other quantification": (
        edited('E unit="none">10000<', 'E unit="none">1000<'),
        UnprovenUnitError,
        r"BOA_QUANTIFICATION_VALUE is 1000, expected 10000",
    ),
    "level 1 inside": (edited("S2MSI2A", "S2MSI1C"), TileError, r"Level-1C"),
}


@pytest.mark.parametrize("what", HALF)
def test_half_a_safe(tmp_path, what):
    spoil, error, says = HALF[what]
    path = writer.write_safe(tmp_path)
    spoil(path)
    for one in (path, writer.zipped(path)):
        assert is_safe(one)
        with pytest.raises(error, match=says) as caught:
            product_from_safe(one)
        assert "\n" not in str(caught.value) and str(one) in str(caught.value)


def test_other_offsets_of_bands_that_are_not_used_do_not_matter(tmp_path):
    path = writer.write_safe(tmp_path, boa_add_offset=[0, -1000, -1000, -1000, 0, 0, 0, -1000, 0, 0, 0, 0, 0])
    assert product_from_safe(path).metadata["BOA_ADD_OFFSET"] == -1000


def test_a_cut_zip(tmp_path):
    archive = truncate(writer.zipped(writer.write_safe(tmp_path)))
    assert is_safe(archive)
    with pytest.raises(SourceError, match=r"cannot be read as zip \(.*\); is it complete\? Fetch it again"):
        product_from_safe(archive)


def test_a_damaged_zip(tmp_path):
    """The list of members is whole; the metadata cannot be inflated."""
    archive = writer.zipped(writer.write_safe(tmp_path))
    with zipfile.ZipFile(archive) as opened:
        (member,) = (one for one in opened.infolist() if one.filename.endswith(METADATA))
    data = bytearray(archive.read_bytes())
    first = member.header_offset + 30 + len(member.filename)
    data[first : first + member.compress_size] = b"\xff" * member.compress_size
    archive.write_bytes(data)
    with pytest.raises(SourceError, match=r"MTD_MSIL2A\.xml cannot be read \(.*\); fetch the product again"):
        product_from_safe(archive)


def test_a_zip_damaged_where_it_is_packed_by_lzma(tmp_path):
    path = writer.write_safe(tmp_path)
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as opened:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                opened.write(file, file.relative_to(tmp_path).as_posix())
        member = opened.getinfo(f"{path.name}/{METADATA}")
    data = bytearray(archive.read_bytes())
    first = member.header_offset + 30 + len(member.filename) + 12  # after the header of the LZMA stream
    data[first : first + 64] = b"\xff" * 64
    archive.write_bytes(data)
    with pytest.raises(SourceError, match=r"MTD_MSIL2A\.xml cannot be read \(.*\); fetch the product again"):
        product_from_safe(archive)


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_image(tmp_path, packed):
    path = writer.write_safe(tmp_path)
    truncate(next(path.rglob("*_B03_10m.jp2")), 0.6)
    (found,) = tiles_of([writer.zipped(path) if packed else path])
    assert isinstance(found, TileFailure) and isinstance(found.error, TileError)
    assert "_B03_10m.jp2" in str(found.error) and "cannot be read as JPEG 2000" in str(found.error)
