"""What every command shares: errors as one line with an exit code, -v/-q, and options from a file, then from flags."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click

from lsd.runtime.errors import ConfigurationError, LsdError
from lsd.runtime.nearest import did_you_mean

Options = TypeVar("Options")
Function = TypeVar("Function", bound=Callable[..., Any])


class LsdCommand(click.Command):
    """A command whose `LsdError` is one line on stderr and the error's exit code; a bug shows its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LsdError as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("stopped by the user; what was finished stays, nothing is half-written", err=True)
            ctx.exit(130)


class LsdGroup(click.Group):
    """A group whose commands are `LsdCommand`s, listed in the order in which they were added."""

    command_class = LsdCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in order of addition."""
        return list(self.commands)


def verbosity_options(function: Function) -> Function:
    """Add -v and -q, both counted; the command calls `set_verbosity(verbose, quiet)`."""
    function = click.option("-q", "--quiet", count=True, help="Say less on stderr; twice: errors only.")(function)
    return click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: debugging too.")(function)


def progress_option(function: Function) -> Function:
    """Add --progress."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "bar", "plain", "json", "off"]),
        default="auto",
        show_default=True,
        help="How progress is shown on stderr; auto: a bar on a terminal, plain lines otherwise.",
    )(function)


def set_verbosity(verbose: int, quiet: int) -> None:
    """Log level of everything below the logger `lsd`, on stderr: warnings by default."""
    level = logging.WARNING - 10 * verbose + 10 * quiet
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("lsd").setLevel(max(logging.DEBUG, min(level, logging.CRITICAL)))


def options_from(kind: type[Options], file: Path | None, flags: Mapping[str, Any]) -> Options:
    """The options of a command: defaults of the dataclass, then the file, then the flags that are not None.

    Args:
        kind: frozen dataclass with a default for every field, each of a plain JSON type or None.
        file: JSON object, or None; null in it means the default.
        flags: field name -> value, None where the flag was not given.
    Raises:
        ConfigurationError: the file cannot be read, has an unknown key or a value of the wrong type.
    """
    stored = {key: value for key, value in _stored(file).items() if value is not None} if file else {}
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    types = get_type_hints(kind)
    for key, value in stored.items():
        if key not in known:
            hint = did_you_mean(key, known) or f" (known: {', '.join(known)})"
            raise ConfigurationError(f"{file}: unknown key {key!r}{hint}")
        expected = [one for one in get_args(types[key]) or (types[key],) if one is not type(None)]
        if type(value) not in expected and not (type(value) is int and float in expected):
            names = " or ".join(one.__name__ for one in expected)
            raise ConfigurationError(f"{file}: {key} must be {names}, is {value!r}")
    given = {key: value for key, value in flags.items() if value is not None}
    return replace(kind(), **{**stored, **given})  # type: ignore[type-var]


def _stored(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigurationError(f"{file}: is not JSON ({error})") from error
    if not isinstance(stored, dict):
        raise ConfigurationError(f"{file}: expected a JSON object, found {type(stored).__name__}")
    return stored
