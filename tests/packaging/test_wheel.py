"""The wheel holds what the tree holds: an editable install hides a forgotten package."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lsd.runtime.native import library

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("train", "export", "runtime", "benchmarks")
RECORDS = PROJECT / "benchmarks" / "results"  # measurements, not code: they stay in the repository


NATIVE = "lsd/runtime/native/"
GENERATED = {f"{NATIVE}liblsd_native.so", f"{NATIVE}library.json"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files that git knows or would, elsewhere."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file() and not name.startswith(".types/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((PROJECT / name).read_bytes())
    return source


def built(source, out, kind="--wheel", compiler=None):
    """The distribution file; CC is as given, and unset for None."""
    environment = {name: value for name, value in os.environ.items() if name != "CC"}
    if compiler is not None:
        environment["CC"] = compiler
    command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return built(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel_names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_source_file_is_in_the_wheel(wheel_names):
    for folder in FOLDERS:
        for file in (PROJECT / folder).rglob("*"):
            if RECORDS in file.parents or "__pycache__" in file.parts or file.name == library.RECORD:
                continue
            if file.suffix in (".py", ".json", ".typed"):
                assert f"lsd/{file.relative_to(PROJECT).as_posix()}" in wheel_names


def test_nothing_else_is_in_the_wheel(wheel_names):
    for name in wheel_names:
        if ".dist-info/" not in name and name not in GENERATED:
            assert name.startswith("lsd/") and (PROJECT / name.removeprefix("lsd/")).is_file(), name
    assert "lsd/__init__.py" not in wheel_names  # a namespace


@pytest.mark.compiler
def test_the_wheel_holds_the_library_and_is_for_this_machine(wheel, wheel_names, need_tool, tmp_path):
    need_tool("cc")
    assert wheel_names >= GENERATED
    assert re.search(rf"-py3-none-\w+_{platform.machine()}\.whl$", wheel.name)
    zipfile.ZipFile(wheel).extractall(tmp_path)
    assert library._opened(tmp_path / NATIVE)[1] is None
    (tags,) = tmp_path.glob("*.dist-info/WHEEL")
    assert "Root-Is-Purelib: false" in tags.read_text()


def test_without_a_compiler_the_wheel_is_for_any_machine_and_says_why(source, wheel, tmp_path):
    """After one with the library: nothing of it is left."""
    pure = built(source, tmp_path / "out", compiler="")
    assert pure.name.endswith("-py3-none-any.whl")
    zipfile.ZipFile(pure).extractall(tmp_path)
    assert not (tmp_path / NATIVE / "liblsd_native.so").exists()
    assert "empty CC" in library._opened(tmp_path / NATIVE)[1]


@pytest.mark.qemu
def test_a_cross_compiler_makes_the_wheel_of_its_machine(source, need_tool, tmp_path):
    other = built(source, tmp_path / "out", compiler=need_tool("aarch64-linux-gnu-gcc"))
    assert re.search(r"-py3-none-\w+_aarch64\.whl$", other.name)
    zipfile.ZipFile(other).extractall(tmp_path)
    record = json.loads((tmp_path / NATIVE / "library.json").read_text())
    content = (tmp_path / NATIVE / record["file"]).read_bytes()
    assert record["machine"] == "aarch64" and record["sha256"] == hashlib.sha256(content).hexdigest()
    assert content[:4] == b"\x7fELF" and int.from_bytes(content[18:20], "little") == 183  # EM_AARCH64


def test_a_compiler_that_was_asked_for_and_fails_ends_the_build(source):
    """One that was not asked for and is not there does not: it is told (see docs/native.md)."""
    command = [sys.executable, "setup.py", "build_native"]
    for name in ("/nowhere/cc", "false"):
        environment = {**os.environ, "CC": name}
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
        assert done.returncode != 0
        assert f"CC={name}: " in done.stderr.splitlines()[-1]
    done = subprocess.run(command, cwd=source, env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert "no native library (there is no C compiler 'cc' here); numpy will do its work" in done.stderr


def test_the_source_distribution_holds_the_c_code(source, tmp_path):
    with tarfile.open(built(source, tmp_path, "--sdist")) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    code = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "runtime/native").glob("*.[ch]")}
    assert len(code) > 5 and held >= code | {"setup.py"}
    assert not {name for name in held if name.endswith((".so", "library.json"))}


def test_type_checkers_see_the_folders_under_their_import_names():
    for folder in FOLDERS:
        assert (PROJECT / ".types" / "lsd" / folder).resolve() == PROJECT / folder


def test_the_runtime_asks_for_three_packages_only():
    settings = configparser.ConfigParser()
    settings.read(PROJECT / "setup.cfg")
    needed = settings["options"]["install_requires"].split()
    assert sorted(line.split(">=")[0] for line in needed) == ["click", "numpy", "rasterio"]
