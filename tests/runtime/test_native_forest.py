"""The native forest kernel gives the margins of the numpy walk, bit for bit, however it is called."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_forests import SHAPES, forest_of, rows_for

from lsd.runtime.errors import BackendError, BundleError
from lsd.runtime.forest import native as native_forest
from lsd.runtime.forest.native import NativeForest
from lsd.runtime.forest.table import forest_from_bytes
from lsd.runtime.forest.walk import TableWalk
from lsd.runtime.native.library import (
    AVX2,
    AVX512,
    ISA_NAMES,
    NEON,
    PORTABLE,
    absence,
    instruction_sets,
    native_library,
)

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = PROJECT / "runtime" / "native"
DATA = PROJECT / "tests" / "data" / "native_forest"
STRICT = ("-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Wshadow", "-Wno-psabi", "-Werror")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(autouse=True, scope="module")
def library():
    found = native_library()
    if found is None:
        if os.environ.get("LSD_REQUIRE_TOOLS"):
            pytest.fail(f"the native library is not here: {absence()}")
        pytest.skip(f"the native library is not here: {absence()}")
    return found


def assert_equal_to_the_walk(forest, rows):
    expected = TableWalk(forest).margins(rows)
    for isa in instruction_sets():
        found = NativeForest(forest, isa=isa).margins(rows)
        assert found.dtype == forest.accumulator
        np.testing.assert_array_equal(found, expected, err_msg=ISA_NAMES[isa])


# --- exactness -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.lists(st.one_of(st.integers(0, 24), st.integers(0, 90)), max_size=40),
    st.sampled_from(["float64", "float32"]),
    st.sampled_from(list(SHAPES)),
    st.booleans(),
    st.integers(1, 40),
    st.integers(0, 560),
)
def test_any_forest_any_rows(seed, sizes, accumulator, shape, grid, n_features, n_rows):
    forest = forest_of(seed, sizes, n_features=n_features, accumulator=accumulator, shape=shape, grid=grid)
    assert_equal_to_the_walk(forest, rows_for(forest, seed, n_rows))


@pytest.mark.parametrize("accumulator", ["float64", "float32"])
def test_every_number_of_leaves_of_a_tree_in_the_bit_form(accumulator):
    """1 to 64 leaves, and the first that are walked: 1 to 6 bits number a leaf."""
    for shape in SHAPES:
        forest = forest_of(3, range(70), n_features=9, accumulator=accumulator, shape=shape)
        assert_equal_to_the_walk(forest, rows_for(forest, 3, 600))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_huge_trees_among_small_ones(shape):
    forest = forest_of(5, [5, 30_000, 0, 32_767, 63, 64], shape=shape)
    assert_equal_to_the_walk(forest, rows_for(forest, 5, 40))


def test_rows_reach_the_end_of_a_deep_chain():
    forest = forest_of(6, [3000, 60], shape="chain", n_features=2, grid=False)
    low = forest.left >= 0  # the chain goes on at the left
    forest = replace(forest, threshold=np.where(low, 9, -9).astype(np.float32))
    rows = np.zeros((20, 2), np.float32)
    rows[5:] = rows_for(forest, 6, 15)
    assert_equal_to_the_walk(forest, rows)


@pytest.mark.parametrize("times", [1, 2], ids=["each used once", "each used twice"])
def test_more_tests_than_a_block_holds(times):
    """More than 65,536 thresholds, while a plane has a 16-bit number; used twice they are worth a large block."""
    once = forest_of(7, [60] * 1200, n_features=30, grid=False)
    assert len(np.unique(once.threshold)) > 65_536
    offsets = {
        name: np.concatenate([getattr(once, name)[:-1] + i * getattr(once, name)[-1] for i in range(times)])
        for name in ("node_offset", "leaf_offset")
    }
    ends = {name: np.append(values, times * getattr(once, name)[-1]) for name, values in offsets.items()}
    arrays = ("feature", "threshold", "default_left", "left", "right", "leaf_value")
    repeated = {name: np.tile(getattr(once, name), times) for name in arrays}
    forest = replace(once, **{name: end.astype(np.int32) for name, end in ends.items()}, **repeated)
    forest.check()
    assert_equal_to_the_walk(forest, rows_for(forest, 7, 90))


@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 0], [1], [0] * 1100 + [3]])
def test_hardly_any_trees(sizes):
    forest = forest_of(8, sizes)
    assert_equal_to_the_walk(forest, rows_for(forest, 8, 30))


def test_nodes_that_share_children():
    """Not a tree, but the table's check lets it pass: every walk ends."""
    forest = forest_of(9, [6, 10, 6])
    left, right = forest.left.copy(), forest.right.copy()
    left[6:16] = right[6:16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, ~3]
    forest = replace(forest, left=left, right=right)
    forest.check()
    assert_equal_to_the_walk(forest, rows_for(forest, 9, 50))


