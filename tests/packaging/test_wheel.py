"""The wheel holds what the tree holds: an editable install hides a forgotten package."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("train", "export", "runtime", "benchmarks")
RECORDS = PROJECT / "benchmarks" / "results"  # measurements, not code: they stay in the repository


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file() and not name.startswith(".types/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((PROJECT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = out.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_source_file_is_in_the_wheel(wheel_names):
    for folder in FOLDERS:
        for file in (PROJECT / folder).rglob("*"):
            if RECORDS in file.parents or "__pycache__" in file.parts:
                continue
            if file.suffix in (".py", ".json", ".typed"):
                assert f"lsd/{file.relative_to(PROJECT).as_posix()}" in wheel_names


def test_nothing_else_is_in_the_wheel(wheel_names):
    for name in wheel_names:
        if ".dist-info/" not in name:
            assert name.startswith("lsd/") and (PROJECT / name.removeprefix("lsd/")).is_file(), name
    assert "lsd/__init__.py" not in wheel_names  # a namespace


def test_type_checkers_see_the_folders_under_their_import_names():
    for folder in FOLDERS:
        assert (PROJECT / ".types" / "lsd" / folder).resolve() == PROJECT / folder


def test_the_runtime_asks_for_three_packages_only():
    settings = configparser.ConfigParser()
    settings.read(PROJECT / "setup.cfg")
    needed = settings["options"]["install_requires"].split()
    assert sorted(line.split(">=")[0] for line in needed) == ["click", "numpy", "rasterio"]
