"""State of a run: what matters most is told, health and readiness follow from it, the file is whole and bounded."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import pytest
from finished_runs import done_tile, failed_tile

from lsd.runtime.monitoring.state import STATES, RunState, boot_id
from lsd.runtime.monitoring.state_file import STATE_NAME, StateFile, read_state
from lsd.runtime.stream.events import (
    BundleChanged,
    BundleRefused,
    Drifted,
    Paused,
    Resumed,
    Stopping,
    TileBegun,
    TileEnded,
    TileKnown,
    TilesWaiting,
)


class Clock:
    """Seconds that move when told to."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def made(watching: bool = False) -> tuple[RunState, Clock, Clock]:
    wall, steady = Clock(1_700_000_000.0), Clock(50.0)
    return RunState(watching, wall, steady), wall, steady


def test_the_state_is_what_matters_most():
    state, wall, _ = made(watching=True)
    told = [state.as_dict()["state"]]
    steps = (
        lambda: state.ready("reference", "ab"),
        lambda: state(TileBegun("a")),
        lambda: state(TileBegun("b")),  # read ahead
        lambda: state(TileEnded(done_tile("a"))),
        lambda: state(Paused("disk full")),
        lambda: state(Stopping("SIGTERM")),
        lambda: state(Resumed(3.0)),
        lambda: state(TileKnown(done_tile("b"))),
        lambda: state.ended(1),
    )
    for step in steps:
        wall.now_s += 1
        step()
        told.append(state.as_dict()["state"])
    assert told == [
        "starting", "watching", "scoring", "scoring", "scoring", "paused", "paused", "stopping", "stopping", "ended",
    ]  # fmt: skip
    assert set(told) | {"idle"} == set(STATES)
    plain, _, _ = made()
    plain.ready("reference", "ab")
    assert plain.as_dict()["state"] == "idle"


def test_since_is_when_the_state_changed_last():
    state, wall, _ = made()
    state.ready("reference", "ab")
    wall.now_s += 10
    state(TileBegun("a"))
    wall.now_s += 10
    state(TilesWaiting((Path("b"),)))
    told = state.as_dict()
    assert told["since_utc"] == "2023-11-14T22:13:30.000Z" and told["updated_utc"] == "2023-11-14T22:13:40.000Z"
    assert told["in_hand"] == [{"tile": "a", "since_utc": "2023-11-14T22:13:30.000Z"}]
    assert told["waiting"] == {"number": 1, "paths": ["b"]}


def test_sums_and_the_last_error():
    state, _, _ = made()
    state.ready("reference", "ab", {"eva02": "onnxruntime fp32"})
    for result in (done_tile("a", exited=45), done_tile("b", exited=90), failed_tile("c")):
        state(TileBegun(result.id))
        state(TileEnded(result))
    state(TileKnown(done_tile("d")))
    told = state.as_dict()
    assert told["tiles"] == {"done": 2, "failed": 1, "known": 1} and told["in_hand"] == []
    assert told["patches"] == {"slide": 10, "look": 14, "no_slide": 156, "not_scored": 20}
    assert told["exited"] == 135 and told["exit_share"] == 0.75
    assert told["seconds"] == {"read": 1.1, "score": 4.0, "write": 0.5}
    assert told["last_error"]["tile"] == "c" and "truncated" in told["last_error"]["error"]
    assert told["last_tile"]["id"] == "c" and told["last_tile"]["status"] == "failed"
    assert told["engines"] == {"eva02": "onnxruntime fp32"}
    state(Drifted({"B02": 3.14159, "B03": float("nan")}, ("B02 moved",)))
    assert state.as_dict()["drift"] == {"shifts": {"B02": 3.142, "B03": None}, "warnings": ["B02 moved"]}
    state(BundleRefused("self-test failed"))
    assert state.as_dict()["last_error"]["tile"] is None and state.as_dict()["bundle"]["sha256"] == "ab"
    state(BundleChanged("new", "cd"))
    assert state.as_dict()["bundle"] == {"name": "new", "sha256": "cd"}
    assert json.loads(json.dumps(state.as_dict(), allow_nan=False)) == state.as_dict()


def test_no_exits_is_not_an_exit_share_of_zero():
    state, _, _ = made()
    state(TileEnded(done_tile("a")))
    assert state.as_dict()["exited"] is None and state.as_dict()["exit_share"] is None
    state(TileEnded(done_tile("b", exited=0)))
    assert state.as_dict()["exited"] == 0 and state.as_dict()["exit_share"] == 0


