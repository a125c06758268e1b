"""lsd-run merge: the tiles of an output folder as one result."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from lsd.runtime.command import LsdCommand, set_verbosity, verbosity_options
from lsd.runtime.errors import UsageError

FOLDER_NAME = "merged"


@click.command("merge", cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the products.  [default: OUT/merged]")
@click.option("--overwrite", is_flag=True, help="Replace merged products that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of lines.")
@verbosity_options
def merge(out: Path, output: Path | None, overwrite: bool, as_json: bool, verbose: int, quiet: int) -> None:
    """Join the tiles that lsd-run wrote into OUT, counting overlapping ground once.

    Writes detections.geojson, merged.gpkg, scores.tif (the most certain class at each place) and merged.json (totals).
    Detections of different tiles that overlap by more than half are one; where a tile found something and another
    nothing, both are told. All tiles must come from one bundle, one --prevalence and one --event-time.

    Exit codes: 0 done, 1 the products of some tiles cannot be read, 2 wrong use or output.
    """
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.merging.merge import MERGED_NAME, merge_tiles
    from lsd.runtime.sinks.merged import MERGED_PRODUCTS, summary_json, write_merged

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    target = out / FOLDER_NAME if output is None else output
    if target.resolve() in (out.resolve(), *out.resolve().parents):
        raise UsageError(f"output {target} holds the tiles to merge; choose another folder with -o")
    merged = merge_tiles(out, target)
    prepare_output(target.parent)
    with whole_folder(target, overwrite, MERGED_NAME) as folder:
        write_merged(folder, merged)
    totals = merged.totals
    if as_json:
        click.echo(json.dumps(summary_json(merged), indent=1, allow_nan=False))
    else:
        click.echo(
            f"tiles {totals['tiles']}: detections {totals['detections']} ({totals['likely']} likely, "
            f"{totals['possible']} possible), {totals['look']} more to look at"
        )
        click.echo(
            f"ground {totals['ground_km2']:.2f} km2, looked at {totals['scored_ground_km2']:.2f} km2, "
            f"{totals['unseen_ground_km2']:.2f} km2 unseen; patches with detections {totals['detections_km2']:.2f} km2"
        )
        click.echo(f"products: {target}/{{{', '.join(MERGED_PRODUCTS.values())}}}")
    for folder_name, error in merged.failed.items():
        click.echo(f"failed: {folder_name}: {error}", err=True)
    for tile, error in merged.not_scored.items():
        click.echo(f"look: {tile}: not scored by the last run ({error}); it is in no total", err=True)
    outcome = (
        f"{len(merged.failed)} OF {len(merged.failed) + totals['tiles']} TILES FAILED" if merged.failed else "DONE"
    )
    if quiet < 2:
        click.echo(f"{outcome} | Runtime: {time.perf_counter() - started_s:.1f} s | tiles {totals['tiles']}", err=True)
    if merged.failed:
        click.get_current_context().exit(1)
