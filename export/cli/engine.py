"""lsd-export engine: TensorRT plans of a bundle's encoders, for the machine that will run them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from lsd.runtime.command import LsdCommand, progress_option, set_verbosity, verbosity_options


class _Batches(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """Three batch sizes, e.g. 1,8,32."""

    name = "least,best,most"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"expected three numbers as in 1,8,32, found {value!r}", param, ctx)
        return tuple(int(part) for part in parts)


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Build the graphs of this precision only.  [default: all there are]",
)
@click.option(
    "--batch",
    type=_Batches(),
    default="1,8,32",
    show_default=True,
    help="Least, best and most patches in one call.",
)
@click.option("--memory-limit-mb", type=int, help="Scratch memory of the builder, MiB.  [default: the library's]")
@click.option("--version-compatible", is_flag=True, help="Plans that later versions of TensorRT load too.")
@click.option("--hardware-compatible", is_flag=True, help="Plans for GPUs of compute capability 8.0 and above.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Engine folder.  [default: engines/ in the bundle or beside the file]",
)
@click.option("--overwrite", is_flag=True, help="Build plans that are there already again.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@progress_option
@verbosity_options
def engine(
    bundle: Path,
    precision: str | None,
    batch: tuple[int, int, int],
    memory_limit_mb: int | None,
    version_compatible: bool,
    hardware_compatible: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
) -> None:
    """Build a TensorRT plan of every encoder graph of BUNDLE (a bundle, or one .onnx file) with what is installed here.

    Each is built in a process of its own and inspected: a plan without the asked precision is no plan (exit code 3).
    Without a GPU it stays unproven until it is first loaded on one. Plans are a local cache: never take a stranger's.
    """
    from dataclasses import replace

    from lsd.export.engines.build import build_engine
    from lsd.export.engines.request import request_of
    from lsd.export.engines.sources import graphs_of
    from lsd.runtime.errors import UsageError

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    say = (lambda line: click.echo(line, err=True)) if not quiet else (lambda line: None)
    graphs = graphs_of(bundle)
    chosen = [(name, graph) for name, graph in graphs if precision in (None, graph.precision)]
    if not chosen:
        found = ", ".join(sorted({graph.precision for _, graph in graphs}))
        raise UsageError(
            f"{bundle} holds no {precision} graph (found: {found}); export it with --precision {precision}"
        )
    folder = output or (bundle if bundle.is_dir() else bundle.parent) / "engines"
    requests = [
        replace(
            request_of(graph, name, batch),
            memory_limit_mb=memory_limit_mb,
            version_compatible=version_compatible,
            hardware_compatible=hardware_compatible,
        )
        for name, graph in chosen
    ]
    reports = [build_engine(request, folder, overwrite, "off" if quiet else progress, say) for request in requests]
    if as_json:
        click.echo(json.dumps([report.to_json() for report in reports], indent=1))
    else:
        click.echo("\n".join(report.line() for report in reports))
    unproven = [report for report in reports if not report.proven]
    verdict = f"UNPROVEN until first loaded on a GPU: {len(unproven)} of {len(reports)}" if unproven else "PASSED"
    reused = sum(report.reused for report in reports)
    click.echo(
        f"{verdict} | Runtime: {time.perf_counter() - started_s:.1f} s | {len(reports)} engines, {reused} reused",
        err=True,
    )
