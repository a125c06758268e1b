"""lsd-run status: true beside a run that writes, after a kill and on a read-only mount, and it leaves no trace."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from finished_runs import SHA256, done_tile, endless_run, failed_tile, write_run

from lsd.runtime.cli.status import status
from lsd.runtime.monitoring.state_file import STATE_NAME, read_state
from lsd.runtime.monitoring.status import duration, status_of
from lsd.runtime.stream.journal import JOURNAL_NAME
from lsd.runtime.stream.output import STATE_FOLDER, Output


def call(*words: object):
    return CliRunner().invoke(status, [str(word) for word in words], catch_exceptions=False)


def traces(out: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with inode, time of change and content."""
    return {
        str(path.relative_to(out)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_run(tmp_path / "out", [done_tile("a", exited=45), done_tile("b", exited=90)])
    return tmp_path / "out"


def test_a_run_that_ended_well(out):
    done = call(out)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("run: none; the last one ended at 20") and "exit code 0; process " in lines[0]
    assert f"with bundle reference {SHA256[:12]} (eva02: onnxruntime fp32)" in lines[0]
    assert lines[1:4] == [
        "tiles: 2 done, 0 failed, 0 begun",
        "patches: 200: 10 slide, 14 look, 156 no slide, 20 not scored; 75.0 % of those scored left at the forest",
        "time: read 1.0 s (0.50 a tile), score 4.0 s (2.00 a tile), write 0.5 s (0.25 a tile)",
    ]
    assert done.stderr == "ENDED | 2 of 2 tiles done\n"


def test_json_holds_everything(out):
    done = call(out, "--json", "-qq")
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and done.stderr == ""
    assert found["situation"] == "ended" and found["looks"] == [] and found["bundles"] == {SHA256: 2}
    assert found["tiles"] == {"done": 2, "failed": 0, "begun": 0}
    assert found["patches"]["slide"] == 10 and found["exit_share"] == 0.75
    assert found["state"] == read_state(out / STATE_FOLDER)


def test_failures_are_listed_with_reasons_and_are_exit_code_1(tmp_path):
    failures = [failed_tile(f"tile {number}\x1b[2J", "no\nCRS") for number in range(25)]
    write_run(tmp_path, [done_tile("a"), *failures], exit_code=1)
    done = call(tmp_path)
    assert done.exit_code == 1 and "\x1b" not in done.output
    listed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert len(listed) == 20 and listed[0] == "failed: tile 0?[2J: no CRS"
    assert done.stdout.splitlines()[-1] == "and 5 more, in --json"
    assert done.stderr.splitlines() == ["look: 25 of 26 tiles failed", "ENDED | 1 of 26 tiles done"]
    assert len(json.loads(call(tmp_path, "--json").stdout)["failures"]) == 25


def test_beside_a_run_that_writes(tmp_path):
    with endless_run(tmp_path) as process:
        counts = []
        for _ in range(20):
            found = status_of(tmp_path)
            assert found.situation == "running" and found.looks == []
            assert found.state is not None and found.state["pid"] == process.pid
            assert found.journal.tiles["begun"] <= 1
            assert found.journal.totals.patches["slide"] == found.journal.tiles["done"]  # one moment
            counts.append(found.journal.tiles["done"])
            time.sleep(0.02)
        assert counts == sorted(counts) and counts[-1] > counts[0] >= 20
        done = call(tmp_path)
        assert done.exit_code == 0 and done.stderr.startswith("RUNNING | ")
        line = done.stdout.splitlines()[0]
        assert line.startswith(("run: scoring tile-", "run: watching since ")) and f"; process {process.pid} " in line
        assert process.poll() is None


def test_a_run_starts_beside_those_who_ask(tmp_path):
    with endless_run(tmp_path):
        with pytest.raises(Exception, match="in use by another lsd-run"):
            Output(tmp_path)
        call(tmp_path)
    with Output(tmp_path):  # nothing that asked still holds it
        assert status_of(tmp_path).situation == "running"


def test_after_a_kill_it_says_so_and_leaves_no_trace(tmp_path):
    with endless_run(tmp_path) as process:
        process.kill()
        process.wait()
        log = tmp_path / STATE_FOLDER / f"{JOURNAL_NAME}-wal"
        assert log.stat().st_size > 0  # what the process had not moved into the file
        before = traces(tmp_path)
        done = call(tmp_path)
        assert traces(tmp_path) == before
    assert done.exit_code == 1
    assert done.stdout.startswith("run: none; the last one broke off after ")
    assert "look: the last run ended without saying why (killed?); start it again" in done.stderr
    with Output(tmp_path) as output:  # the journal's own reader finds as many
        told = [entry.state for entry in output.journal.entries()].count("done")
    assert done.stderr.splitlines()[-1].startswith(f"BROKEN OFF | {told} of ")


def test_what_stands_in_the_write_ahead_log_alone_is_read_too(tmp_path):
    with Output(tmp_path / "out") as output:
        for number in range(3):
            output.journal.begin(f"{number}", f"{number}", "key", SHA256)
            output.journal.end(f"{number}", done_tile(f"{number}"))
            if number == 1:  # the file now holds two tiles, the log the third
                database = sqlite3.connect(output.journal.path)
                database.execute("PRAGMA wal_checkpoint(PASSIVE)")
                database.close()
        shutil.copytree(tmp_path / "out", tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
    assert status_of(tmp_path / "copy").journal.tiles["done"] == 3
    before = traces(tmp_path / "copy")
    (tmp_path / "copy" / STATE_FOLDER / f"{JOURNAL_NAME}-wal").unlink()
    assert status_of(tmp_path / "copy").journal.tiles["done"] == 2 and len(before) == 3  # so the log did matter


def test_reading_a_finished_run_leaves_no_trace(out):
    before = traces(out)
    assert set(before) == {f"{STATE_FOLDER}/{name}" for name in (JOURNAL_NAME, STATE_NAME, "lock")}
    assert call(out).exit_code == 0
    assert traces(out) == before


def test_a_machine_that_stopped_is_told_apart_from_a_kill(tmp_path):
    write_run(tmp_path, [done_tile("a")], begun=["b"], exit_code=None)
    place = tmp_path / STATE_FOLDER / STATE_NAME
    place.write_text(json.dumps({**json.loads(place.read_text()), "boot_id": "another"}))
    done = call(tmp_path)
    assert done.exit_code == 1 and "look: the last run ended when this machine stopped; start it again" in done.stderr
    assert "begun: b at 20" in done.stdout


def test_the_state_of_the_run_before_is_not_that_of_this_one(tmp_path):
    write_run(tmp_path, [done_tile("a")])
    place = tmp_path / STATE_FOLDER / STATE_NAME
    place.write_text(json.dumps({**json.loads(place.read_text()), "pid": os.getpid() + 1}))
    with Output(tmp_path):
        done = call(tmp_path)
    assert done.exit_code == 0 and done.stdout.startswith("run: running, has told nothing yet\n")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "paused", "reason": "disk full"}, "the run is paused: disk full"),
        ({"state": "scoring", "moved_s_ago": 5000.0}, "the run has not moved for 1 h 23 min; it may hang"),
        ({"drift": {"warnings": ["B02 of the stream has moved"]}}, "B02 of the stream has moved"),
        ({"updated_utc": "2024-01-01T00:00:00.000Z"}, "the run has told nothing for"),
    ],
)
def test_a_run_that_needs_a_person_is_exit_code_1(changes, words, tmp_path):
    write_run(tmp_path, [done_tile("a")], exit_code=None)
    place = tmp_path / STATE_FOLDER / STATE_NAME
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))
    with Output(tmp_path):
        done = call(tmp_path)
    assert done.exit_code == 1 and f"look: {words}" in done.stderr


