from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lsd.runtime.command import (
    LsdCommand,
    LsdGroup,
    options_from,
    progress_option,
    set_verbosity,
    verbosity_options,
)
from lsd.runtime.errors import ConfigurationError, GateError, LsdError, TileError


@dataclass(frozen=True)
class Options:
    stride: int = 64
    share: float = 0.5
    backend: str = "table"
    orbit: str | None = None
    overwrite: bool = False


def stored(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "options.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def test_defaults_then_file_then_flags(tmp_path):
    file = stored(tmp_path, {"stride": 32, "orbit": "ascending", "share": 1, "backend": None})
    found = options_from(Options, file, {"stride": 16, "orbit": None, "overwrite": None})
    assert found == Options(stride=16, share=1, backend="table", orbit="ascending", overwrite=False)
    assert options_from(Options, None, {"overwrite": True}) == Options(overwrite=True)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"strid": 3}, "unknown key 'strid', did you mean 'stride'?"),
        ({"zzz": 3}, r"unknown key 'zzz' \(known: stride, share, backend, orbit, overwrite\)"),
        ({"stride": "3"}, "stride must be int, is '3'"),
        ({"stride": True}, "stride must be int, is True"),
        ({"stride": 3.0}, "stride must be int, is 3.0"),
        ({"share": "x"}, "share must be float, is 'x'"),
        ({"orbit": 7}, "orbit must be str, is 7"),  # its default is None, its type is known all the same
        ({"overwrite": 1}, "overwrite must be bool, is 1"),
        ({"backend": ["table"]}, "backend must be str"),
        ([1], "expected a JSON object, found list"),
        ("{", "is not JSON"),
    ],
)
def test_a_file_of_options_that_cannot_be_used(tmp_path, content, line):
    with pytest.raises(ConfigurationError, match=line):
        options_from(Options, stored(tmp_path, content), {})


def test_a_file_that_is_not_there_or_not_utf8(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.json: cannot be read \(No such file"):
        options_from(Options, tmp_path / "absent.json", {})
    (tmp_path / "latin.json").write_bytes(b'{"backend": "\xe9"}')
    with pytest.raises(ConfigurationError, match=r"latin\.json: is not JSON"):
        options_from(Options, tmp_path / "latin.json", {})


@click.group(cls=LsdGroup)
def program() -> None:
    """A program."""


@program.command()
@click.argument("kind")
def zebra(kind: str) -> None:
    """Raise what is asked for."""
    errors = {
        "lsd": LsdError("two\n  lines  become\tone"),
        "tile": TileError("bad tile"),
        "gate": GateError("too far"),
        "stop": KeyboardInterrupt(),
        "bug": ZeroDivisionError("a bug"),
    }
    if kind in errors:
        raise errors[kind]
    click.echo("done")


@program.command()
@progress_option
@verbosity_options
def ant(progress: str, verbose: int, quiet: int) -> None:
    """Say what was given."""
    set_verbosity(verbose, quiet)
    click.echo(f"{progress} {logging.getLogger('lsd').level}")


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("lsd", 2, "error: two lines become one\n"),
        ("tile", 1, "error: bad tile\n"),
        ("gate", 3, "error: too far\n"),
        ("stop", 130, "stopped by the user; what was finished stays, nothing is half-written\n"),
    ],
)
def test_a_users_error_is_one_line_and_its_exit_code(kind, code, line):
    ran = CliRunner().invoke(program, ["zebra", kind])
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", line)


def test_a_bug_keeps_its_traceback():
    ran = CliRunner().invoke(program, ["zebra", "bug"])
    assert isinstance(ran.exception, ZeroDivisionError)


def test_commands_are_our_kind_and_keep_their_order():
    assert list(program.commands) == program.list_commands(click.Context(program)) == ["zebra", "ant"]
    assert all(isinstance(command, LsdCommand) for command in program.commands.values())


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ((), logging.WARNING),
        (("-v",), logging.INFO),
        (("-vv",), logging.DEBUG),
        (("-vvvv",), logging.DEBUG),
        (("-q",), logging.ERROR),
        (("-qqqqq",), logging.CRITICAL),
        (("-v", "-q"), logging.WARNING),
    ],
)
def test_verbosity_is_counted(flags, level):
    before = logging.getLogger("lsd").level
    ran = CliRunner().invoke(program, ["ant", "--progress", "json", *flags])
    logging.getLogger("lsd").setLevel(before)
    assert ran.stdout == f"json {level}\n"


def test_an_unknown_way_of_progress_is_refused():
    assert CliRunner().invoke(program, ["ant", "--progress", "dots"]).exit_code == 2
