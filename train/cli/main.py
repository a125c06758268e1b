"""lsd-train: the group of training commands."""

from __future__ import annotations

import click

from lsd.runtime import __version__
from lsd.runtime.command import LsdGroup
from lsd.train.cli.forest import forest


@click.group(cls=LsdGroup)
@click.version_option(
    __version__, "--version", "--show-versions", message="lsd-edge %(version)s", help="Print the version, and stop."
)
def main() -> None:
    """Train models that say which 64 x 64 px patches hold a landslide."""


main.add_command(forest)
