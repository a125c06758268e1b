"""lsd-export verify: prove a bundle on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lsd.runtime.cli.encoder_options import encoder_options, encoders_of
from lsd.runtime.command import LsdCommand


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--backend",
    type=click.Choice(["table", "compiled"]),
    default="table",
    show_default=True,
    help="How forests are evaluated.",
)
@encoder_options
@click.option("--json", "as_json", is_flag=True, help="Print the stages as JSON.")
def verify(bundle: Path, backend: Any, as_json: bool, **flags: Any) -> None:
    """Check the hashes of BUNDLE and run its golden patches here, with the backends asked for.

    Exit code 3 if a stage differs from the reference.
    """
    from lsd.export.stages import table_of
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.parity import check_golden, require

    opened = open_bundle(bundle)
    results = check_golden(opened, Chain(opened, backend, encoders=encoders_of(flags)))
    if as_json:
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
    else:
        click.echo(table_of(results))
    require(results, str(bundle))
    click.echo(f"PASSED | {bundle} gives its reference results on this machine", err=True)