def test_a_run_that_ended_otherwise_is_told(tmp_path):
    write_run(tmp_path, [done_tile("a")], begun=["b"], exit_code=2)
    assert status_of(tmp_path).looks == [
        "the last run ended with exit code 2",
        "1 tiles were begun and not finished; the next run does them again",
    ]


def test_without_a_state_file_the_journal_still_speaks(out):
    (out / STATE_FOLDER / STATE_NAME).write_text("{")
    done = call(out)
    assert done.exit_code == 0 and done.stdout.startswith("run: none; of the last one nothing is known\ntiles: 2 done")


@pytest.mark.parametrize("killed", [False, True])
def test_on_a_read_only_mount(killed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no right to mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        if killed:
            with endless_run(tmp_path / "made"):
                pass
            for name in (JOURNAL_NAME, f"{JOURNAL_NAME}-wal", "lock", STATE_NAME):  # as a backup has it, without -shm
                (disk / STATE_FOLDER).mkdir(exist_ok=True)
                shutil.copyfile(tmp_path / "made" / STATE_FOLDER / name, disk / STATE_FOLDER / name)
        else:
            write_run(disk, [done_tile("a")])
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        found = status_of(disk)
        assert found.situation == ("broken off" if killed else "ended")
        assert found.journal.tiles["done"] >= (20 if killed else 1)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("there", ["nothing", "folder", "text", "other schema"])
def test_no_journal_is_one_line_and_exit_code_2(there, tmp_path):
    folder = tmp_path / "out" / STATE_FOLDER
    if there == "folder":
        folder.parent.mkdir()
    elif there == "text":
        folder.mkdir(parents=True)
        (folder / JOURNAL_NAME).write_text("no database " * 100)
    elif there == "other schema":
        write_run(tmp_path / "out", [])
        database = sqlite3.connect(folder / JOURNAL_NAME)
        database.execute("UPDATE meta SET value = '99'")
        database.commit()
        database.close()
    done = call(tmp_path / "out")
    words = {
        "nothing": f"holds no journal of lsd-run ({STATE_FOLDER}/{JOURNAL_NAME}); give the folder",
        "folder": "holds no journal of lsd-run",
        "text": "cannot be read (file is not a database)",
        "other schema": "journal schema version is 99, this lsd-edge reads 1",
    }[there]
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert (tmp_path / "out").exists() == (there != "nothing")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (12_000, "3 h 20 min")])
def test_durations_as_people_say_them(seconds, text):
    assert duration(seconds) == text
