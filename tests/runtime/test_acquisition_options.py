"""--force takes names of checks, and nothing else."""

from __future__ import annotations

import click
from click.testing import CliRunner

from lsd.runtime.acquisition.gate import CHECK_NAMES
from lsd.runtime.cli.acquisition_options import acquisition_options, force_of


@click.command()
@acquisition_options
def command(force):
    click.echo(",".join(sorted(force_of(force))))


def run(*arguments):
    return CliRunner().invoke(command, arguments)


def test_none_some_and_all():
    assert run().output == "\n"
    assert run("--force", "offset", "--force", "vv-and-vh").output == "offset,vv-and-vh\n"
    assert run("--force", "all").output == "all\n"


def test_an_unknown_check_is_wrong_use():
    done = run("--force", "tile.tif")
    assert done.exit_code == 2 and "tile.tif" in done.output


def test_help_names_every_check():
    text = " ".join(run("--help").output.split())
    assert all(name in text for name in CHECK_NAMES)
