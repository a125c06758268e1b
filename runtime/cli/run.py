"""lsd-run: tiles in, detections on a map out."""

from __future__ import annotations

import importlib.util
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lsd.runtime import __version__
from lsd.runtime.backends.base import PRECISIONS
from lsd.runtime.backends.registry import BACKENDS as ENCODER_BACKENDS
from lsd.runtime.cli.dispatch import RunCommand
from lsd.runtime.cli.encoder_options import PROVIDERS, encoder_options, encoders_of
from lsd.runtime.command import options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError, OutputError, UsageError

SUMMARY_NAME = "summary.json"
PAGE_NAME = "index.html"
BACKENDS = ("table", "compiled")
S2_OFFSETS = ("auto", "present", "absent", "reflectance")
RADAR_UNITS = ("db", "power", "amplitude")
ORBITS = ("ascending", "descending")
EXTRAS = ("kml", "geoparquet")


@dataclass(frozen=True)
class RunOptions:
    """Everything that steers a run besides bundle, sources and output; keys of --config.

    stride: px between patches, 1..64. backend, s2_offset, radar_unit, orbit, event_time, pre_scenes, prevalence,
    force_coarse_radar, remote, extra (names separated by commas), encoders, precision, provider, encoder_batch,
    threads, engines: see --help. batch_size, window_rows,
    window_columns: patches scored and read together; they bound memory and never change a result.
    """

    stride: int = 64
    backend: str = "table"
    encoders: str = "onnxruntime"
    precision: str = "fp32"
    provider: str = "cpu"
    encoder_batch: int = 8
    threads: int | None = None
    engines: str | None = None
    s2_offset: str = "auto"
    radar_unit: str | None = None
    orbit: str | None = None
    event_time: str | None = None
    pre_scenes: int = 1
    prevalence: float | None = None
    force_coarse_radar: bool = False
    remote: bool = False
    extra: str | None = None
    batch_size: int = 128
    window_rows: int = 1
    window_columns: int = 64
    overwrite: bool = False

    def __post_init__(self) -> None:
        choices = {
            "backend": BACKENDS,
            "encoders": ENCODER_BACKENDS,
            "precision": PRECISIONS,
            "provider": PROVIDERS,
            "s2_offset": S2_OFFSETS,
            "radar_unit": (None, *RADAR_UNITS),
            "orbit": (None, *ORBITS),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ConfigurationError(
                    f"{key} must be one of {', '.join(map(str, allowed))}, is {getattr(self, key)!r}"
                )
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise ConfigurationError(f"prevalence must be above 0 and below 1, is {self.prevalence:g}")
        for extra in self.extras:
            if extra not in EXTRAS:
                raise ConfigurationError(f"extra must be of {', '.join(EXTRAS)}, is {extra!r}")
        if "geoparquet" in self.extras and importlib.util.find_spec("pyarrow") is None:
            raise UsageError("--extra geoparquet needs pyarrow: pip install 'lsd-edge[geoparquet]'")
        for key, most in (
            ("stride", 64),
            ("pre_scenes", 100),
            ("batch_size", 4096),
            ("encoder_batch", 4096),
            ("window_rows", 4096),
            ("window_columns", 4096),
        ):
            if not 1 <= getattr(self, key) <= most:
                raise ConfigurationError(f"{key} must be 1..{most}, is {getattr(self, key)}")

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the products to write beside the usual ones."""
        return tuple(filter(None, (self.extra or "").split(",")))


def _doctor(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from lsd.runtime.doctor import block

        click.echo(block())
        context.exit()


@click.command(cls=RunCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the products.")
@click.option("--stride", type=int, help="Pixels between patches, 1..64; below 64 they overlap.  [default: 64]")
@click.option(
    "--s2-offset",
    type=click.Choice(S2_OFFSETS),
    help="Whether Sentinel-2 DN hold the + 1,000 of baseline 04.00 and later, or are reflectance 0..1.  "
    "[default: auto, by the product]",
)
@click.option(
    "--radar-unit",
    type=click.Choice(RADAR_UNITS),
    help="Unit of radar levels whose product does not tell it: dB, linear power or amplitude.",
)
@click.option("--orbit", type=click.Choice(ORBITS), help="Flight direction of radar bands that do not tell it.")
@click.option(
    "--event-time",
    help="When the slopes may have failed, ISO 8601 with zone (2024-04-03T00:00Z); pairs radar before and after it.",
)
@click.option(
    "--pre-scenes", type=int, help="Radar scenes before the event, averaged in power, at most.  [default: 1, no mean]"
)
@click.option(
    "--prevalence",
    type=float,
    help="Share of patches that hold a slide, for the probabilities.  [default: that of the training data]",
)
@click.option("--force-coarse-radar", is_flag=True, default=None, help="Take radar of 30 m (OPERA RTC-S1) too.")
@click.option("--remote", is_flag=True, default=None, help="Open STAC assets over the network.  [default: refuse them]")
@click.option("--extra", help="More products, separated by commas: kml, geoparquet (needs pyarrow).")
@click.option("--backend", type=click.Choice(BACKENDS), help="How forests are evaluated.  [default: table]")
@encoder_options
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

    A SOURCE is a Sentinel-2 SAFE folder or zip, a GeoTIFF stack with named bands, a folder of single-band GeoTIFFs, a
    tile file (*.tile.toml, *.tile.json) or STAC item that names the parts of a tile, a STAC catalog, or a folder above
    such. Each tile gets a folder in the output: detections.gpkg and .geojson, scores.tif (one pixel a patch),
    quicklook.png, item.json (STAC). index.html shows the whole run, summary.json tells what was looked at, what was
    not, and why.

    GDAL decodes into a cache of 256 MB; the environment variable GDAL_CACHEMAX (in MB) changes that.

    Exit codes: 0 done, 1 some tiles failed, 2 wrong use, unfit bundle or output, 3 the self-test on this machine
    failed.
    """
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.commit import prepare_output
    from lsd.runtime.ingest.times import iso, utc_of
    from lsd.runtime.parity import check_golden, require
    from lsd.runtime.progress import Progress
    from lsd.runtime.run import context_of, run_tiles
    from lsd.runtime.scoring import ScoringOptions
    from lsd.runtime.sinks.page.run_page import write_run_page
    from lsd.runtime.sinks.products import PRODUCTS
    from lsd.runtime.sinks.stac import COLLECTION_NAME, refuse_other_collection, write_collection
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
    event_time = None if options.event_time is None else utc_of(options.event_time, "--event-time")
    opened = open_bundle(bundle)
    encoders = encoders_of(asdict(options))
    chain = Chain(opened, options.backend, options.prevalence, encoders)  # type: ignore[arg-type]
    require(check_golden(opened, chain), f"self-test of {bundle}")
    refuse_other_collection(output / COLLECTION_NAME)
    prepare_output(output)

    stated = None if event_time is None else iso(event_time)
    context, summary = context_of(opened, options.prevalence, stated), RunSummary()
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
                SourceOptions(
                    options.s2_offset,  # type: ignore[arg-type]
                    options.orbit,  # type: ignore[arg-type]
                    options.radar_unit,  # type: ignore[arg-type]
                    event_time,
                    options.pre_scenes,
                    options.force_coarse_radar,
                    options.remote,
                ),
                ScoringOptions(options.stride, options.batch_size, options.window_rows, options.window_columns),
                output,
                options.overwrite,
                report,
                options.extras,
            )
        except OutputError:
            if summary.tiles:  # what was done before is told, where the disk still takes a small file
                with suppress(OutputError):
                    summary.write(output / SUMMARY_NAME, context, resolved)
            raise
    summary.write(output / SUMMARY_NAME, context, resolved)
    write_collection(output / COLLECTION_NAME)
    write_run_page(output / PAGE_NAME, summary.tiles, context, resolved, output)
    if as_json:
        click.echo(json.dumps(summary.to_json(context, resolved), indent=1, allow_nan=False))
    else:
        click.echo("\n".join([summary.table(), *summary.looks()]))
        click.echo(f"products: {output}/TILE/{{{', '.join(PRODUCTS.values())}}}; summary: {output / SUMMARY_NAME}")
        click.echo(f"look at: {output / PAGE_NAME}")
    for line in summary.failures():
        click.echo(line, err=True)
    totals = summary.totals()
    outcome = "DONE" if not totals["failed"] else f"{totals['failed']} OF {totals['tiles']} TILES FAILED"
    runtime_s = time.perf_counter() - started_s
    if quiet < 2:
        click.echo(f"{outcome} | Runtime: {runtime_s:.1f} s | {totals['patches']} patches", err=True)
    if totals["failed"]:
        click.get_current_context().exit(1)
