"""Progress: a bar on terminals only, few lines in a log, JSON for supervisors, and never the end of a run."""

from __future__ import annotations

import io
import json
import os
import pty
from collections.abc import Callable

import pytest

from lsd.runtime.progress import Mode, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ticking(step_s: float) -> Callable[[], float]:
    """Clock that moves by `step_s` each time it is read."""
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += step_s
        return now_s[0]

    return clock


def run(mode: Mode, stream: io.StringIO, step_s: float = 10.0, total: int | None = 3) -> str:
    with Progress(mode, total, stream, ticking(step_s)) as progress:
        for name in ("a", "b", "c"):
            progress.advance(1, f"tile {name}")
    return stream.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    text = run("auto", Terminal())
    assert text.count("\r") == 5 and text.endswith("[########################] 3 of 3: tile c\x1b[K\n")
    assert "[########................] 1 of 3, 1 min 0 s left: tile a" in text


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Terminal(), "dumb")])
def test_anything_else_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str):
    monkeypatch.setenv("TERM", term)
    text = run("auto", stream)
    assert "\r" not in text and "\x1b" not in text
    assert text.splitlines()[0].startswith("1 of 3 in ") and text.splitlines()[-1].startswith("3 of 3 in ")


def test_fast_units_do_not_flood_a_log():
    stream = io.StringIO()
    with Progress("plain", None, stream, ticking(0.01)) as progress:
        for _ in range(1200):
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 5 and lines[-1].startswith("1200 in ")


def test_json_lines_say_where_it_is_and_how_it_ended():
    lines = [json.loads(line) for line in run("json", io.StringIO()).splitlines()]
    assert [line["event"] for line in lines] == ["start", "progress", "progress", "progress", "end"]
    assert [line["done"] for line in lines] == [0, 1, 2, 3, 3]
    assert lines[1]["note"] == "tile a" and lines[0]["total"] == 3 and lines[-1]["complete"] is True
    assert all(later["elapsed_s"] >= earlier["elapsed_s"] for earlier, later in zip(lines, lines[1:], strict=False))


@pytest.mark.parametrize("mode", ["plain", "json", "bar"])
def test_a_run_that_fails_is_not_reported_as_complete(mode: Mode):
    stream = io.StringIO()
    with pytest.raises(ValueError, match="disk"), Progress(mode, 9, stream) as progress:
        progress.advance(2)
        raise ValueError("disk")
    last = stream.getvalue().splitlines()[-1]
    assert "2 of 9" in last or '"complete": false' in last
    assert "stopped" in last or mode != "plain"


def test_off_is_silent():
    assert run("off", io.StringIO()) == ""


def test_an_unknown_total_has_no_bar_to_fill():
    assert "[" not in run("bar", io.StringIO(), total=None).replace("\x1b[K", "")


def test_a_note_cannot_break_the_line():
    stream = io.StringIO()
    with Progress("plain", 1, stream, ticking(10.0)) as progress:
        progress.advance(1, "two\nlines\r")
    assert all("two lines" in line for line in stream.getvalue().splitlines())


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("mode", ["plain", "json", "bar"])
def test_a_reader_that_went_away_does_not_end_the_run(mode: Mode):
    with Progress(mode, 3, Closed(), ticking(10.0)) as progress:
        progress.advance(3)
        assert progress.done == 3


def test_a_bar_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((30, 20)))
    outer, inner = pty.openpty()
    with os.fdopen(inner, "w") as stream, Progress("auto", 5, stream, ticking(10.0)) as progress:
        progress.advance(1, "a tile with a very long name indeed")
    text = os.read(outer, 4096).decode()
    os.close(outer)
    shown = [part.partition("\x1b")[0] for part in text.split("\r") if part.strip()]
    assert shown and max(map(len, shown)) < 30
