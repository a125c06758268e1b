"""What a start does not import: seconds differ from machine to machine, lists of modules do not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiles import L2A_NEW, optical, write_tiff

from lsd.runtime.acquisition import names
from lsd.runtime.acquisition.gate import CHECKS

HEAVY = {"numpy", "rasterio", "affine", "attr", "sqlite3", "http", "email", "ssl", "socket", "urllib.request", "ctypes"}
HEAVY |= {"xml", "unittest", "asyncio", "multiprocessing", "concurrent", "importlib.metadata", "importlib.resources"}
NOT_BEFORE_A_PATCH = {"http", "email", "ssl", "socket", "urllib.request", "xml.sax", "paho", "watchfiles", "pyarrow"}
NOT_BEFORE_A_PATCH |= {"multiprocessing", "asyncio", "unittest", "importlib.metadata"}
NOT_BEFORE_A_PATCH |= {
    f"lsd.runtime.{name}"
    for name in (
        "sinks.products",
        "sinks.geopackage",
        "sinks.geojson",
        "sinks.page.run_page",
        "ingest.pairs",
        "ingest.radar_products",
        "monitoring.run_log",
        "monitoring.server",
        "forest.compiled",
        "merging",
    )
}
OTHER_PARTS = {"torch", "onnxruntime", "lightgbm", "xgboost", "treelite", "scipy", "lsd.train", "lsd.export"}
AT_THE_END = """
import json, sys
from lsd.runtime.cli.run import main
try:
    main(sys.argv[1:])
finally:
    sys.stderr.write(json.dumps(sorted(sys.modules)) + "\\n")
"""
AT_THE_FIRST_PATCH = """
import json, sys
from lsd.runtime.chain import Chain
begin = Chain.begin
def first(chain, *words, **more):
    answered = begin(chain, *words, **more)
    Chain.begin = begin
    sys.stderr.write(json.dumps(sorted(sys.modules)) + "\\n")  # in one piece: other threads talk, too
    return answered
Chain.begin = first
from lsd.runtime.cli.run import main
main(sys.argv[1:])
"""
AROUND_LAYING_OUT = """
import json, sys
import lsd.runtime.stream.serving as serving
from lsd.runtime.chain import Chain
def tell():
    sys.stderr.write(json.dumps(sorted(sys.modules)) + "\\n")
lay_out, check = Chain.lay_out_forests, serving.check_golden
def before(chain):
    tell()
    return lay_out(chain)
def after(bundle, chain):
    tell()
    return check(bundle, chain)
if "WHEN" == "before":
    Chain.lay_out_forests = before
else:
    serving.check_golden = after
from lsd.runtime.cli.run import main
main(sys.argv[1:])
"""


def modules(code: str, *words: object) -> set[str]:
    """Modules that a fresh interpreter has imported where `code` prints them."""
    ran = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    lines = [line for line in ran.stderr.splitlines() if line.startswith("[")]
    assert lines, ran.stderr
    return set(json.loads(lines[0]))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["merge", "--help"], ["status", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words):
    imported = modules(AT_THE_END, *words)
    assert "lsd.runtime.cli.run" in imported
    assert imported & (HEAVY | OTHER_PARTS) == set()


def test_the_names_that_help_lists_are_those_of_the_checks():
    assert (*CHECKS, names.RANGE) == names.CHECK_NAMES


def test_the_first_patch_waits_for_nothing_that_it_does_not_need(bundle, tmp_path):
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    imported = modules(AT_THE_FIRST_PATCH, bundle, tmp_path / "in", "-o", tmp_path / "out")
    assert "numpy" in imported
    assert imported & (NOT_BEFORE_A_PATCH | OTHER_PARTS) == set()


def test_forests_are_laid_out_while_rasterio_is_imported(bundle, tmp_path):
    """The library works without the interpreter's lock, and what is imported meanwhile takes a fifth of a second."""
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    before, after = (
        modules(AROUND_LAYING_OUT.replace("WHEN", when), bundle, tmp_path / "in", "-o", tmp_path / "out")
        for when in ("before", "after")
    )
    assert "numpy" in before
    assert before & {"rasterio", "affine", "attr", "lsd.runtime.sources"} == set()
    assert {"rasterio", "lsd.runtime.sources", "lsd.runtime.sinks.quicklook"} <= after
