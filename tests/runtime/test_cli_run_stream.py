"""lsd-run as a stream: a folder that is watched, lines on stdin, a list; what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from commands import ended, invoke, start
from tiles import L2A_NEW, optical, write_tiff

from lsd.runtime.cli.run import main

NAMES = ["red", "green", "blue", "nir"]


def wait_for(path: Path, process: subprocess.Popen[str], limit_s: float = 40) -> None:
    deadline_s = time.monotonic() + limit_s
    while not path.exists() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert path.exists(), process.communicate(timeout=5) if process.poll() is not None else "it did not come in time"


def test_a_watched_folder_takes_tiles_as_they_arrive(bundle, good, tmp_path):
    """One is there, one is copied slowly under its final name, one is renamed in; a folder made later counts too."""
    out = tmp_path / "out"
    process = start(
        "lsd-run", bundle, good, "--watch", "--quiet-s", "0.6", "--poll-s", "0.2", "-o", out, "--listen", ":0", "-v"
    )
    try:
        wait_for(out / L2A_NEW / "scores.tif", process)
        content = write_tiff(tmp_path / "elsewhere.tif", optical(seed=4), NAMES).read_bytes()
        slow = good / f"slow_{L2A_NEW}.tif"
        with slow.open("wb") as file:
            for first in range(0, len(content), len(content) // 4 + 1):
                file.write(content[first : first + len(content) // 4 + 1])
                file.flush()
                time.sleep(0.3)
                assert not (out / slow.stem).exists()
        wait_for(out / slow.stem / "scores.tif", process)
        write_tiff(tmp_path / "moved.tif", optical(seed=6), NAMES).rename(good / f"moved_{L2A_NEW}.tif")
        wait_for(out / f"moved_{L2A_NEW}" / "scores.tif", process)
        status = invoke(main, "status", out, "--json")
        state = json.loads((out / ".lsd-run" / "state.json").read_text())
        assert status.code == 0 and state["state"] in ("watching", "scoring")
    finally:
        process.send_signal(signal.SIGTERM)
        ran = ended(process)
    assert ran.code == 0 and "listening on http://127.0.0.1:" in ran.err, ran.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["totals"]["done"] == 3 and summary["totals"]["failed"] == 0
    assert ran.err.splitlines()[-1].startswith("STOPPED, DONE | ")
    assert (
        'http-equiv="refresh"' not in (out / "index.html").read_text()
    )  # it has ended: the page does not load itself again
    again = invoke(main, bundle, good, "-o", out, "--json")
    assert json.loads(again.out)["totals"]["done_before"] == 3


def test_metrics_are_served_while_the_run_goes_on(bundle, good, tmp_path):
    out = tmp_path / "out"
    process = start("lsd-run", bundle, good, "--watch", "--quiet-s", "0.2", "-o", out, "--listen", ":0")
    try:
        assert process.stderr is not None
        url = next(line for line in process.stderr if line.startswith("listening on ")).split()[2]
        wait_for(out / "index.html", process)
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()
        assert 'lsd_tiles_total{status="done"} 1' in text
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        assert 'http-equiv="refresh"' in (out / "index.html").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert ended(process).code == 0


def test_lines_on_stdin_are_taken_one_by_one(bundle, good, tmp_path):
    second = write_tiff(tmp_path / "more" / f"zz_{L2A_NEW}.tif", optical(seed=3), NAMES)
    lines = [str(good / f"{L2A_NEW}.tif"), "{broken", json.dumps({"path": str(second)}), str(tmp_path / "nowhere")]
    script = "from lsd.runtime.cli.run import main\nmain(prog_name='lsd-run')"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(bundle), "-", "-o", str(tmp_path / "out"), "--json"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert [tile["id"] for tile in json.loads(ran.stdout)["tiles"]] == [L2A_NEW, f"zz_{L2A_NEW}"]
    skipped = [line for line in ran.stderr.splitlines() if "was skipped" in line]
    assert len(skipped) == 2 and "line 2" in skipped[0] and "malformed JSON" in skipped[0] and "line 4" in skipped[1]


def test_a_list_of_sources(bundle, good, tmp_path):
    second = write_tiff(tmp_path / "more" / f"zz_{L2A_NEW}.tif", optical(seed=3), NAMES)
    (tmp_path / "list.txt").write_text(f"# after the storm\nin/{L2A_NEW}.tif\n\n{second}\n")
    ran = invoke(main, bundle, "--list", tmp_path / "list.txt", "-o", tmp_path / "out", "--json")
    assert ran.code == 0 and json.loads(ran.out)["totals"]["done"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no source is given; give a SOURCE"),
        (("--quiet-s", "3", "in"), "--quiet-s is for watched folders; add --watch"),
        (("--watch", "-"), "--watch watches folders, and - is given"),
        (("--force", "no-such-check", "in"), "no-such-check"),
        (("--exit", "often", "in"), "often"),
        (("--listen", "everywhere", "in"), "--listen must be HOST:PORT"),
    ],
)
def test_options_that_make_no_sense_are_one_line(bundle, tmp_path, words, says):
    (tmp_path / "in").mkdir()
    ran = invoke(main, bundle, *(tmp_path / "in" if word == "in" else word for word in words), "-o", tmp_path / "out")
    assert ran.code == 2 and says in ran.err and "Traceback" not in ran.err
