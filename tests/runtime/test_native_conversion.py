"""Bands that the native library converts or reads are numpy's bit for bit, whatever the file; GDAL reads the others."""

from __future__ import annotations

import ctypes
import os
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from tiles import ORIGIN, UTM

from lsd.runtime import layers, reader
from lsd.runtime.errors import TileError
from lsd.runtime.native import conversion
from lsd.runtime.native import library as native
from lsd.runtime.native.conversion import CONVERSIONS, STORED, Into, Rule, blocks_of, convert
from lsd.runtime.reader import TileReader
from lsd.runtime.tiles import BandSource, Grid, Tile

NAMES = ("blue", "green", "red", "nir", "desc_vv", "desc_vh")
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 32}
APART = {"interleave": "band"}
PLAIN = {
    "strips": {**APART, "blockysize": 7},
    "a strip a row": {**APART, "blockysize": 1},
    "tiles": {**APART, **TILED},
    "BigTIFF": {**APART, **TILED, "BIGTIFF": "YES"},
}
OTHERS = {
    "deflate": {**APART, **TILED, "compress": "deflate"},
    "big-endian": {**APART, "ENDIANNESS": "BIG"},
    "bands beside each other": {**TILED, "interleave": "pixel"},
    "sparse": {**APART, **TILED, "SPARSE_OK": True},
}
NODATA = 100
WINDOWS = ((0, 0, 150, 210), (31, 63, 3, 3), (7, 130, 64, 80), (149, 0, 1, 210), (0, 209, 150, 1), (64, 64, 64, 64))


@pytest.fixture(scope="module", autouse=True)
def library():
    found = native.native_library()
    if found is None:
        if os.environ.get("LSD_REQUIRE_TOOLS"):
            pytest.fail(f"the native library is not here: {native.absence()}")
        pytest.skip(f"the native library is not here: {native.absence()}")
    return found


def same_bits(found, expected):
    """Every number the same, zeros with their sign; a NaN is a NaN."""
    np.testing.assert_array_equal(found, expected)
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


