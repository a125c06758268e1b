"""lsd-run: tiles in, detections on a map out."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lsd.runtime import __version__
from lsd.runtime.cli.acquisition_options import acquisition_options, force_of
from lsd.runtime.cli.dispatch import RunCommand
from lsd.runtime.cli.encoder_options import encoder_options
from lsd.runtime.cli.exit_options import exit_option
from lsd.runtime.cli.feed_options import STDIN, feed_of, feed_options
from lsd.runtime.cli.monitoring_options import monitoring_of, monitoring_options
from lsd.runtime.cli.run_options import (
    ORBITS,
    RADAR_UNITS,
    S2_OFFSETS,
    WHEN_OUTPUT_FAILS,
    RunOptions,
    plain_flags,
)
from lsd.runtime.command import options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import LsdError, OutputError, UsageError
from lsd.runtime.forest.backends import BACKENDS


def _doctor(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from lsd.runtime.doctor import block

        click.echo(block())
        context.exit()


def _engines(options: RunOptions, forests: str) -> dict[str, str]:
    """What evaluates forests and networks, for those who watch the run."""
    return {"forests": forests, "encoders": f"{options.encoders} {options.precision} on {options.provider}"}


@click.command(cls=RunCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", type=click.Path(path_type=Path))
@feed_options
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
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    help="How forests are evaluated: native, where the library is, and table give the same bits.  [default: auto]",
)
@encoder_options
@exit_option
@acquisition_options
@click.option("--batch-size", type=int, help="Patches scored together; bounds memory only.  [default: 128]")
@click.option("--window-rows", type=int, help="Patch rows read together; bounds memory only.  [default: 1]")
@click.option("--window-columns", type=int, help="Patch columns read together; bounds memory only.  [default: 64]")
@click.option(
    "--allow-fallback",
    is_flag=True,
    default=None,
    help="Where what is asked for cannot be had or fails its self-test: tables, and ONNX Runtime in FP32 on the CPU.",
)
@click.option("--max-memory", type=int, help="MB to stay below; holds less at a time.  [default: no limit]")
@click.option("--overwrite", is_flag=True, default=None, help="Do every tile again, and replace what is there.")
@click.option("--rescore", is_flag=True, default=None, help="Do tiles again that another bundle answered.")
@click.option(
    "--reload", is_flag=True, default=None, help="Between tiles, take a newer bundle that passes its self-test."
)
@click.option(
    "--when-output-fails",
    type=click.Choice(WHEN_OUTPUT_FAILS),
    help="Full disk or mount gone: stop, or wait and go on.  [default: stop; wait while watching or listening]",
)
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
@click.option("--publish", metavar="URL", help="mqtt://[USER@]HOST[:PORT]/TOPIC that is told the result of each tile.")
@monitoring_options
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
    from lsd.runtime.cli.serving_of import serving_of
    from lsd.runtime.ingest.times import iso, utc_of

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    options = options_from(RunOptions, config, plain_flags(flags))
    feed, goes_on = feed_of(sources, asdict(options)), options.goes_on(sources)
    for source in sources:
        if str(source) != STDIN and source.resolve() in (output.resolve(), *output.resolve().parents):
            raise UsageError(
                f"output {output} lies in the source {source}, where its products would be read as tiles; choose "
                "another folder with -o"
            )
    event_time = None if options.event_time is None else utc_of(options.event_time, "--event-time")
    serving, fallback = serving_of(bundle, options, None if event_time is None else iso(event_time))
    if fallback is not None and quiet < 2:
        click.echo(f"warning: {fallback}", err=True)

    # what takes rasterio: `serving_of` has imported it while forests were laid out
    from lsd.runtime.cli.run_report import RunReport
    from lsd.runtime.memory import available_cores, memory_plan, resident_mb
    from lsd.runtime.progress import Progress
    from lsd.runtime.run import Run, RunPlan
    from lsd.runtime.scoring import ScoringOptions
    from lsd.runtime.sinks.stac import COLLECTION_NAME, refuse_other_collection
    from lsd.runtime.sources import SourceOptions
    from lsd.runtime.stream.events import Listener, Stopping, tell_all
    from lsd.runtime.stream.output import STATE_FOLDER, Output
    from lsd.runtime.stream.signals import stop_on_sigterm

    refuse_other_collection(output / COLLECTION_NAME)
    memory = memory_plan(
        options.max_memory,
        resident_mb(),
        ScoringOptions(
            options.stride,
            options.batch_size,
            options.window_rows,
            options.window_columns,
            workers=options.threads or available_cores(),
        ),
    )
    plan = RunPlan(
        sources=SourceOptions(
            options.s2_offset,  # type: ignore[arg-type]
            options.orbit,  # type: ignore[arg-type]
            options.radar_unit,  # type: ignore[arg-type]
            event_time,
            options.pre_scenes,
            options.force_coarse_radar,
            options.remote,
            force_of(options.forced),
        ),
        scoring=memory.scoring,
        gdal_cache_mb=memory.gdal_cache_mb,
        threads=options.threads or (available_cores() if options.max_memory is None else None),
        overwrite=options.overwrite,
        rescore=options.rescore,
        patient=options.when_output_fails == "wait" or (goes_on and options.when_output_fails is None),
        reload=options.reload,
        goes_on=goes_on,
        force=force_of(options.forced),
        extras=options.extras,
        key={**options.of_products(), "fallback": fallback is not None},
    )
    if serving.context.synthetic and quiet < 2:
        click.echo(
            "warning: this bundle was trained on synthetic data; its answers mean nothing on real ground", err=True
        )
    resolved = {**asdict(options), "bundle": str(bundle), "sources": [str(source) for source in sources]}
    stop = threading.Event()
    with (
        Output(output) as place,
        Progress(progress if quiet == 0 else "off") as shown,
        monitoring_of(asdict(options), output / STATE_FOLDER, goes_on) as monitoring,
        ExitStack() as opened,
    ):
        report = RunReport(output, resolved, shown, quiet, monitoring.state.as_dict if goes_on else None)
        listeners: list[Listener] = [report, monitoring.listener]
        if options.publish is not None:
            from lsd.runtime.feeds.mqtt_sink import MqttSink

            listeners.append(opened.enter_context(MqttSink(options.publish)))
        tell = tell_all(listeners)
        answers = serving.context.bundle_name, serving.context.bundle_sha256, _engines(options, serving.chain.backend)
        monitoring.metrics.bundle(*answers)
        monitoring.state.ready(*answers)
        if monitoring.url is not None and quiet < 2:
            click.echo(f"listening on {monitoring.url}", err=True)
        run = Run(serving, place, plan, tell, stop, monitoring.state.moved)
        with stop_on_sigterm(stop, lambda: tell(Stopping("SIGTERM"))):
            try:
                run.follow(feed, lambda: report.write_if_cheap(serving.context))
                totals = report.summary.totals()
                monitoring.state.ended(1 if totals["failed"] else 0)
                run.patiently(lambda: report.write(serving.context))
            except LsdError as error:
                if report.summary.tiles:  # what was done before is told, where the disk still takes a small file
                    with suppress(OutputError):
                        report.write_summary(serving.context)
                monitoring.state.ended(error.exit_code)
                raise
    if as_json:
        click.echo(json.dumps(report.summary.to_json(serving.context, resolved), indent=1, allow_nan=False))
    else:
        report.tell_people()
    for line in report.summary.failures():
        click.echo(line, err=True)
    outcome = "DONE" if not totals["failed"] else f"{totals['failed']} OF {totals['tiles']} TILES FAILED"
    if stop.is_set():
        outcome = f"STOPPED, {outcome}"
    runtime_s = time.perf_counter() - started_s
    if quiet < 2:
        click.echo(f"{outcome} | Runtime: {runtime_s:.1f} s | {totals['patches']} patches", err=True)
    if totals["failed"]:
        click.get_current_context().exit(1)
