"""lsd-train: the group of training commands."""

from __future__ import annotations

import click

from lsd.runtime import __version__
from lsd.runtime.command import LsdGroup
from lsd.train.cli.cascade import cascade
from lsd.train.cli.encoder import encoder
from lsd.train.cli.ensemble import ensemble
from lsd.train.cli.evaluate import evaluate
from lsd.train.cli.forest import forest
from lsd.train.cli.import_checkpoints import import_checkpoints
from lsd.train.cli.surrogate import surrogate


@click.group(cls=LsdGroup)
@click.version_option(
    __version__, "--version", "--show-versions", message="lsd-edge %(version)s", help="Print the version, and stop."
)
def main() -> None:
    """Train models that say which 64 x 64 px patches hold a landslide."""


for command in (surrogate, forest, encoder, import_checkpoints, ensemble, cascade, evaluate):
    main.add_command(command)

if __name__ == "__main__":
    main()