def test_a_default_side_that_is_neither_0_nor_1():
    """It is 1 or else right, as in the walk: the table's check lets it pass."""
    forest = forest_of(22, [23] * 20)
    odd = np.random.default_rng(22).choice(np.uint8([0, 1, 2, 255]), len(forest.default_left))
    assert_equal_to_the_walk(replace(forest, default_left=odd), rows_for(forest, 22, 40))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4028235e38, 1e-45])
def test_rows_of_one_value(value):
    forest = forest_of(10, [23] * 50)
    assert_equal_to_the_walk(forest, np.full((20, 6), value, np.float32))


@pytest.mark.parametrize("member", ["all-boosted", "all-extra", "optical-boosted", "sar-extra", "diffs-boosted"])
def test_the_reference_forests(member):
    data = (PROJECT / "bundles" / "reference" / "forests" / f"{member}.forest").read_bytes()
    forest = forest_from_bytes(data, member)
    rows = rows_for(forest, 11, 150)
    assert np.isin(rows[:, 0], forest.threshold[forest.feature == 0]).any()
    assert_equal_to_the_walk(forest, rows)


# --- however it is called --------------------------------------------------------------------------------------------


def test_every_batch_size_and_number_of_threads():
    forest = forest_of(12, [23] * 40 + [80, 0])
    rows = rows_for(forest, 12, 1600)
    expected = TableWalk(forest).margins(rows)
    for isa in instruction_sets():
        for threads in (1, 2, 3):
            kernel = NativeForest(forest, threads=threads, isa=isa)
            for size in (0, 1, 2, 7, 8, 15, 16, 23, 24, 63, 64, 65, 127, 128, 257, 511, 512, 513, 527, 528, 1025, 1600):
                np.testing.assert_array_equal(kernel.margins(rows[:size]), expected[:size])
            one_by_one = [kernel.margins(rows[i : i + 1]) for i in range(60)]
            np.testing.assert_array_equal(np.concatenate(one_by_one), expected[:60])


def test_threads_share_a_forest():
    forest = forest_of(13, [23] * 200)
    rows = rows_for(forest, 13, 900)
    kernel, expected, wrong = NativeForest(forest, threads=2), TableWalk(forest).margins(rows), []

    def use(first):
        for i in range(first, 300, 3):
            some = slice(i, i + (1 if i % 2 else 600))
            if not np.array_equal(kernel.margins(rows[some]), expected[some]):
                wrong.append(some)

    users = [threading.Thread(target=use, args=(first,)) for first in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert not wrong


def test_rows_of_other_types_and_layouts():
    forest = forest_of(14, [23] * 20)
    rows = rows_for(forest, 14, 40)
    kernel, expected = NativeForest(forest), TableWalk(forest).margins(rows)
    wide = np.full((80, 9), 7, np.float32)
    wide[::2, 3:] = rows
    for same in (rows.astype(np.float64), np.asfortranarray(rows), wide[::2, 3:]):
        np.testing.assert_array_equal(kernel.margins(same), expected)
        np.testing.assert_array_equal(kernel.margins(same[:1]), expected[:1])


def test_a_margin_is_the_callers_own():
    forest = forest_of(15, [23] * 20)
    rows = rows_for(forest, 15, 2)
    kernel = NativeForest(forest)
    first = kernel.margins(rows[:1])
    kept = first.copy()
    kernel.margins(rows[1:])
    assert kept != kernel.margins(rows[1:])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (6,), (1, 6, 1)])
