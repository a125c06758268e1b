"""lsd-run status: what the run of an output folder does, or how the last one ended."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lsd.runtime.command import LsdCommand, set_verbosity, verbosity_options


@click.command("status", cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with all failures, instead of lines.")
@verbosity_options
def status(out: Path, as_json: bool, verbose: int, quiet: int) -> None:
    """Tell what the run on the output folder OUT does, or how the last one ended.

    Shows tiles done, failed and begun, failures with their reasons, patches by outcome, the share that left at the
    forest, and the time by stage. Only reads, also while a run writes and on a read-only mount.

    Exit codes: 0 all is well, whether a run goes on or not; 1 look at it: tiles failed, the run is paused or may hang,
    or the last one broke off; 2 OUT holds no journal of lsd-run.
    """
    from lsd.runtime.monitoring.status import plain, status_of

    set_verbosity(verbose, quiet)
    found = status_of(out)
    click.echo(json.dumps(found.to_json(), indent=1) if as_json else "\n".join(found.lines()))
    for line in found.looks:
        click.echo(f"look: {plain(line)}", err=True)
    if quiet < 2:
        tiles = found.journal.tiles
        click.echo(f"{found.situation.upper()} | {tiles['done']} of {sum(tiles.values())} tiles done", err=True)
    if found.looks:
        click.get_current_context().exit(1)