def test_the_rate_is_of_the_last_hour():
    state, _, steady = made()
    assert state.as_dict()["tiles_per_hour"] is None  # nothing can be said yet
    for _ in range(30):
        steady.now_s += 60
        state(TileEnded(done_tile("a")))
    state(TileKnown(done_tile("b")))  # cost nothing
    assert state.as_dict()["tiles_per_hour"] == 60  # half an hour, 30 tiles
    steady.now_s += 1800
    assert state.as_dict()["tiles_per_hour"] == 30  # an hour, 30 tiles
    steady.now_s += 1201  # what ended in the first 1,201 s is older than an hour
    assert state.as_dict()["tiles_per_hour"] == 10
    steady.now_s += 3600
    assert state.as_dict()["tiles_per_hour"] == 0


def test_lists_are_bounded_and_their_length_told():
    state, _, _ = made()
    state(TilesWaiting(tuple(Path(f"{number}") for number in range(1000))))
    waiting = state.as_dict()["waiting"]
    assert waiting["number"] == 1000 and len(waiting["paths"]) == 20


def test_alive_is_who_moves():
    state, _, steady = made()
    steady.now_s += 11
    assert state.unfit(stuck_s=10) == "the run has not moved for 11 s (10 s allowed); it is starting"
    state.ready("reference", "ab")
    state(TileBegun("a"))
    steady.now_s += 10
    assert state.unfit(stuck_s=10) is None
    steady.now_s += 1
    assert state.unfit(stuck_s=10) == "the run has not moved for 11 s (10 s allowed); it is scoring"
    state.moved()
    assert state.unfit(stuck_s=10) is None and state.moved_s_ago() == 0
    steady.now_s += 60
    state(TilesWaiting(()))  # an event is a move
    assert state.unfit(stuck_s=10) is None
    for wait in (Paused("disk full"), TileEnded(done_tile("a")), Resumed(1.0)):  # for a disk, then for tiles
        state(wait)
        steady.now_s += 1000
        assert state.unfit(stuck_s=10) is None
    state.ended(0)
    assert state.unfit(stuck_s=10) == "the run has ended with exit code 0"


def test_ready_is_who_takes_tiles():
    state, _, _ = made()
    assert state.unready() == "the bundle is not open yet or its self-test not done"
    state.ready("reference", "ab")
    assert state.unready() is None
    state(TileBegun("a"))
    assert state.unready() is None
    state(Paused("disk full"))
    assert state.unready() == "paused: disk full"
    state(Resumed(1.0))
    assert state.unready() is None
    state(Stopping("SIGTERM"))
    assert state.unready() == "stopping: SIGTERM"


def test_threads_lose_nothing():
    state = RunState()

    def work() -> None:
        for _ in range(500):
            state(TileEnded(done_tile("a")))
            state.as_dict()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.as_dict()["tiles"]["done"] == 2000 and state.as_dict()["patches"]["slide"] == 10_000


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_file_follows_the_state_and_tells_the_end(tmp_path):
    state = RunState()
    with StateFile(tmp_path, state, every_s=0.02):
        state.ready("reference", "ab")
        deadline_s = time.monotonic() + 10
        while (read_state(tmp_path) or {}).get("state") != "idle":
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        state(TileBegun("a"))
        state.ended(0)  # must not wait for the next round
    told = read_state(tmp_path)
    assert told is not None and told["state"] == "ended" and told["boot_id"] == boot_id() != ""
    assert [path.name for path in tmp_path.iterdir()] == [STATE_NAME]


def test_the_file_is_written_at_most_once_in_a_while_and_is_always_whole(tmp_path):
    state, seen = RunState(), set()
    with StateFile(tmp_path, state, every_s=0.2):
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            state(TileEnded(done_tile("a")))
            try:
                text = (tmp_path / STATE_NAME).read_text()
            except FileNotFoundError:
                continue
            seen.add(json.loads(text)["tiles"]["done"])
    assert 2 <= len(seen) <= 6  # 1 s / .2 s, and the first
    told = read_state(tmp_path)
    assert told is not None and told["tiles"]["done"] == state.as_dict()["tiles"]["done"] > 6


def test_nothing_new_is_not_written(tmp_path):
    state = RunState()
    with StateFile(tmp_path, state, every_s=0.02):
        time.sleep(0.2)
        before = (tmp_path / STATE_NAME).stat().st_ino, (tmp_path / STATE_NAME).stat().st_mtime_ns
        time.sleep(0.3)
        assert ((tmp_path / STATE_NAME).stat().st_ino, (tmp_path / STATE_NAME).stat().st_mtime_ns) == before


def test_a_folder_that_is_gone_is_told_once_and_stays_gone(tmp_path, caplog):
    gone, state = tmp_path / "mount" / ".lsd-run", RunState()
    with caplog.at_level(logging.WARNING), StateFile(gone, state, every_s=0.01):
        for _ in range(10):
            state(TileEnded(done_tile("a")))
            time.sleep(0.02)
    assert not gone.parent.exists()
    assert len(caplog.records) == 1 and "cannot be written" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 99}', "\x00"])
def test_a_damaged_file_tells_nothing(content, tmp_path):
    (tmp_path / STATE_NAME).write_text(content)
    assert read_state(tmp_path) is None
