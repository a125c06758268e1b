"""lsd-run meets an unfit bundle, machine or output: one line, exit code 2 or 3, nothing half-written."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import time
from contextlib import closing, suppress

import numpy as np
import pytest
from commands import ended, files, invoke, start
from tiles import L2A_NEW, optical, write_tiff

from bundles import random_bundle, write
from lsd.runtime.cli.run import main
from lsd.runtime.stream.output import STATE_FOLDER

NAMES = ["red", "green", "blue", "nir"]


def left_in(out):
    """Names of everything in an output folder."""
    return [path.name for path in out.iterdir()]


def manifest_with(**changes):
    def edit(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def changed_byte(folder):
    path = folder / "forests" / "optical-xgboost.forest"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def path_outside(folder):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    document["files"]["../secret"] = {"sha256": "0" * 64, "size_bytes": 1}
    path.write_text(json.dumps(document))


UNFIT = {
    "changed byte": (changed_byte, "forests/optical-xgboost.forest was changed since export: SHA-256 is"),
    "missing file": (lambda folder: (folder / "golden.npz").unlink(), "golden.npz is missing; copy the bundle again"),
    "path outside": (path_outside, "lists '../secret', a path that leaves the bundle; do not trust it"),
    "unknown schema": (manifest_with(schema_version=4), "schema version is 4, this lsd-edge reads 3; install"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is not JSON"),
    "unknown key": (manifest_with(tresholds=[]), "unknown key 'tresholds'"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_bundle(good, tmp_path, what):
    spoil, says = UNFIT[what]
    folder = write(random_bundle(configurations=("optical",)), tmp_path / "bundle")
    spoil(folder)
    ran = invoke(main, folder, good, "-o", tmp_path / "out")
    assert ran.code == 2 and says in ran.error and ran.out == "" and not (tmp_path / "out").exists()


def test_no_bundle(good, tmp_path):
    ran = invoke(main, tmp_path / "nowhere", good, "-o", tmp_path / "out")
    assert ran.code == 2 and "there is no bundle here; make one with lsd-export build" in ran.error


def test_a_machine_that_computes_otherwise_fails_the_self_test(bundle, good, tmp_path, monkeypatch):
    monkeypatch.setattr("lsd.runtime.chain.sigmoid", lambda margin: np.float32(1) / (1 + np.exp(1.1 * -margin)))
    ran = invoke(main, bundle, good, "-o", tmp_path / "out")
    assert ran.code == 3 and not (tmp_path / "out").exists()
    assert "self-test of" in ran.error and "probability: error" in ran.error and "do not use this bundle" in ran.error


def test_a_backend_that_the_bundle_does_not_hold(bundle, good, tmp_path):
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", "--backend", "compiled")
    assert (
        ran.code == 2 and "holds no compiled forest of 'all-lightgbm'" in ran.error and "--backend table" in ran.error
    )


def test_a_fallback_is_taken_only_if_allowed_and_told_everywhere(bundle, good, tmp_path):
    words = (bundle, good, "-o", tmp_path / "out", "--backend", "compiled")
    ran = invoke(main, *words, "--allow-fallback", "--json")
    assert ran.code == 0
    (line,) = [line for line in ran.err.splitlines() if line.startswith("warning: fell back to tables")]
    assert "asked for forests by compiled" in line and "holds no compiled forest" in line
    summary = json.loads(ran.out)
    found = json.loads((tmp_path / "out" / L2A_NEW / "detections.geojson").read_text())
    assert f"warning: {summary['bundle']['fallback']}" == line and found["bundle"]["fallback"] in line
    plain = invoke(main, bundle, good, "-o", tmp_path / "out", "--backend", "table", "--json")
    assert json.loads(plain.out)["totals"]["done_before"] == 0  # what fell back is no answer of what was asked for
    assert "fallback" not in json.loads(plain.out)["bundle"]


def test_a_fallback_that_fails_too_is_an_error(bundle, good, tmp_path, monkeypatch):
    monkeypatch.setattr("lsd.runtime.chain.sigmoid", lambda margin: np.float32(1) / (1 + np.exp(1.1 * -margin)))
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", "--allow-fallback")
    assert ran.code == 3 and "self-test of" in ran.error


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_an_output_below_a_file(bundle, good, tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    ran = invoke(main, bundle, good, "-o", tmp_path / below)
    assert ran.code == 2 and f"cannot write {tmp_path / 'file'}" in ran.error
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_stops_the_run_and_leaves_no_half_tile(bundle, good, tiny_disk):
    write_tiff(good / f"{L2A_NEW}.tif", optical(512, 512), NAMES)  # its picture is larger than the disk
    ran = invoke(main, bundle, good, "-o", tiny_disk / "out")
    assert ran.code == 2 and "No space left on device; free space on that disk" in ran.error and ran.out == ""
    assert files(tiny_disk) == {} and left_in(tiny_disk / "out") == [STATE_FOLDER]


def test_a_limit_on_file_size_stops_the_run_and_leaves_no_half_tile(bundle, good, tmp_path):
    write_tiff(good / f"{L2A_NEW}.tif", optical(1024, 1024), NAMES)  # its picture is larger than that
    limit = f"import resource; resource.setrlimit({resource.RLIMIT_FSIZE}, (400_000, 400_000))"
    ran = ended(start("lsd-run", bundle, good, "-o", tmp_path / "out", before=limit))
    assert ran.code == 2 and "File too large; raise the limit on file size" in ran.error
    assert left_in(tmp_path / "out") == [STATE_FOLDER]


def test_what_was_done_before_the_disk_was_full_stays(bundle, good, tmp_path):
    """The second tile has a picture too large for the limit, the first one has not."""
    write_tiff(good / f"zz_{L2A_NEW}.tif", optical(1024, 1024), NAMES)
    limit = f"import resource; resource.setrlimit({resource.RLIMIT_FSIZE}, (400_000, 400_000))"
    ran = ended(start("lsd-run", bundle, good, "-o", tmp_path / "out", before=limit))
    assert ran.code == 2 and "File too large" in ran.error
    assert {name.split("/")[0] for name in files(tmp_path / "out")} == {L2A_NEW, "summary.json"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [tile["id"] for tile in summary["tiles"]] == [L2A_NEW]


# a test run in the background of a shell inherits an ignored SIGINT: take it back
LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def once(process, is_so):
    """Wait until `is_so()`, as long as the process lives."""
    deadline_s = time.monotonic() + 30
    while not is_so() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.005)
    assert is_so(), process.communicate()


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_leaves_no_half_tile(bundle, good, tmp_path, signals):
    """While a tile is scored; a second one may interrupt the tidying up."""
    write_tiff(good / f"{L2A_NEW}.tif", optical(500, 500), NAMES)
    out = tmp_path / "out"
    process = start("lsd-run", bundle, good, "-o", out, "--stride", "2", "--progress", "off", before=LISTEN)
    journal = out / STATE_FOLDER / "journal.sqlite"

    def is_begun():
        if not journal.is_file():
            return False
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database, suppress(sqlite3.Error):
            return bool(database.execute("SELECT count(*) FROM tiles").fetchone()[0])
        return False

    once(process, is_begun)
    time.sleep(0.2)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    ran = ended(process)
    if signals == 1:
        assert ran.code == 130 and "Traceback" not in ran.err and left_in(out) == [STATE_FOLDER]
        assert "stopped by the user; what was finished stays, nothing is half-written" in ran.err
    assert ran.code != 0 and not (out / L2A_NEW).exists()
    again = invoke(main, bundle, good, "-o", out)
    assert again.code == 0 and set(files(out)) >= {f"{L2A_NEW}/scores.tif", "summary.json"}


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_while_products_are_written_leaves_all_of_them_or_none(bundle, good, tmp_path, signals):
    """They are written by another thread, which may finish them; a hidden folder may stay after a second one, and does
    not matter to the next run."""
    write_tiff(good / f"{L2A_NEW}.tif", optical(200, 200), NAMES)
    words = (bundle, good, "--stride", "4", "--progress", "off")
    out = tmp_path / "out"
    process = start("lsd-run", *words, "-o", out, before=LISTEN)
    partial = out / f".{L2A_NEW}.partial"
    once(process, lambda: partial.is_dir() or (out / L2A_NEW).is_dir())
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    ran = ended(process)
    assert signals == 2 or ("Traceback" not in ran.err and not partial.exists())
    assert invoke(main, *words, "-o", tmp_path / "undisturbed").code == 0
    whole = {name: data for name, data in files(tmp_path / "undisturbed").items() if name.startswith(L2A_NEW)}
    left = {name: data for name, data in files(out).items() if name.startswith(L2A_NEW)}
    assert left in ({}, whole)
    assert invoke(main, *words, "-o", out).code == 0
    assert {name: data for name, data in files(out).items() if name.startswith(L2A_NEW)} == whole


def test_a_reader_that_goes_away_is_no_traceback(bundle, good, tmp_path):
    with start("lsd-run", bundle, good, "-o", tmp_path / "out", "--json") as process:
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err and (tmp_path / "out" / "summary.json").is_file()
