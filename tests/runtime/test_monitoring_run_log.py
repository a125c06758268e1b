"""Structured log: one object a line that says when and what, and never the end of a run."""

from __future__ import annotations

import io
import json
import logging
import math
import threading
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import pytest
from finished_runs import done_tile, failed_tile

from lsd.runtime.errors import UsageError
from lsd.runtime.monitoring.run_log import JsonLog
from lsd.runtime.stream.events import (
    Event,
    Paused,
    Queued,
    Stopping,
    TileBegun,
    TileEnded,
    TileKnown,
    TilesWaiting,
)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_when_what_and_with_what(tmp_path):
    place = tmp_path / "run.log"
    with JsonLog(place, clock=lambda: 1_700_000_000.1239) as log:
        for event in (
            TileBegun("a"),
            TileEnded(done_tile("a", exited=3)),
            TileEnded(failed_tile("b", "no CRS")),
            TileKnown(done_tile("c")),
            TilesWaiting((Path("in/d"),)),
            Paused("disk full"),
        ):
            log(event)
        log.write("run_started", sources=[Path("in")])
    lines = read(place)
    assert {line["utc"] for line in lines} == {"2023-11-14T22:13:20.123Z"}
    assert [line["event"] for line in lines] == [
        "tile_begun", "tile_ended", "tile_ended", "tile_known", "tiles_waiting", "paused", "run_started",
    ]  # fmt: skip
    assert [line.get("tile") for line in lines[:4]] == ["a", "a", "b", "c"]
    assert lines[1]["counts"]["exited"] == 3 and lines[1]["seconds"]["score"] == 2.0
    assert lines[2]["status"] == "failed" and lines[2]["error"] == "no CRS"
    assert lines[4]["paths"] == ["in/d"] and lines[5]["reason"] == "disk full" and lines[6]["sources"] == ["in"]


def test_every_event_has_a_line(tmp_path):
    values = {"result": done_tile("a"), "paths": (Path("p"),), "waited_s": 1.0, "warnings": ("B02 moved",)}
    values["shifts"] = MappingProxyType({"B02": 2.5, "B03": math.nan})
    with JsonLog(tmp_path / "log") as log:
        for kind in get_args(Event):
            log(kind(**{field.name: values.get(field.name, "text") for field in fields(kind)}))
    lines = read(tmp_path / "log")
    told = set(get_args(Event)) - {Queued}  # of which the metrics tell
    assert len({line["event"] for line in lines}) == len(told) == len(lines)
    assert "NaN" not in (tmp_path / "log").read_text()


def test_names_of_strangers_stay_on_their_line(tmp_path):
    with JsonLog(tmp_path / "log") as log:
        log(TileBegun('a\n{"event": "tile_ended"}\udcff\x1b'))
    (line,) = read(tmp_path / "log")
    assert line["tile"] == 'a\n{"event": "tile_ended"}\udcff\x1b'
    assert (tmp_path / "log").read_bytes().isascii()


def test_a_log_is_appended_to_and_half_a_line_ended(tmp_path):
    place = tmp_path / "log"
    for _ in range(2):
        with JsonLog(place) as log:
            log(TileBegun("a"))
    assert len(read(place)) == 2
    place.write_bytes(place.read_bytes() + b'{"utc": "20')
    with JsonLog(place) as log:
        log(TileBegun("b"))
    lines = place.read_text().splitlines()
    assert lines[2] == '{"utc": "20' and json.loads(lines[3])["tile"] == "b"


def test_a_line_is_there_at_once(tmp_path):
    with JsonLog(tmp_path / "log") as log:
        log(TileBegun("a"))
        assert len(read(tmp_path / "log")) == 1


def test_a_full_disk_ends_the_log_not_the_run(caplog):
    with caplog.at_level(logging.WARNING):
        log = JsonLog(Path("/dev/full"))
        for _ in range(3):
            log(Stopping("SIGTERM"))
        log.close()
    assert len(caplog.records) == 1 and "the log /dev/full ends here" in caplog.text and "No space" in caplog.text


def test_a_reader_that_went_away_ends_the_log_not_the_run(caplog):
    stream = io.StringIO()
    log = JsonLog(stream)
    log(TileBegun("a"))
    assert json.loads(stream.getvalue())["tile"] == "a"
    log.close()
    assert not stream.closed  # it is not the log's own
    other = JsonLog(stream)
    stream.close()
    other(TileBegun("b"))
    assert len(caplog.records) == 1


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"--log .*absent/log cannot be opened \(No such file or directory\); give"):
        JsonLog(tmp_path / "absent" / "log")


def test_lines_of_threads_do_not_mix(tmp_path):
    with JsonLog(tmp_path / "log") as log:
        threads = [
            threading.Thread(target=lambda: [log(TileEnded(done_tile("a" * 9000))) for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read(tmp_path / "log")) == 200
