"""lsd-export build: run folders in, one certified bundle out."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lsd.runtime.backends.base import PRECISIONS, Precision
from lsd.runtime.command import LsdCommand, set_verbosity, verbosity_options


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle folder to make.")
@click.option("--name", help="Name of the bundle.  [default: that of the folder]")
@click.option(
    "--description",
    default="Landslide models made with lsd-edge.",
    show_default=True,
    help="One sentence for the card.",
)
@click.option("--licence", default="not stated", show_default=True, help="Licence of the bundle.")
@click.option(
    "--with-c",
    multiple=True,
    metavar="MACHINE",
    help="Add Treelite-compiled C for x86_64 or aarch64; may be given twice.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    help="Of networks, beside fp32, which is always there; may be given several times.  [default: fp16]",
)
@click.option("--flips", is_flag=True, help="Networks average the logits of four flips of a patch, inside the graph.")
@click.option("--average-folds", is_flag=True, help="One graph of all folds of a network, instead of one a fold.")
@click.option(
    "--patches",
    type=click.Path(path_type=Path),
    help="Folder of ID.npy patches with labels.csv, to check networks on and calibrate int8.  [default: simulated]",
)
@click.option("--threads", type=int, help="Of ONNX Runtime while checking.  [default: all cores]")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate instead of a table.")
@verbosity_options
def build(
    runs: tuple[Path, ...],
    output: Path,
    name: str | None,
    description: str,
    licence: str,
    with_c: tuple[str, ...],
    precisions: tuple[Precision, ...],
    flips: bool,
    average_folds: bool,
    patches: Path | None,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Make a bundle of run folders (forests, networks, ensembles of them), in order of preference.

    Networks become whole ONNX graphs, raw bands in and logit out. Every stage is compared with an independent reference
    on golden, adversarial and training rows, every precision of a network with fp32 on 3,000 patches or more. If one
    differs by more than its tolerance, no bundle is written and the exit code is 3.
    """
    from lsd.export.bundle_from_runs import BundleText, bundle_from_runs
    from lsd.export.encoder_gate import Gate, patches_in
    from lsd.export.encoder_members import GraphOptions
    from lsd.export.stages import table_of
    from lsd.export.write import write_bundle
    from lsd.runtime.bundle import CERTIFICATE_NAME, open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.errors import OutputError
    from lsd.runtime.manifest import MANIFEST_NAME
    from lsd.runtime.parity import check_golden, require

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    say = (lambda line: click.echo(line, err=True)) if not quiet else (lambda line: None)
    graphs = GraphOptions(tuple(one for one in precisions or ("fp16",) if one != "fp32"), flips, average_folds)
    gate = Gate(threads=threads) if patches is None else Gate(patches_in(patches), threads)
    prepare_output(output.parent)
    with whole_folder(output, overwrite, MANIFEST_NAME) as folder:
        text = BundleText(name or output.resolve().name, description, licence)
        bundle, results = bundle_from_runs(runs, text, with_c, graphs, gate, say)
        write_bundle(folder, bundle)
        written = open_bundle(folder)
        if written.sha256 != bundle.sha256:
            raise OutputError(f"{output}: what was read back is not what was written; is the disk sound?")
        require(check_golden(written, Chain(written)), f"{output} as written")
    if as_json:
        click.echo(bundle.contents[CERTIFICATE_NAME].decode(), nl=False)
    else:
        click.echo(table_of(results))
        size_bytes = sum(record.size_bytes for record in bundle.manifest.files.values())
        click.echo(f"bundle: {output}, {size_bytes / 1e6:.2f} MB, SHA-256 {bundle.sha256}")
    click.echo(f"PASSED | Runtime: {time.perf_counter() - started_s:.1f} s | {len(results)} stages", err=True)
