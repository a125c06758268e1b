"""The journal survives a kill; the lock lets one run in; both say in one line what is wrong."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from lsd.runtime.errors import OutputError
from lsd.runtime.sinks.summary import TileResult, failed_result
from lsd.runtime.stream.journal import Journal
from lsd.runtime.stream.lock import OutputLock
from lsd.runtime.tiles import Decision, Scene

DONE = TileResult(
    id="T33",
    status="done",
    counts={"patches": 4, "slide": 1},
    configurations={"all": 4},
    max_probability=0.75,
    warnings=("look at it",),
    decisions=(Decision("offset", "kept", "by its name"),),
    scenes=(Scene("S2A", "sentinel-2", "optical", "L2A", "2024-04-03T00:00:00Z", ("red", "blue")),),
    outline_deg=((1.0, 2.0), (3.0, 2.0), (3.0, 1.0), (1.0, 1.0)),
    grid=(2, 2),
    products={"scores": "T33/scores.tif"},
    seconds={"read": 0.5},
)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def test_a_tile_is_begun_then_done_and_comes_back_as_it_was(journal, tmp_path):
    assert journal.entry("T33") is None
    assert journal.begin("T33", "T33", "key", "bundle") == 1
    entry = journal.entry("T33")
    assert entry is not None and (entry.state, entry.result, entry.ended_utc) == ("begun", None, None)
    journal.end("T33", DONE)
    other = Journal(tmp_path / "journal.sqlite")  # what was committed is there for whoever opens the file now
    entry = other.entry("T33")
    other.close()
    assert entry is not None and (entry.state, entry.key, entry.bundle_sha256) == ("done", "key", "bundle")
    assert entry.result == DONE and entry.ended_utc is not None and entry.begun_utc <= entry.ended_utc


def test_attempts_count_beginnings_without_an_end(journal):
    assert [journal.begin("T33", "T33", "key", "b") for _ in range(3)] == [1, 2, 3]
    assert journal.begin("T33", "T33", "key", "b", counts=False) == 3
    assert journal.begin("T33", "T33", "another key", "b") == 1
    journal.end("T33", failed_result("T33", ValueError("torn"), {}))
    entry = journal.entry("T33")
    assert entry is not None and entry.state == "failed" and entry.result.error == "torn"
    assert journal.begin("T33", "T33", "another key", "b") == 1
    assert [entry.folder for entry in journal.entries()] == ["T33"]


def test_a_kill_keeps_what_was_committed(tmp_path):
    path = tmp_path / "journal.sqlite"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom lsd.runtime.stream.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(50):\n    journal.begin(f'T{number:02}', 'T', 'key', 'b')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ran = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert ran.returncode == -signal.SIGKILL
    journal = Journal(path)
    assert [entry.folder for entry in journal.entries()] == [f"T{number:02}" for number in range(50)]
    journal.close()


def test_another_file_and_another_version_are_refused(tmp_path):
    (tmp_path / "text").write_text("no journal of anything, but long enough to be looked at" * 20)
    with pytest.raises(OutputError, match="file is not a database; it is no journal of lsd-run"):
        Journal(tmp_path / "text")
    journal = Journal(tmp_path / "journal.sqlite")
    journal.close()
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    with database:
        database.execute("UPDATE meta SET value = '7'")
    database.close()
    with pytest.raises(OutputError, match="schema version is 7, this lsd-edge writes 1"):
        Journal(tmp_path / "journal.sqlite")


def test_a_full_disk_is_an_error_that_may_pass(tiny_disk):
    journal = Journal(tiny_disk / "journal.sqlite")
    (tiny_disk / "ballast").write_bytes(b"")
    with (tiny_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError):
        while True:
            ballast.write(bytes(1024))
    with pytest.raises(OutputError, match="free space on that disk") as caught:
        for number in range(200):
            journal.begin(f"T{number}", "T" * 200, "key", "b")
    assert caught.value.errno == errno.ENOSPC
    (tiny_disk / "ballast").unlink()
    journal.begin("after", "after", "key", "b")
    entry = journal.entry("after")
    assert entry is not None and entry.state == "begun"
    journal.close()


def test_a_lock_names_who_holds_it_and_ends_with_its_process(tmp_path):
    path = tmp_path / "out" / ".lsd-run" / "lock"
    path.parent.mkdir(parents=True)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom lsd.runtime.stream.lock import OutputLock\n"
        "lock = OutputLock(Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=rf"out is in use by another lsd-run \(process {holder.pid} on "):
            OutputLock(path)
        holder.kill()
    with OutputLock(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    with OutputLock(path):
        pass
