"""The native library is opened only if it is the one that was built; without it numpy works, and the reason is told."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lsd.runtime import doctor
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.features import statistics
from lsd.runtime.features.sets import named_statistics
from lsd.runtime.native import library as native

FOLDER = native.FOLDER
RECORD = native.RECORD


@pytest.fixture(scope="module")
def record():
    if native.native_library() is None:
        if os.environ.get("LSD_REQUIRE_TOOLS"):
            pytest.fail(f"the native library is not here: {native.absence()}")
        pytest.skip(f"the native library is not here: {native.absence()}")
    return json.loads((FOLDER / RECORD).read_text())


@pytest.fixture
def copy(record, tmp_path):
    """A folder with the library and its record, to be spoiled."""
    for name in (record["file"], RECORD):
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


def reason(folder):
    library, why = native._opened(folder)
    assert (library is None) == (why is not None)
    return why


def rewrite(folder, **changes):
    path = folder / RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_library_as_built_is_opened(copy):
    assert reason(copy) is None
    assert native._opened(copy)[0].lsd_abi_version() == native.ABI_VERSION


def test_the_library_is_that_of_the_sources_beside_it(record):
    sources = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.[ch]")}
    assert record["sources"] == sources, "the sources changed since: run python setup.py build_native"


def test_a_changed_file_is_refused_by_its_hash(copy, record):
    file = copy / record["file"]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert f"should have hash {record['sha256'][:12]}, has " in reason(copy)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / RECORD).unlink(), "it was not built, there is no library.json"),
        (lambda folder: (folder / RECORD).write_text("{"), "library.json is no JSON"),
        (lambda folder: (folder / RECORD).write_text("[1]"), "library.json names no library"),
        (lambda folder: (folder / RECORD).write_text('{"file": "x.so", "sha256": "0"}'), "names no library"),
        (lambda folder: (folder / RECORD).write_text('{"file": null}'), "names no library"),
        (lambda folder: rewrite(folder, machine="riscv64"), f"was built for riscv64, this is {platform.machine()}"),
        (lambda folder: (folder / "liblsd_native.so").unlink(), "cannot be loaded (.*No such file"),
        (lambda folder: (folder / RECORD).write_text('{"file": null, "reason": "no cc"}'), "^no cc; install lsd-edge"),
    ],
)
def test_what_is_missing_or_unfit_is_told(copy, spoil, said):
    spoil(copy)
    why = reason(copy)
    assert re.search(said.replace("(.", r"\(."), why), why
    assert "\n" not in why and "build_native" in why


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("int lsd_abi_version(void) { return 999; }", f"should have interface {native.ABI_VERSION}, has 999"),
        ("int other(void) { return 1; }", "cannot be loaded .*lsd_abi_version"),
    ],
)
def test_a_library_of_another_interface_is_refused(copy, record, need_tool, code, said):
    source = copy / "other.c"
    source.write_text(code)
    subprocess.run([need_tool("gcc"), "-shared", "-fPIC", "-o", copy / record["file"], source], check=True)
    rewrite(copy, sha256=hashlib.sha256((copy / record["file"]).read_bytes()).hexdigest())
    assert re.search(said, reason(copy))


def test_without_the_library_numpy_does_the_same_work(record, monkeypatch):
    pixels = np.random.default_rng(0).normal(2000, 300, (3, 12, 64, 64)).astype(np.float32)
    names = ["red_mean", "red_median", "ndvi_kurtosis", "asc_vv_max"]
    found = named_statistics(pixels, BAND_NAMES, names, threads=2)
    monkeypatch.setattr(statistics, "native_library", lambda: None)
    without = named_statistics(pixels, BAND_NAMES, names)
    assert list(found) == list(without) == names
    for name in names:
        np.testing.assert_array_equal(found[name], without[name])


def test_instruction_sets_and_the_doctor_name_what_is_there(record):
    sets = native.instruction_sets()
    assert sets[0] == native.PORTABLE and native.native_library().lsd_best_isa() == sets[-1]
    flags = Path("/proc/cpuinfo").read_text() if platform.machine() == "x86_64" else ""
    assert (native.AVX2 in sets) == (" avx2" in flags)
    assert (native.AVX512 in sets) == all(f" avx512{part}" in flags for part in ("f", "bw", "dq", "vl"))
    assert (native.NEON in sets) == (platform.machine() == "aarch64")
    line = doctor.facts()["native library"]
    assert line == f"yes ({native.ISA_NAMES[sets[-1]]}; {record['compiler']})"


def test_the_doctor_says_why_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    assert native.native_library() is None and native.instruction_sets() == ()
    assert doctor.facts()["native library"].startswith("no (it was not built, there is no library.json")


def test_interface_version_is_that_of_the_header():
    header = (FOLDER / "lsd_native.h").read_text()
    assert f"#define LSD_ABI_VERSION {native.ABI_VERSION} " in header