def test_rows_of_another_width_are_refused(shape):
    with pytest.raises(ValueError, match=r"rows of shape \(n, 6\) expected, got"):
        NativeForest(forest_of(16, [3])).margins(np.zeros(shape, np.float32))


def test_an_instruction_set_of_another_processor():
    lacking = next(isa for isa in (NEON, AVX512, AVX2) if isa not in instruction_sets())
    kernel = NativeForest(forest_of(17, [3]), isa=lacking)
    for n in (1, 600):
        with pytest.raises(BackendError, match=f"does not have {ISA_NAMES[lacking]}"):
            kernel.margins(np.zeros((n, 6), np.float32))


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(native_forest, "native_library", lambda: None)
    monkeypatch.setattr(native_forest, "absence", lambda: "it was not built")
    with pytest.raises(BackendError, match="no native forests here: it was not built; or use --backend table"):
        NativeForest(forest_of(18, [3]))


def test_a_forest_is_freed_with_its_object(library, monkeypatch):
    freed = []

    class Watched:
        lsd_forest_margins, lsd_forest_new = library.lsd_forest_margins, library.lsd_forest_new

        @staticmethod
        def lsd_forest_free(handle):
            freed.append(handle.value)
            library.lsd_forest_free(handle)

    monkeypatch.setattr(native_forest, "native_library", Watched)
    kernel = NativeForest(forest_of(19, [3]))
    kernel.margins(np.zeros((1, 6), np.float32))
    assert not freed
    del kernel
    gc.collect()
    assert len(freed) == 1 and freed[0]


# --- what the kernel itself refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "place", "value"),
    [
        ("left", 3, 30_000),
        ("left", 3, -30_000),
        ("right", 3, 0),
        ("right", 3, 3),
        ("feature", 3, 6),
        ("threshold", 3, np.nan),
        ("node_offset", 0, 1),
        ("node_offset", 1, 2**31 - 1),
        ("node_offset", 1, -(2**31)),
        ("node_offset", -1, 5),
        ("leaf_offset", 1, 3),
        ("leaf_offset", -1, 2**31 - 1),
    ],
)
def test_an_index_that_leaves_its_tree(array, place, value):
    forest = forest_of(20, [9, 70, 9])
    changed = getattr(forest, array).copy()
    changed[place] = value
    with pytest.raises(BundleError, match="an index leaves its tree, or there is no memory"):
        NativeForest(replace(forest, **{array: changed})).margins(np.zeros((1, 6), np.float32))


@pytest.mark.parametrize(
    "array", ["node_offset", "leaf_offset", "feature", "threshold", "default_left", "left", "right", "leaf_value"]
)
def test_an_array_that_is_too_short(array):
    forest = forest_of(21, [9, 9])
    with pytest.raises(BundleError, match="an index leaves its tree"):
        NativeForest(replace(forest, **{array: getattr(forest, array)[:-1]})).margins(np.zeros((1, 6), np.float32))


# --- in a program of its own -----------------------------------------------------------------------------------------


