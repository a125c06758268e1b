"""The option that says which patches a forest answers alone, shared by the commands that score."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lsd.runtime.exits import Exits

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTION = click.option(
    "--exit",
    metavar="off|certified|LO,HI",
    help="Patches that a forest answers alone, networks unasked: none, those of the bundle, or p < LO and p > HI of "
    "your own, which nobody measured.  [default: those of the bundle, if it has any]",
)


def exit_option(function: Function) -> Function:
    """Add the option; its flag is called `exit`, and the command hands it to `exits_of`."""
    return _OPTION(function)


def exits_of(text: str | None) -> Exits | None:
    """What the flag says, for `Chain`; see `lsd.runtime.exits.exits_of_text`.

    Raises:
        ConfigurationError: neither off nor certified nor two numbers 0 <= LO <= HI <= 1.
    """
    from lsd.runtime.exits import exits_of_text

    return exits_of_text(text)