def values(dtype, n=5000):
    """Any bits, and many of the values that rules ask for."""
    chance = np.random.default_rng(0)
    found = chance.integers(0, 256, n * np.dtype(dtype).itemsize, np.uint8).view(dtype)
    found[chance.random(n) < 0.3] = 0
    found[chance.random(n) < 0.1] = NODATA
    if dtype == "float32":
        found[n // 2 :] = chance.normal(0, 900, n - n // 2)
        found[:6] = np.nan, np.inf, -np.inf, -0.0, 1e-45, -1000
    return found


def by_numpy(stored, conversion, nodata, zero_is_valid, least, most):
    """What the library is to give: values, where they are 0 or not valid, where they are out of range."""
    with np.errstate(all="ignore"):
        out = stored.astype(np.float32)
        out[~np.isfinite(out) | (out == np.float32(np.nan if nodata is None else nodata))] = np.nan
        if not zero_is_valid:
            out[out == 0] = np.nan
        dark = ~(np.abs(out) > 0)
        if conversion == "add_1000":
            out[out != 0] += np.float32(1000)
        elif conversion == "reflectance_to_dn":
            out = np.float32(10_000) * out + np.float32(1000)
        outside = (out < np.float32(least)) | (out > np.float32(most))
    out[outside] = np.nan
    return out, dark, outside


@pytest.mark.parametrize("dtype", STORED)
def test_every_rule_on_every_instruction_set(library, dtype):
    stored = values(dtype)
    for kind, nodata, zero, isa in product(
        CONVERSIONS, (None, NODATA, 1e300), (True, False), native.instruction_sets()
    ):
        rule = kind, nodata, zero, -0.5, 99.5
        expected, dark, outside = by_numpy(stored, *rule)
        into = Into(np.empty_like(expected), np.ones(len(stored), bool), np.zeros(len(stored), bool))
        convert(library, stored, Rule.of(dtype, *rule), into, isa)
        same_bits(into.out, expected)
        np.testing.assert_array_equal(into.unseen, dark)
        np.testing.assert_array_equal(into.marked, outside)
        assert 0 < dark.sum() < len(dark) and outside.any()


def test_what_was_seen_in_one_band_stays_seen(library):
    unseen, marked = np.array([True, False, True, False]), np.array([False, True, False, True])
    stored, rule = np.array([0, 0, 5, 5], np.uint8), Rule.of("uint8", "none", None, True, 0.0, 4.0)
    convert(library, stored, rule, Into(np.empty(4, np.float32), unseen, marked))
    assert unseen.tolist() == [True, False, False, False]
    assert marked.tolist() == [False, True, True, True]


def stored_in(path, dtype, sparse=False, **options):
    """A file of the bands, with nodata and zeros in one of them and in all, and values out of range."""
    height, width = 150, 210
    pixels = np.random.default_rng(3).integers(1, 127, (len(NAMES), height, width)).astype(dtype)
    pixels[:, 10:20, 30:40] = 0
    pixels[2, 50:60, 60:140] = 0
    pixels[:, 100:103, 100:103] = NODATA
    if dtype == "float32":
        pixels[0, 140, 200], pixels[4, 141, 201], pixels[1, 3, 3] = np.nan, np.inf, -0.0
    pixels[4, 33, 64:70] = 120  # dB
    shape = {"width": width, "height": height, "count": len(NAMES), "dtype": dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=UTM, transform=ORIGIN, nodata=NODATA, **shape, **options) as file:
        if sparse:  # the rest of the blocks is never written
            file.write(pixels[:, :64], window=Window(0, 0, width, 64))
        else:
            file.write(pixels)
    return path


def tile_of(path, conversion):
    """A tile of the bands of a file, as the ingest would make it."""
    with rasterio.open(path) as dataset:
        grid = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
    optical = conversion if conversion != "linear_to_db" else "none"
    radar = conversion if conversion == "linear_to_db" else "none"
    return Tile(
        "tile",
        grid,
        {
            name: BandSource(name, path, 1 + i, NODATA, radar if name.startswith("desc") else optical)
            for i, name in enumerate(NAMES)
        },
    )


def blocks_in(path):
    with ExitStack() as stack, rasterio.open(path) as dataset:
        return [blocks_of(path, dataset, 1 + i, stack) for i in range(dataset.count)]


def read(tile):
    with TileReader(tile) as opened:
        return [opened.read(*window) for window in WINDOWS]


@pytest.mark.parametrize("form", [*PLAIN, *OTHERS])
def test_every_file_gives_numpys_bits(monkeypatch, tmp_path, form):
    for dtype, kind in product(STORED, (*CONVERSIONS, "linear_to_db")):
        path = tmp_path / f"{dtype}.tif"
        if not path.exists():
            stored_in(path, dtype, form == "sparse", **{**PLAIN, **OTHERS}[form])
            assert (None not in blocks_in(path)) == (form in PLAIN)
        tile = tile_of(path, kind)
        by_library = read(tile)
        with monkeypatch.context() as without:
            without.setattr(layers, "native_library", lambda: None)
            without.setattr(reader, "native_library", lambda: None)
            by_numpy = read(tile)
        for (found, _, marked), (expected, _, outside) in zip(by_library, by_numpy, strict=True):
            same_bits(found, expected)
            np.testing.assert_array_equal(marked, outside)
        pixels, _, marked = by_library[0]
        assert np.isnan(pixels[:, 10:20, 30:40]).all() and not np.isnan(pixels).all()
        assert marked[33, 64:70].all() or kind == "linear_to_db", (dtype, kind)


def test_packed_and_remote_files_are_left_to_gdal(tmp_path):
    packed = stored_in(tmp_path / "packed.tif", "uint16", NBITS=15, **APART)
    assert blocks_in(packed) == [None] * len(NAMES)
    plain = stored_in(tmp_path / "plain.tif", "uint16", **APART)
    with ExitStack() as stack, rasterio.open(plain) as dataset:
        assert blocks_of(Path("/vsicurl/http://localhost/plain.tif"), dataset, 1, stack) is None
        assert blocks_of(plain, dataset, 1, stack) is not None


def test_a_file_that_became_shorter_is_one_line(tmp_path):
    path = stored_in(tmp_path / "stack.tif", "float32", **PLAIN["tiles"])
    with TileReader(tile_of(path, "none")) as opened:
        opened.read(*WINDOWS[0])
        with path.open("rb+") as file:
            file.truncate(path.stat().st_size // 2)
        with pytest.raises(TileError, match=r"stack.tif cannot be read \(it ends early.*\); is the file complete"):
            opened.read(*WINDOWS[0])


def files_open():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_are_closed_with_the_reader(tmp_path):
    tile = tile_of(stored_in(tmp_path / "stack.tif", "uint16", **PLAIN["tiles"]), "none")
    before = files_open()
    with TileReader(tile):
        assert files_open() > before
    assert files_open() == before


def test_the_structures_are_as_long_as_those_of_c():
    assert (ctypes.sizeof(Rule), ctypes.sizeof(conversion._Blocks)) == (24, 32)
