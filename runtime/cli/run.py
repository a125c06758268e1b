"""lsd-run: tiles in, detections on a map out."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lsd.runtime import __version__
from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError, OutputError, UsageError

SUMMARY_NAME = "summary.json"
BACKENDS = ("table", "compiled")
S2_OFFSETS = ("auto", "present", "absent")
ORBITS = ("ascending", "descending")


@dataclass(frozen=True)
class RunOptions:
    """Everything that steers a run besides bundle, sources and output; keys of --config.

    stride: px between patches, 1..64. min_valid, backend, s2_offset, orbit: see --help. batch_size, window_rows,
    window_columns: patches scored and read together; they bound memory and never change a result.
    """

    stride: int = 64
    backend: str = "table"
    s2_offset: str = "auto"
    orbit: str | None = None
    batch_size: int = 128
    window_rows: int = 1
    window_columns: int = 64
    overwrite: bool = False

    def __post_init__(self) -> None:
        choices = {"backend": BACKENDS, "s2_offset": S2_OFFSETS, "orbit": (None, *ORBITS)}
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ConfigurationError(
                    f"{key} must be one of {', '.join(map(str, allowed))}, is {getattr(self, key)!r}"
                )
        for key, most in (("stride", 64), ("batch_size", 4096), ("window_rows", 4096), ("window_columns", 4096)):
            if not 1 <= getattr(self, key) <= most:
                raise ConfigurationError(f"{key} must be 1..{most}, is {getattr(self, key)}")


def _doctor(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from lsd.runtime.doctor import block

        click.echo(block())
        context.exit()


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the products.")
@click.option("--stride", type=int, help="Pixels between patches, 1..64; below 64 they overlap.  [default: 64]")
@click.option(
    "--s2-offset",
    type=click.Choice(S2_OFFSETS),
    help="Whether Sentinel-2 DN hold the + 1,000 of baseline 04.00 and later.  [default: auto, by the product]",
)
@click.option("--orbit", type=click.Choice(ORBITS), help="Flight direction of radar bands that do not tell it.")
@click.option("--backend", type=click.Choice(BACKENDS), help="How forests are evaluated.  [default: table]")
@click.option("--batch-size", type=int, help="Patches scored together; bounds memory only.  [default: 128]")
@click.option("--window-rows", type=int, help="Patch rows read together; bounds memory only.  [default: 1]")
@click.option("--window-columns", type=int, help="Patch columns read together; bounds memory only.  [default: 64]")
@click.option("--overwrite", is_flag=True, default=None, help="Replace products that are there already.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print the run summary as JSON instead of a table.")
@click.option(
    "--doctor",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_doctor,
    help="Print one block of facts to paste into a report, and stop.",
)
@progress_option
@verbosity_options
@click.version_option(
    __version__, "--version", "--show-versions", message="lsd-edge %(version)s", help="Print the version, and stop."
)
def main(
    bundle: Path,
    sources: tuple[Path, ...],
    output: Path,
    config: Path | None,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Score the tiles of every SOURCE with BUNDLE and write maps of detections.

    A SOURCE is a GeoTIFF stack with named bands, a folder of single-band GeoTIFFs, or a folder above such. Each tile
    gets a folder in the output: detections.geojson, scores.tif (one pixel a patch), quicklook.png. summary.json tells
    what was looked at, what was not, and why.

    GDAL decodes into a cache of 256 MB; the environment variable GDAL_CACHEMAX (in MB) changes that.

    Exit codes: 0 done, 1 some tiles failed, 2 wrong use, unfit bundle or output, 3 the self-test on this machine
    failed.
    """
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.commit import prepare_output
    from lsd.runtime.parity import check_golden, require
    from lsd.runtime.progress import Progress
    from lsd.runtime.run import PRODUCTS, context_of, run_tiles
    from lsd.runtime.scoring import ScoringOptions
    from lsd.runtime.sinks.summary import RunSummary, TileResult
    from lsd.runtime.sources import SourceOptions

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    options = options_from(RunOptions, config, flags)
    for source in sources:
        if source.resolve() in (output.resolve(), *output.resolve().parents):
            raise UsageError(
                f"output {output} lies in the source {source}, where its products would be read as tiles; choose "
                "another folder with -o"
            )
    opened = open_bundle(bundle)
    chain = Chain(opened, options.backend)  # type: ignore[arg-type]
    require(check_golden(opened, chain), f"self-test of {bundle}")
    prepare_output(output)

    context, summary = context_of(opened), RunSummary()
    resolved = {**asdict(options), "bundle": str(bundle), "sources": [str(source) for source in sources]}
    if context.synthetic and quiet < 2:
        click.echo(
            "warning: this bundle was trained on synthetic data; its answers mean nothing on real ground", err=True
        )
    with Progress(progress if quiet == 0 else "off") as shown:

        def report(result: TileResult) -> None:
            summary.add(result)
            shown.advance(1, result.id)

        try:
            run_tiles(
                chain,
                context,
                sources,
                SourceOptions(options.s2_offset, options.orbit),  # type: ignore[arg-type]
                ScoringOptions(options.stride, options.batch_size, options.window_rows, options.window_columns),
                output,
                options.overwrite,
                report,
            )
        except OutputError:
            if summary.tiles:  # what was done before is told, where the disk still takes a small file
                with suppress(OutputError):
                    summary.write(output / SUMMARY_NAME, context, resolved)
            raise
    summary.write(output / SUMMARY_NAME, context, resolved)
    if as_json:
        click.echo(json.dumps(summary.to_json(context, resolved), indent=1, allow_nan=False))
    else:
        click.echo("\n".join([summary.table(), *summary.looks()]))
        click.echo(f"products: {output}/TILE/{{{', '.join(PRODUCTS.values())}}}; summary: {output / SUMMARY_NAME}")
    for line in summary.failures():
        click.echo(line, err=True)
    totals = summary.totals()
    outcome = "DONE" if not totals["failed"] else f"{totals['failed']} OF {totals['tiles']} TILES FAILED"
    runtime_s = time.perf_counter() - started_s
    if quiet < 2:
        click.echo(f"{outcome} | Runtime: {runtime_s:.1f} s | {totals['patches']} patches", err=True)
    if totals["failed"]:
        click.get_current_context().exit(1)
