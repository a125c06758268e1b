"""lsd-bench: measure how fast a bundle answers here, compare results, guard against getting slower."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from lsd.runtime import __version__
from lsd.runtime.cli.encoder_options import encoder_options
from lsd.runtime.cli.exit_options import exit_option
from lsd.runtime.cli.run_options import RunOptions, plain_flags
from lsd.runtime.command import LsdCommand, options_from, set_verbosity, verbosity_options
from lsd.runtime.errors import GateError, OutputError, UsageError
from lsd.runtime.forest.backends import BACKENDS

_TOLERANCE = 0.1  # runs of one program on one machine differ by more than windows of one run do


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for results; made if need be.  [default: .]"
)
@click.option("--html", is_flag=True, help="Write an HTML report with plots beside the JSON.")
@click.option("--overwrite", is_flag=True, help="Replace a result of the same conditions and day.")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes: a first look, not a figure to quote.")
@click.option(
    "--backend", type=click.Choice(BACKENDS), help=f"How forests are evaluated.  [default: {RunOptions.backend}]"
)
@encoder_options
@exit_option
@click.option("--configuration", help="Of the bundle, by name.  [default: its first]")
@click.option(
    "--parts",
    help="What to measure, separated by commas: single-stream, multi-stream, offline, server, stages, backends "
    "(forests by every backend), tile (lsd-run over a tile), fresh (cold start and memory).  [default: all]",
)
@click.option("--patches", type=int, help="Of a multi-stream query.  [default: 8]")
@click.option("--batch-size", type=int, help="Patches of an offline query and of a stage's call.  [default: 128]")
@click.option(
    "--rate",
    type=float,
    help="Arrivals a second in the server scenario.  [default: that of --gate, or half of what the single stream "
    "answers]",
)
@click.option("--deadline-ms", type=float, help="Of the server's answers; 99 % should meet it.  [default: 100]")
@click.option("--seed", type=int, help="Of the server's arrivals.  [default: 0]")
@click.option("--window-s", type=float, help="Length of a window, at least.  [default: 2]")
@click.option("--agreeing", type=int, help="Windows in a row that must agree.  [default: 5]")
@click.option("--most-windows", type=int, help="Windows after which a part ends anyway.  [default: 15]")
@click.option("--stability", type=float, help="Share by which windows that agree differ at most.  [default: 0.05]")
@click.option("--warm-up-s", type=float, help="Before the first window, not counted.  [default: 1]")
@click.option("--processes", type=int, help="Fresh ones, for cold start and memory.  [default: 5]")
@click.option("--tile-side", type=int, help="Patches along a side of the tile for lsd-run.  [default: 16]")
@click.option("--tile-runs", type=int, help="How often lsd-run scores it.  [default: 5]")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option(
    "--compare",
    nargs=2,
    metavar="A.json B.json",
    type=click.Path(path_type=Path),
    help="Measure nothing: compare two results, the second relative to the first.",
)
@click.option(
    "--gate",
    metavar="BASELINE.json",
    type=click.Path(path_type=Path),
    help="After measuring, compare with this result; exit code 3 if a gated figure is slower beyond its noise.",
)
@click.option("--tolerance", type=float, help="Share that --gate allows a figure to be slower.  [default: 0.1]")
@click.option("--force", is_flag=True, help="Compare also what was measured under other conditions.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON instead of a table.")
@verbosity_options
@click.version_option(
    __version__, "--version", "--show-versions", message="lsd-edge %(version)s", help="Print the version, and stop."
)
def main(
    bundle: Path | None,
    output: Path | None,
    html: bool,
    overwrite: bool,
    quick: bool,
    config: Path | None,
    compare: tuple[Path, Path] | None,
    gate: Path | None,
    tolerance: float | None,
    force: bool,
    as_json: bool,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Measure how fast BUNDLE answers on this machine, with made-up patches.

    The scenarios are those of MLPerf Inference: single-stream (one patch after another), multi-stream (several patches
    a query), offline (batches, as fast as they go) and server (patches arrive at random, latency includes the queue).
    Beside them: each stage by itself, forests by every backend, lsd-run over a tile, cold start and memory of fresh
    processes, and energy where the machine counts it. The result is a JSON file whose name holds the conditions.

    Exit codes: 0 done, 2 wrong use, unfit bundle or results that cannot be compared, 3 slower than the baseline, or the
    self-test on this machine failed.
    """
    set_verbosity(verbose, quiet)
    if compare:
        if bundle is not None or gate is not None:
            raise UsageError("--compare measures nothing: leave BUNDLE and --gate out")
        _compare(compare, force, as_json)
        return
    if bundle is None:
        raise UsageError("expected BUNDLE, found none; give one, or --compare A.json B.json")
    if tolerance is not None and gate is None:
        raise UsageError("--tolerance is for --gate; add --gate BASELINE.json, or leave it out")
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise UsageError(f"--tolerance must be 0 or more, is {tolerance:g}")
    _measure(
        bundle,
        plain_flags(flags),
        config,
        (output or Path(), html, overwrite, quick),
        (gate, _TOLERANCE if tolerance is None else tolerance, force),
        (as_json, quiet),
    )


