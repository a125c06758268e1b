"""The native statistics are numpy's bit for bit: on every instruction set, layout, batch and number of threads."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_patches import CHANNELS, EVERYTHING, adversarial, like_real, reference

from lsd.runtime.bands import BAND_NAMES, BY_NAME
from lsd.runtime.features import statistics
from lsd.runtime.features.sets import SETS, feature_set
from lsd.runtime.haze import hazy_fraction, is_hazy
from lsd.runtime.native import library as native
from lsd.runtime.native.moments import EXTREMES, MEDIAN, MOMENTS, POWERS, _described, moments
from lsd.runtime.native.validity import hazy_px, invalid_in_any_px, invalid_px, mask_out_of_range
from lsd.runtime.patches import PatchBatch

NATIVE = Path(native.__file__).parent
DRIVER = Path(__file__).resolve().parents[1] / "data" / "native_driver.c"
STRICT = ("-Wall", "-Wextra", "-Wshadow", "-Wno-psabi", "-Werror")


@pytest.fixture(scope="module")
def library():
    found = native.native_library()
    if found is None:
        if os.environ.get("LSD_REQUIRE_TOOLS"):
            pytest.fail(f"the native library is not here: {native.absence()}")
        pytest.skip(f"the native library is not here: {native.absence()}")
    return found


def assert_same_bits(found, expected, message=""):
    """Every number the same; zeros of either sign are one, and a NaN is a NaN."""
    np.testing.assert_array_equal(found + 0.0, expected, err_msg=message)


def of_all(library, pixels, **options):
    return moments(library, pixels, BAND_NAMES, CHANNELS, [EVERYTHING] * len(CHANNELS), **options)


def test_every_instruction_set_gives_numpys_bits(library):
    hard = adversarial()
    pixels = np.concatenate([like_real(10), np.stack(list(hard.values()))])
    expected = reference(pixels)
    assert len(native.instruction_sets()) >= 1
    for isa in native.instruction_sets():
        found = of_all(library, pixels, isa=isa)
        for i in range(len(pixels)):
            name = "like real" if i < 10 else list(hard)[i - 10]
            assert_same_bits(found[..., i], expected[..., i], f"{name}, {native.ISA_NAMES[isa]}")


@settings(max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["any bits", "few values", "real"]),
    st.floats(0, 1),
)
def test_any_size_and_any_bits(library, height, width, seed, kind, holes):
    rng = np.random.default_rng(seed)
    if kind == "any bits":
        pixels = rng.integers(0, 2**32, (1, 12, height, width), dtype=np.uint64).astype(np.uint32).view(np.float32)
        pixels = np.where(np.isnan(pixels), np.float32(np.nan), pixels)  # quiet: numpy warns of signalling ones
    elif kind == "few values":
        pixels = rng.integers(-2, rng.integers(0, 40), (1, 12, height, width)).astype(np.float32)
    else:
        pixels = (rng.normal(size=(1, 12, height, width)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    pixels[rng.random(pixels.shape) < holes**4] = np.nan
    with np.errstate(all="ignore"):
        expected = reference(pixels)
    for isa in native.instruction_sets():
        assert_same_bits(of_all(library, pixels, isa=isa), expected)


def test_views_of_a_tile_are_read_where_they_lie(library):
    tile = np.random.default_rng(2).normal(2000, 300, (12, 70, 64 * 5 + 9)).astype(np.float32)
    view = tile[:, 3:67, 5 : 5 + 320].reshape(12, 64, 5, 64).transpose(2, 0, 1, 3)
    assert np.shares_memory(view, tile)
    expected = of_all(library, view.copy())
    for isa in native.instruction_sets():
        assert_same_bits(of_all(library, view, isa=isa), expected)
        np.testing.assert_array_equal(invalid_px(library, view, isa), invalid_px(library, view.copy(), isa))
    assert_same_bits(of_all(library, view[::-2]), expected[..., ::-2])
    assert_same_bits(of_all(library, view[:, :, ::-1, ::-1][:, :, ::-1, ::-1]), expected)
    turned = np.asfortranarray(view)  # pixels of a row apart: copied
    assert_same_bits(of_all(library, turned), expected)


def test_threads_and_batches_change_nothing(library):
    pixels = like_real(7, 5)
    expected = of_all(library, pixels)
    for threads in (2, 3, 20):
        np.testing.assert_array_equal(of_all(library, pixels, threads=threads), expected)
    alone = [of_all(library, pixels[i : i + 1]) for i in range(7)]
    np.testing.assert_array_equal(np.concatenate(alone, axis=2), expected)
    assert of_all(library, pixels[:0]).shape == (len(MOMENTS), len(CHANNELS), 0)


def test_what_is_not_wanted_is_not_computed(library):
    found = moments(library, like_real(2)[1:], BAND_NAMES, ["red"] * 4, [0, POWERS, EXTREMES, MEDIAN])[..., 0]
    known = {i: {MOMENTS[k] for k in np.flatnonzero(~np.isnan(found[:, i]))} for i in range(4)}
    assert known == {
        0: {"mean", "count"},
        1: {"mean", "m2", "m3", "m4", "count"},
        2: {"mean", "min", "max", "count"},
        3: {"mean", "median", "count"},
    }


def test_an_instruction_set_that_is_not_there_is_refused(library):
    absent = next(isa for isa in (*native.ISA_NAMES, 99) if isa not in native.instruction_sets())
    with pytest.raises(ValueError, match="does not have the instruction set"):
        of_all(library, like_real(1), isa=absent)


@pytest.mark.parametrize("name", sorted(SETS))
def test_features_are_the_same_without_the_library(library, name, monkeypatch):
    pixels = np.concatenate([like_real(12, 3), np.stack(list(adversarial().values()))])
    wanted = feature_set(name, BAND_NAMES)
    found = wanted.of_patches(pixels, BAND_NAMES)
    monkeypatch.setattr(statistics, "native_library", lambda: None)
    expected = wanted.of_patches(pixels, BAND_NAMES)
    equal = (found.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(found) & np.isnan(expected))
    assert equal.all(), [(wanted.names[j], int(i)) for i, j in zip(*np.nonzero(~equal), strict=True)][:5]


def test_numpy_adds_in_the_order_that_the_library_reproduces():
    """Fails if a version of numpy sums otherwise: then the two paths differ in their last bits, and one must follow.

    Up to 8,192 values, twice a patch: more of them numpy 1.24 to 2.0 cuts into buffers first, 2.4 does not.
    """

    def in_order(x):
        if len(x) > 128:
            half = len(x) // 2 - len(x) // 2 % 8
            return in_order(x[:half]) + in_order(x[half:])
        whole = len(x) // 8 * 8
        total = np.float64(0.0)
        if whole:
            lanes = x[:8].copy()
            for i in range(8, whole, 8):
                lanes += x[i : i + 8]
            total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
        for value in x[whole:]:
            total = total + value
        return total

    rng = np.random.default_rng(0)
    for n in (*range(1, 40), 127, 128, 129, 136, 137, 255, 256, 257, 1000, 4095, 4096, 4097, 8192):
        x = rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n)
        assert in_order(x) == np.add.reduce(x), f"numpy {np.__version__} sums {n} values in another order"
        rows = np.stack([x, x[::-1]])
        assert in_order(x) / n == rows.mean(axis=1)[0], f"numpy {np.__version__}: mean of rows, {n} values"


# --- counts ----------------------------------------------------------------------------------------------------------


def test_invalid_and_hazy_pixels_are_counted_as_numpy_does(library):
    pixels = np.concatenate([like_real(6, 9), np.stack(list(adversarial().values()))])
    pixels[1, :3] = np.random.default_rng(0).normal(3000, 900, (3, 64, 64))
    with np.errstate(all="ignore"):
        hazy = is_hazy(pixels[:, 0], pixels[:, 2]).sum(axis=(1, 2))
    assert 0 < hazy[1] < 4096
    nan = np.isnan(pixels)
    for isa in native.instruction_sets():
        np.testing.assert_array_equal(invalid_px(library, pixels, isa), nan.sum(axis=(2, 3)))
        chosen = np.arange(len(pixels) - 1, -1, -2)
        np.testing.assert_array_equal(
            invalid_in_any_px(library, pixels, [1, 5, 7], chosen, isa),
            nan[chosen][:, [1, 5, 7]].any(axis=1).sum(axis=(1, 2)),
        )
        np.testing.assert_array_equal(hazy_px(library, pixels, 0, 2, isa), hazy)


def test_fractions_are_the_same_without_the_library(library, monkeypatch):
    pixels = like_real(8, 11)
    cells = np.zeros(8, np.intp)

    def fractions():
        batch = PatchBatch(pixels, BAND_NAMES, cells, cells)
        shares = [batch.valid_fraction(bands) for bands in (BAND_NAMES, BAND_NAMES[:4], BAND_NAMES[6:7])]
        return np.stack([*shares, hazy_fraction(pixels, 0, 2)])

    found = fractions()
    monkeypatch.setattr("lsd.runtime.patches.native_library", lambda: None)
    monkeypatch.setattr("lsd.runtime.haze.native_library", lambda: None)
    np.testing.assert_array_equal(found, fractions())


def test_values_out_of_range_are_masked_as_numpy_would(library):
    least = [0.0 if BY_NAME[name].modality == "optical" else BY_NAME[name].plausible_min for name in BAND_NAMES]
    most = [BY_NAME[name].plausible_max for name in BAND_NAMES]
    pixels = like_real(1, 4)[0][:, :, :61].copy()
    pixels[:, 3, 5:9] = np.float32(most)[:, None]
    edges = [np.nextafter(np.float32(most), np.float32(np.inf)), np.nextafter(np.float32(least), np.float32(-np.inf))]
    pixels[:, 4, 5], pixels[:, 5, 6], pixels[:, 6, 7], pixels[3, 7, 7] = edges[0], edges[1], np.float32(least), np.inf
    with np.errstate(invalid="ignore"):
        outside = np.stack([(band < a) | (band > b) for band, a, b in zip(pixels, least, most, strict=True)])
    expected, marked = np.where(outside, np.float32(np.nan), pixels), outside.any(axis=0)
    assert marked[4, 5] and marked[5, 6] and not marked[6, 7] and not marked[3, 5]
    for isa in native.instruction_sets():
        found = pixels.copy()
        np.testing.assert_array_equal(mask_out_of_range(library, found, least, most, isa), marked)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="should be writeable float32 in C order"):
        mask_out_of_range(library, pixels[:, ::2], least, most)


# --- in a program of its own -----------------------------------------------------------------------------------------


def compiled(folder, compiler, *flags):
    program = folder / "driver"
    sources = [NATIVE / name for name in ("cpu.c", "statistics.c", "validity.c")]
    command = [compiler, "-std=c11", "-ffp-contract=off", *STRICT, *flags, f"-I{NATIVE}", DRIVER, *sources]
    done = subprocess.run([*command, "-o", program, "-lm"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return program


def answers(program, pixels, isa, gap=0):
    """(moments (moment, channel, n), counts) of the driver; `gap`: floats between two rows."""
    n, bands, height, width = pixels.shape
    rows = np.full((n, bands, height, width + gap), np.nan, np.float32)
    rows[..., :width] = pixels
    channels = bytes(_described(BAND_NAMES, CHANNELS, [EVERYTHING] * len(CHANNELS)))
    numbers = [isa, n, bands, height, width, width + gap, len(CHANNELS)]
    sent = channels + rows.tobytes()[: rows.nbytes - 4 * gap]
    done = subprocess.run([*program, *map(str, numbers)], input=sent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    size = n * len(CHANNELS) * len(MOMENTS)
    found = np.frombuffer(done.stdout, np.float64, size).reshape(n, len(CHANNELS), len(MOMENTS))
    return found.transpose(2, 1, 0), np.frombuffer(done.stdout[8 * size :], np.int64)


def sizes():
    """Patches of several sizes, in the shape that a driver takes."""
    return [
        np.stack(list(adversarial(size=24).values())),
        like_real(4, 1, size=37),
        like_real(2, 2, size=64),
        like_real(2, 3, size=5),
    ]


@pytest.mark.compiler
def test_sanitizers_find_nothing(library, need_tool, tmp_path):
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compiled(tmp_path, need_tool("gcc"), *flags)
    for pixels in sizes():
        expected = of_all(library, pixels)
        for isa in native.instruction_sets():
            for gap in (0, 3):
                found, counts = answers([program], pixels, isa, gap)
                assert_same_bits(found, expected + 0.0)
                assert counts[: pixels.shape[0] * 12].tolist() == np.isnan(pixels).sum(axis=(2, 3)).ravel().tolist()


@pytest.mark.qemu
def test_the_same_bits_on_aarch64(library, need_tool, tmp_path):
    program = compiled(tmp_path, need_tool("aarch64-linux-gnu-gcc"), "-O3", "-static")
    emulated = [need_tool("qemu-aarch64"), program]
    for pixels in sizes():
        found, counts = answers(emulated, pixels, native.NEON)
        assert_same_bits(found, of_all(library, pixels) + 0.0)
        with np.errstate(all="ignore"):
            hazy = is_hazy(pixels[:, 0], pixels[:, 1]).sum(axis=(1, 2))
        assert counts[-len(pixels) :].tolist() == hazy.tolist()


def test_the_structures_are_as_long_as_those_of_c():
    from lsd.runtime.native.layout import Patches
    from lsd.runtime.native.moments import Channel

    assert (ctypes.sizeof(Channel), ctypes.sizeof(Patches)) == (32, 64)
    assert sys.byteorder == "little"
