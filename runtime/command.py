"""What every command shares: errors as one line with an exit code, -v/-q, and options from a file, then from flags."""

from __future__ import annotations

import difflib
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from lsd.runtime.errors import ConfigurationError, LsdError

Options = TypeVar("Options")
Function = TypeVar("Function", bound=Callable[..., Any])


class LsdCommand(click.Command):
    """A command whose `LsdError` prints one line on stderr and exits with the error's code; a bug shows its traceback."""

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
        kind: frozen dataclass with a default for every field, each of a JSON type.
        file: JSON object, or None.
        flags: field name -> value, None where the flag was not given.
    Raises:
        ConfigurationError: the file cannot be read, has an unknown key or a value of the wrong type.
    """
    stored = _stored(file) if file else {}
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key, value in stored.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"
            raise ConfigurationError(f"{file}: unknown key {key!r}{hint}")
        default = getattr(kind(), key)
        if default is not None and value is not None and type(value) is not type(default):
            raise ConfigurationError(f"{file}: {key} must be {type(default).__name__}, is {value!r}")
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
