"""lsd-export verify: prove a bundle on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lsd.runtime.cli.encoder_options import encoder_options, encoders_of
from lsd.runtime.command import LsdCommand, progress_option


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
@click.option(
    "--thorough", is_flag=True, help="Compare networks with fp32 on ONNX Runtime on 3,000 patches as well (minutes)."
)
@progress_option
@click.option("--json", "as_json", is_flag=True, help="Print the stages as JSON.")
def verify(bundle: Path, backend: Any, thorough: bool, progress: Any, as_json: bool, **flags: Any) -> None:
    """Check the hashes of BUNDLE and run its golden patches here, with the backends asked for.

    Exit code 3 if a stage differs from the reference.
    """
    from lsd.export.stages import table_of
    from lsd.export.target_check import check_many, steps_of
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.parity import check_golden, require
    from lsd.runtime.progress import Progress

    opened = open_bundle(bundle)
    chain = Chain(opened, backend, encoders=encoders_of(flags))
    results = check_golden(opened, chain)
    if thorough:
        with Progress(progress, steps_of(chain)) as shown:
            results += check_many(opened, chain, shown.advance)
    if as_json:
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
    else:
        click.echo(table_of(results))
    require(results, str(bundle))
    click.echo(f"PASSED | {bundle} gives its reference results on this machine", err=True)