def _measure(
    bundle: Path,
    flags: Mapping[str, Any],
    config: Path | None,
    place: tuple[Path, bool, bool, bool],
    against: tuple[Path | None, float, bool],
    told: tuple[bool, int],
) -> None:
    from lsd.benchmarks.bench.conditions import conditions_of, file_stem
    from lsd.benchmarks.bench.measurement import Measurement
    from lsd.benchmarks.bench.nvml import gpus
    from lsd.benchmarks.bench.options import QUICK, BenchOptions
    from lsd.benchmarks.bench.report import report_page
    from lsd.benchmarks.bench.subject import open_subject
    from lsd.benchmarks.bench.text import result_text
    from lsd.runtime.commit import make_folder, replace_bytes

    begun_s = time.monotonic()
    (output, html, overwrite, quick), (gate, tolerance, force), (as_json, quiet) = place, against, told
    baseline = None if gate is None else _stored(gate)
    given = {**(QUICK if quick else {}), **{key: value for key, value in flags.items() if value is not None}}
    if baseline is not None and given.get("rate") is None and "server" in baseline["scenarios"]:
        given["rate"] = baseline["scenarios"]["server"]["rate_per_s"]
    options = options_from(BenchOptions, config, given)
    subject, found = open_subject(bundle, options), gpus()
    options = replace(options, backend=subject.chain.backend)  # what `auto` came to
    conditions = conditions_of(subject.bundle, subject.configuration, options, found[0])
    if baseline is not None:
        _refuse_unlike(baseline["conditions"], conditions, force)
    file = output / f"{file_stem(conditions, datetime.now(timezone.utc))}.json"
    for path in (file, file.with_suffix(".html")) if html else (file,):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} is there already; give --overwrite to replace it or another folder with -o")
    make_folder(output)

    def tell(what: str) -> None:
        if not quiet:
            click.echo(what, err=True)

    document = Measurement(bundle, subject, options, output, found, tell).document(conditions)
    text = json.dumps(document, indent=1, allow_nan=False)
    replace_bytes(file, f"{text}\n".encode())
    if html:
        replace_bytes(file.with_suffix(".html"), report_page(document, file.stem).encode())
    click.echo(text if as_json else f"{result_text(document)}\n\nresult: {file}")
    if baseline is not None and gate is not None:
        _judge(baseline, document, (str(gate), str(file)), tolerance)
    if quiet < 2:
        click.echo(f"DONE | Runtime: {time.monotonic() - begun_s:.1f} s | {file}", err=True)


def _judge(baseline: Mapping[str, Any], document: Mapping[str, Any], names: tuple[str, str], tolerance: float) -> None:
    from lsd.benchmarks.bench.comparison import GATED, compare
    from lsd.benchmarks.bench.text import comparison_text

    comparison = compare(baseline, document)
    click.echo(comparison_text(comparison, names), err=True)
    if not any(one.name in GATED and one.low is not None for one in comparison.ratios):
        raise UsageError(
            f"no gated figure ({', '.join(GATED)}) has enough windows in both results; measure longer, with the same "
            "parts and settings"
        )
    if slower := comparison.slower(tolerance):
        worst = max(slower, key=lambda one: one.ratio)
        raise GateError(
            f"{len(slower)} figures are slower than {names[0]} by more than {100 * tolerance:g} %, beyond their noise; "
            f"{worst.name}: {worst.ratio:.3f} times as long ({worst.low:.3f} to {worst.high:.3f})"
        )


def _compare(files: tuple[Path, Path], force: bool, as_json: bool) -> None:
    from lsd.benchmarks.bench.comparison import compare
    from lsd.benchmarks.bench.text import comparison_text

    first, second = (_stored(file) for file in files)
    _refuse_unlike(first["conditions"], second["conditions"], force)
    comparison = compare(first, second)
    if not comparison.ratios:
        raise UsageError(f"{files[0]} and {files[1]} have no figure in common: {'; '.join(comparison.left_out)}")
    names = str(files[0]), str(files[1])
    click.echo(json.dumps(comparison.to_json(), indent=1) if as_json else comparison_text(comparison, names))


def _refuse_unlike(a: Mapping[str, Any], b: Mapping[str, Any], force: bool) -> None:
    from lsd.benchmarks.bench.conditions import differences

    if not force and (found := differences(a, b)):
        raise UsageError(
            f"conditions differ, so that ratios would mislead: {'; '.join(found)}; --force compares anyway"
        )


def _stored(file: Path) -> dict[str, Any]:
    from lsd.benchmarks.bench.measurement import checked

    try:
        return checked(json.loads(file.read_text(encoding="utf-8")), str(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{file} is not JSON ({error})") from error


if __name__ == "__main__":
    main(prog_name="lsd-bench")
