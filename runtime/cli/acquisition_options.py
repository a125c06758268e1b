"""The option that uses a tile in spite of a fault that its data prove."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from lsd.runtime.acquisition.names import CHECK_NAMES, FORCIBLE

Function = TypeVar("Function", bound=Callable[..., Any])


def acquisition_options(function: Function) -> Function:
    """Add `--force CHECK`; the command hands its value to `force_of`."""
    return click.option(
        "--force",
        "force",
        type=click.Choice(FORCIBLE),
        multiple=True,
        metavar="CHECK",
        help="Use tiles that this acquisition check refuses; the products say so. May be given again; `all` is every "
        f"check: {', '.join(CHECK_NAMES)}.",
    )(function)


def force_of(names: Iterable[str]) -> frozenset[str]:
    """The checks to overrule, as `inspection` takes them."""
    return frozenset(names)
