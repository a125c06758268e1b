"""Damaged forest files and tables, into the loader and the native kernel; run by test_native_forest.py, longer by hand.

    python fuzz.py LIBRARY SECONDS [SEED]

LIBRARY is the native library, built with -fsanitize=address,undefined and loaded with LD_PRELOAD=libasan.so. What the
loader accepts must give the margins of `TableWalk`; what it refuses goes to the kernel all the same, which must refuse
it too or give these margins. Prints how many cases ended how; anything else ends in a traceback or in the sanitizer.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from random_forests import SHAPES, forest_of, rows_for

from lsd.runtime.errors import BundleError
from lsd.runtime.forest import native
from lsd.runtime.forest.table import MAGIC, ForestTable, forest_from_bytes, forest_to_bytes
from lsd.runtime.forest.walk import TableWalk
from lsd.runtime.native.library import ISA_NAMES

ARRAYS = ("node_offset", "leaf_offset", "feature", "threshold", "default_left", "left", "right", "leaf_value")
INTEGERS = (0, 1, -1, 2, 5, 63, 64, 255, 32_767, -32_768, 65_535)
NUMBERS = (np.nan, np.inf, -np.inf, -0.0, 1e-45, 3e38)


def some_forest(rng: np.random.Generator) -> ForestTable:
    """Of up to 12 trees of up to 80 nodes."""
    sizes = rng.integers(0, rng.choice([2, 20, 80]), int(rng.integers(0, 12))).tolist()
    return forest_of(
        int(rng.integers(2**31)),
        sizes,
        n_features=int(rng.integers(1, 40)),
        accumulator="float64" if rng.random() < 0.5 else "float32",
        shape=str(rng.choice(list(SHAPES))),
        grid=bool(rng.random() < 0.5),
    )


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, the end cut off or repeated, or a value of the header replaced."""
    changed = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        for _ in range(int(rng.integers(1, 6))):
            changed[rng.integers(len(changed))] = rng.integers(256)
    elif kind == 1:
        del changed[int(rng.integers(len(changed))) :]
    elif kind == 2:
        start = int(rng.integers(len(changed)))
        changed[start:start] = changed[start : start + 64]
    else:
        return with_damaged_header(data, rng)
    return bytes(changed)


def with_damaged_header(data: bytes, rng: np.random.Generator) -> bytes:
    """One value of the JSON header replaced by something else that JSON can say."""
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    end = len(MAGIC) + 4 + length
    header = json.loads(data[len(MAGIC) + 4 : end])
    target = header if rng.random() < 0.4 else header["arrays"][rng.integers(len(header["arrays"]))]
    value: object = [None, "", "0x1p-3", -1, 0, 1, 7, 64, 10**9, 2**63, 1.5, [], {}, True][rng.integers(14)]
    target[str(rng.choice(list(target)))] = value
    text = json.dumps(header).encode()
    head = MAGIC + struct.pack("<I", len(text)) + text
    return head + b"\0" * (-len(head) % 64) + data[end + -end % 64 :]


def damaged_table(forest: ForestTable, rng: np.random.Generator) -> ForestTable:
    """A few entries of one array replaced, or the array cut short."""
    name = str(rng.choice(ARRAYS))
    array = getattr(forest, name).copy()
    if not len(array) or rng.random() < 0.1:
        return replace(forest, **{name: array[: int(rng.integers(len(array) + 1))]})
    pool = NUMBERS if array.dtype.kind == "f" else INTEGERS
    for _ in range(int(rng.integers(1, 4))):
        value = pool[rng.integers(len(pool))] if rng.random() < 0.5 else array[rng.integers(len(array))]
        array[rng.integers(len(array))] = np.array(value).astype(array.dtype)
    return replace(forest, **{name: array})


def some_rows(forest: ForestTable, rng: np.random.Generator) -> np.ndarray:
    """Few enough for single rows, or enough for planes."""
    return rows_for(forest, int(rng.integers(2**31)), int(rng.choice([1, 3, 20, 70, 530])))


def outcome(forest: ForestTable, rows: np.ndarray, checked: bool) -> str:
    """What became of a forest, on every instruction set."""
    expected = None
    for isa in ISA_NAMES:
        if not native.native_library().lsd_has_isa(isa):
            continue
        try:
            found = native.NativeForest(forest, threads=2, isa=isa).margins(rows)
        except BundleError:
            if checked:
                raise AssertionError("the kernel refuses what the loader accepts") from None
            return "refused by the kernel"
        if expected is None:
            with np.errstate(all="ignore"):
                expected = TableWalk(forest).margins(rows)
        np.testing.assert_array_equal(found, expected)
    return "the same margins"


def one_case(rng: np.random.Generator) -> str:
    """One damaged file or table: how it ended."""
    forest = some_forest(rng)
    if rng.random() < 0.5:
        return "unchecked: " + outcome(damaged_table(forest, rng), some_rows(forest, rng), checked=False)
    try:
        loaded = forest_from_bytes(damaged_bytes(forest_to_bytes(forest), rng), "x")
    except BundleError:
        return "refused by the loader"
    return "loaded: " + outcome(loaded, some_rows(loaded, rng), checked=True)


def main(library: str, seconds: float, seed: int = 0) -> None:
    """Try cases for so long."""
    instrumented = ctypes.CDLL(library)
    native.native_library = lambda: instrumented
    end, counts = time.monotonic() + seconds, Counter[str]()
    case = seed * 10**9
    while time.monotonic() < end:
        try:
            counts[one_case(np.random.default_rng(case))] += 1
        except BaseException:
            print(f"case {case}", file=sys.stderr)
            raise
        case += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:]))
