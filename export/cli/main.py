"""lsd-export: the group of export commands."""

from __future__ import annotations

import click

from lsd.export.cli.build import build
from lsd.export.cli.engine import engine
from lsd.export.cli.inspect import inspect
from lsd.export.cli.triton import triton
from lsd.export.cli.verify import verify
from lsd.runtime import __version__
from lsd.runtime.command import LsdGroup


@click.group(cls=LsdGroup)
@click.version_option(
    __version__, "--version", "--show-versions", message="lsd-edge %(version)s", help="Print the version, and stop."
)
def main() -> None:
    """Make bundles from training runs, look into them, and prove them on this machine."""


for command in (build, inspect, verify, engine, triton):
    main.add_command(command)
