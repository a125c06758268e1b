"""--listen and --log: what they open, what they refuse, and that all is closed at the end."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from finished_runs import done_tile

from lsd.runtime.cli.monitoring_options import monitoring_of, monitoring_options, place_of
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import UsageError
from lsd.runtime.monitoring.state_file import read_state
from lsd.runtime.stream.events import TileEnded


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        (":9464", ("127.0.0.1", 9464)),
        ("[::1]:65535", ("::1", 65535)),
        ("edge-7.local:80", ("edge-7.local", 80)),
    ],
)
def test_places(text, place):
    assert place_of(text) == place


@pytest.mark.parametrize(
    "text", ["", "9464", "127.0.0.1", "a:b", "a:-1", "a:65536", "::1:9464", "http://a:80", "a: 80"]
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(UsageError, match=r"--listen must be HOST:PORT, as 127\.0\.0\.1:9464 or"):
        place_of(text)


def test_everything_listens(tmp_path):
    flags = {"listen": ":0", "log": str(tmp_path / "log")}
    with monitoring_of(flags, tmp_path, watching=True) as monitoring:
        assert monitoring.url is not None
        monitoring.state.ready("reference", "ab")
        monitoring.listener(TileEnded(done_tile("a")))
        with urllib.request.urlopen(f"{monitoring.url}/metrics", timeout=10) as answer:
            assert 'lsd_tiles_total{status="done"} 1' in answer.read().decode()
        with urllib.request.urlopen(f"{monitoring.url}/status.json", timeout=10) as answer:
            assert json.load(answer)["state"] == "watching"
        monitoring.state.ended(0)
    assert json.loads((tmp_path / "log").read_text())["tile"] == "a"
    told = read_state(tmp_path)
    assert told is not None and told["state"] == "ended" and told["tiles"]["done"] == 1
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{monitoring.url}/metrics", timeout=10)


def test_without_options_only_the_state_file_is_kept(tmp_path):
    with monitoring_of({"listen": None, "log": None}, tmp_path) as monitoring:
        assert monitoring.url is None
        monitoring.listener(TileEnded(done_tile("a")))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_taken_port_ends_the_run_before_it_begins_and_closes_the_log(tmp_path):
    with monitoring_of({"listen": ":0", "log": None}, tmp_path) as first:
        taken = (first.url or "").removeprefix("http://")
        flags = {"listen": taken, "log": str(tmp_path / "log")}
        with pytest.raises(UsageError, match="another program listens there"), monitoring_of(flags, tmp_path):
            raise AssertionError("it must not begin")


@click.command(cls=LsdCommand)
@monitoring_options
def command(**flags: str | None) -> None:
    """Stand in for lsd-run."""
    with monitoring_of(flags, Path.cwd()) as monitoring:
        monitoring.listener(TileEnded(done_tile("a")))


def test_the_log_goes_to_stderr_as_a_dash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, ["--log", "-"])
    assert done.exit_code == 0 and done.stdout == "" and json.loads(done.stderr)["event"] == "tile_ended"
    done = CliRunner().invoke(command, ["--listen", "9464"])
    assert done.exit_code == 2 and done.stderr.startswith("error: --listen must be HOST:PORT")