def compiled(compiler, target, *flags, sources=()):
    files = [*sources, SOURCES / "cpu.c", *sorted(SOURCES.glob("forest*.c"))]
    command = [compiler, *STRICT, *flags, f"-I{SOURCES}", *files, "-o", target, "-lm", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return target


def case(forest, rows, isa):
    """What tests/data/native_forest/driver.c reads."""
    sizes = [forest.n_features, forest.n_trees, len(forest.feature), len(forest.leaf_value), len(rows), 0]
    head = np.int32([forest.accumulator == "float64", isa, *sizes]).tobytes() + np.float64(forest.base_margin).tobytes()
    arrays = (forest.node_offset, forest.leaf_offset, forest.feature, forest.threshold, forest.default_left)
    children = (forest.left, forest.right, forest.leaf_value)
    return b"".join([head, *(array.tobytes() for array in (*arrays, *children)), rows.tobytes()])


def hard_cases():
    """(forest, rows): small and large trees, both accumulators, several blocks, batches that end anywhere."""
    kinds = [("float64", [23] * 40 + [80, 0, 63], 530), ("float32", [63] * 20 + [0, 300], 140), ("float64", [], 3)]
    for seed, (accumulator, sizes, n) in enumerate(kinds):
        forest = forest_of(seed, sizes, n_features=20, accumulator=accumulator)
        yield forest, rows_for(forest, seed, n)
    forest = forest_of(9, [30] * 600, n_features=3, grid=False)
    yield forest, rows_for(forest, 9, 20)
    yield forest, rows_for(forest, 9, 0)


def assert_driver_agrees(program, isas):
    cases = [(forest, rows, isa) for forest, rows in hard_cases() for isa in isas]
    done = subprocess.run(program, input=b"".join(case(*one) for one in cases), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    answer = done.stdout
    for forest, rows, isa in cases:
        assert np.frombuffer(answer, np.int32, 1) == 1
        ways = np.frombuffer(answer, forest.accumulator, 4 * len(rows), 4).reshape(4, len(rows))
        answer = answer[4 + ways.nbytes :]
        expected = TableWalk(forest).margins(rows)
        for way, found in zip(("by row", "by plane", "as chosen", "by threads"), ways, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=f"{ISA_NAMES[isa]}, {way}")
    assert not answer
    return done.stderr.decode().split()


@pytest.mark.compiler
def test_sanitizers_find_nothing_and_nothing_leaks(need_tool, tmp_path):
    program = compiled(need_tool("gcc"), tmp_path / "driver", *SANITIZED, sources=[DATA / "driver.c"])
    assert_driver_agrees([program], instruction_sets())


@pytest.mark.compiler
def test_threads_share_no_memory_without_a_lock(need_tool, tmp_path):
    flags = ("-O1", "-g", "-fsanitize=thread")
    program = compiled(need_tool("gcc"), tmp_path / "driver", *flags, sources=[DATA / "driver.c"])
    assert not assert_driver_agrees([program], instruction_sets())


@pytest.mark.compiler
def test_how_many_threads_are_started(need_tool, tmp_path):
    """Of 530, 140, 3 and 20 rows, 3 threads at most: one a plane, and none is left running."""
    program = compiled(need_tool("gcc"), tmp_path / "driver", sources=[DATA / "driver.c", DATA / "threads.c"])
    said = assert_driver_agrees([program], [PORTABLE])
    assert said == ["started"] * 2 + ["joined"] * 2


@pytest.mark.compiler
def test_threads_that_are_not_to_be_had(need_tool, tmp_path):
    sources = [DATA / "driver.c", DATA / "threads.c"]
    program = compiled(need_tool("gcc"), tmp_path / "driver", "-DREFUSE", sources=sources)
    assert assert_driver_agrees([program], [PORTABLE]) == ["refused"]


@pytest.mark.qemu
def test_the_same_bits_on_aarch64(need_tool, tmp_path):
    compiler = need_tool("aarch64-linux-gnu-gcc")
    program = compiled(compiler, tmp_path / "driver", "-O3", "-static", sources=[DATA / "driver.c"])
    assert_driver_agrees([need_tool("qemu-aarch64"), program], (NEON, PORTABLE))


@pytest.mark.compiler
def test_damaged_files_and_tables(need_tool, tmp_path):
    """Ten seconds of tests/data/native_forest/fuzz.py; by hand it runs longer."""
    gcc = need_tool("gcc")
    library = compiled(gcc, tmp_path / "sanitized.so", *SANITIZED, "-fPIC", "-shared")
    preload = subprocess.run([gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {**os.environ, "LD_PRELOAD": preload.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, DATA / "fuzz.py", library, "10"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert set(counts) == {
        "loaded: the same margins",
        "refused by the loader",
        "unchecked: refused by the kernel",
        "unchecked: the same margins",
    }
