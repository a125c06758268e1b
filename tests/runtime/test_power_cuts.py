"""The power goes while lsd-run writes: a sample of what a disk may then hold (the benchmark of that name takes all)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lsd.benchmarks import power_cuts
from lsd.benchmarks.disk_states import MODELS, Disk
from lsd.benchmarks.power_cuts import (
    OUT,
    Scenario,
    after_run,
    before_run,
    measured,
    operation,
    replayed,
    scenarios,
    states_of,
    walk,
)
from lsd.benchmarks.write_log import Step, recorded, steps, tree_of, write_tree

MOST = 12  # states of each run, beside those that a rename leads to

# a file that is written twice, forced, renamed and followed by another that is never forced
LOG = (
    Step("folder", "a"),
    Step("file", "a/x.partial"),
    Step("write", "a/x.partial", b"12345678"),
    Step("force", "a/x.partial"),
    Step("write", "a/x.partial", b"abcd", 2),
    Step("resize", "a/x.partial", offset=12),
    Step("move", "a/x.partial", target="a/x"),
    Step("file", "a/y"),
    Step("write", "a/y", b"yy"),
    Step("write", "a/y", b"zz", 2),
)


def after(count: int, *more: Step) -> Disk:
    disk = Disk({})
    for step in (*LOG[:count], *more):
        disk.apply(step)
    return disk


def test_what_was_not_forced_may_be_missing():
    disk = after(len(LOG))
    assert disk.tree("killed") == {"a": None, "a/x": b"12abcd78\0\0\0\0", "a/y": b"yyzz"}
    assert disk.tree("only_forced") == {}  # nobody forced the folder above
    assert disk.tree("names_without_data") == {"a": None, "a/x": b"12345678", "a/y": b""}
    assert disk.tree("torn_data") == {"a": None, "a/x": b"12abcd78\0\0\0\0", "a/y": b"yyz"}
    assert disk.tree("last_data_first") == {"a": None, "a/x": b"12345678\0\0\0\0", "a/y": b"\0\0zz"}
    assert disk.tree("last_name_first") == {"a": None, "a/y": b""}  # and so x is not there under either name


def test_forcing_a_folder_keeps_its_names_and_not_their_data():
    disk = after(len(LOG), Step("force", "."), Step("force", "a"))
    for model in ("only_forced", "last_name_first"):
        assert disk.tree(model) == {"a": None, "a/x": b"12345678", "a/y": b""}
    disk.apply(Step("force", "a/y"))
    disk.apply(Step("remove", "a/x"))
    assert disk.tree("only_forced") == {"a": None, "a/x": b"12345678", "a/y": b"yyzz"}
    assert disk.tree("last_name_first") == disk.tree("killed") == {"a": None, "a/y": b"yyzz"}


def test_what_was_there_before_is_sure():
    before = {"a": None, "a/x": b"old"}
    disk = Disk(before)
    assert all(disk.tree(model) == before for model in MODELS)
    disk.apply(Step("resize", "a/x"))
    assert disk.tree("killed") == {"a": None, "a/x": b""} and disk.tree("only_forced") == before


def test_a_call_that_is_not_understood_is_no_silent_gap():
    hexed = "".join(f"\\x{byte:02x}" for byte in b"/r/new")
    with pytest.raises(ValueError, match="symlink on new is not understood"):
        list(steps([f'7 symlink("\\x2f\\x61", "{hexed}") = 0'], Path("/r")))
    split = [
        '7 pwrite64(3</r/x>, "\\x41\\x42", 2, 5 <unfinished ...>',
        '8 write(4</elsewhere>, "\\x43", 1) = 1',
        "7 <... pwrite64 resumed>) = 2",
    ]
    assert list(steps(split, Path("/r"))) == [Step("write", "x", b"AB", 5)]


def test_a_command_is_recorded_whole(need_tool, tmp_path):
    need_tool("strace")
    script = (
        "import os, pathlib, sqlite3, sys, tempfile, shutil; root = pathlib.Path(sys.argv[1])\n"
        "(root / 'a').mkdir(); file = (root / 'a' / 'x').open('wb'); file.write(b'12345'); file.seek(2)\n"
        "file.write(b'q'); file.flush(); os.fsync(file.fileno()); file.close(); (root / 'a').rename(root / 'b')\n"
        "base = sqlite3.connect(root / 'base'); base.execute('PRAGMA journal_mode=WAL')\n"
        "base.execute('CREATE TABLE t (x)'); base.execute('INSERT INTO t VALUES (randomblob(9000))'); base.commit()\n"
        "tempfile.TemporaryFile(dir=root).write(b'nobody'); (root / 'c').mkdir(); shutil.rmtree(root / 'c')\n"
        "os._exit(0)"
    )
    root = tmp_path / "root"
    root.mkdir()
    disk = Disk({})
    for step in recorded([sys.executable, "-c", script, str(root)], root):
        disk.apply(step)
    shown = {path: content for path, content in tree_of(root).items() if not path.endswith("-shm")}
    assert shown == disk.tree("killed") and set(shown) >= {"b", "b/x", "base", "base-wal"} and shown["b/x"] == b"12q45"


@pytest.fixture(scope="module")
def runs(need_tool, bundle, tmp_path_factory) -> list[Scenario]:
    """Three recorded runs of two tiles."""
    need_tool("strace")
    return scenarios(bundle, tmp_path_factory.mktemp("runs"), tiles=2, size_px=64)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_what_a_disk_may_hold_recovers(runs, tmp_path, number):
    """States spread over the run, all that a rename leads to, and the last."""
    scenario = runs[number]
    states = states_of(scenario)
    assert len(states) > 10 * MOST and set(states[-1].promised) == set(scenario.keys)
    after_move = [one for one in states if any(operation(scenario, cut).startswith("move TILE") for cut in one.cuts)]
    spread = [*states[:: len(states) // MOST], states[-1]]
    sample = {id(state): state for state in (*spread, *after_move)}
    assert len(after_move) >= 2
    for state, wrong in replayed(scenario, list(sample.values()), tmp_path / "states"):
        assert not wrong, (scenario.name, [operation(scenario, cut) for cut in state.cuts[:3]], state.cuts[:3], wrong)


@pytest.mark.slow
def test_counts_do_not_depend_on_the_number_of_processes(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(power_cuts, "PART", 1)
    one, two = (measured(runs[1], tmp_path / f"{jobs}", most=2, jobs=jobs) for jobs in (1, 2))
    assert one == two and one["states_recovered"] == one["states_replayed"] >= 2 and one["not_recovered"] == []


@pytest.mark.slow
def test_a_run_that_forced_less_would_be_found_out(runs, tmp_path):
    """The last cut, on every disk: nothing is wrong, unless forced writes are left out of the log."""
    scenario = runs[1]
    hidden = re.compile(rf"{OUT}/[.]S2A\w+[.]partial/\w+[.]\w+")

    def wrong(left_out) -> set[str]:
        kept = [step for step in scenario.steps if step.kind != "force" or not left_out(step.path)]
        *_, (_, disk) = walk(scenario.before, kept)
        found = set()
        for model in MODELS:
            root = write_tree(disk.tree(model), tmp_path / f"{len(kept)}-{model}")
            found.update(before_run(scenario, root / OUT, scenario.keys))
        return found

    not_whole = "a folder under its final name is not whole"
    absent = "the journal has a tile as done that is not there, or not whole"
    undone = "a tile that was done is not done any more"
    assert wrong(lambda path: False) == set()
    assert wrong(lambda path: hidden.fullmatch(path)) == {not_whole, absent}
    assert wrong(lambda path: path == OUT) >= {undone}
    assert wrong(lambda path: "journal.sqlite" in path) >= {undone}


@pytest.mark.slow
def test_the_checks_see_what_is_lost(runs, tmp_path):
    scenario = runs[1]
    one, other = sorted(scenario.keys)
    *_, (_, disk) = walk(scenario.before, scenario.steps)
    whole = write_tree(disk.tree("killed"), tmp_path / "again") / OUT
    assert before_run(scenario, whole, scenario.keys) == [] == after_run(scenario, whole)
    (whole / one / "scores.tif").write_bytes(b"")
    assert before_run(scenario, whole, scenario.keys) == [
        "a folder under its final name is not whole",
        "the journal has a tile as done that is not there, or not whole",
    ]
    assert after_run(scenario, whole) == ["products differ"]
    empty = write_tree({OUT: None}, tmp_path / "empty") / OUT
    assert before_run(scenario, empty, scenario.keys) == ["a tile that was done is not done any more"] * 2
    (empty / other).mkdir()
    assert before_run(scenario, empty, {}) == ["a folder under its final name is not whole"]
    (empty / other / "mine.txt").write_text("of a user")
    (line,) = after_run(scenario, empty)
    assert line.startswith("exit code 2") and "is there already, and the journal does not know it" in line
