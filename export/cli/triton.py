"""lsd-export triton: a model repository for the Triton Inference Server."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Literal

import click

from lsd.runtime.backends.base import PRECISIONS, Precision
from lsd.runtime.command import LsdCommand, set_verbosity, verbosity_options


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model repository to make.")
@click.option("--name", help="Of the model that clients ask.  [default: name of the bundle]")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True, help="Of networks, as exported."
)
@click.option(
    "--plans",
    type=click.Path(path_type=Path),
    help="Folder of lsd-export engine; its TensorRT plans are served in place of ONNX. Needs --device gpu.",
)
@click.option(
    "--max-batch-size",
    type=int,
    default=8,
    show_default=True,
    help="Most patches in a call of a network; the chain always sends so many.",
)
@click.option(
    "--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="That networks run on."
)
@click.option("--overwrite", is_flag=True, help="Replace a repository that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON instead of lines.")
@verbosity_options
def triton(
    bundle: Path,
    output: Path,
    name: str | None,
    precision: Precision,
    plans: Path | None,
    max_batch_size: int,
    device: Literal["cpu", "gpu"],
    overwrite: bool,
    as_json: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Make a Triton model repository of BUNDLE: each network a model, and one more that keeps the whole chain.

    Clients send patches to the chain and get probability, decision, configuration and status. The server's Python needs
    lsd-edge installed. Checked against Triton's published configuration schema, not run in a server here.
    """
    from lsd.export.triton.repository import MARKER, RepositoryOptions, write_repository
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.commit import prepare_output, whole_folder

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    opened = open_bundle(bundle)
    named = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", opened.manifest.name)
    options = RepositoryOptions(named, precision, max_batch_size, device, plans)
    prepare_output(output.parent)
    with whole_folder(output, overwrite, MARKER) as folder:
        document = write_repository(folder, opened, options)
    models = [one for listed in document["encoders"].values() for one in listed]
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"{named}: chain of {opened.manifest.name}, bands {', '.join(document['bands'])}")
        for one in models:
            click.echo(f"{one['name']}: {one['backend']}, {precision}, {one['source']}")
        if document["engines"]:
            click.echo(f"engines for {document['engines']}")
        click.echo(f"repository: {output}, bundle SHA-256 {opened.sha256}")
    click.echo(f"PASSED | Runtime: {time.perf_counter() - started_s:.1f} s | {1 + len(models)} models", err=True)
