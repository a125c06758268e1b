"""lsd-export build: run folders in, one certified bundle out."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lsd.runtime.command import LsdCommand, set_verbosity, verbosity_options


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle folder to make.")
@click.option("--name", help="Name of the bundle.  [default: that of the folder]")
@click.option(
    "--description",
    default="Landslide forests made with lsd-edge.",
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
    overwrite: bool,
    as_json: bool,
    verbose: int,
    quiet: int,
) -> None:
    """Make a bundle of run folders, one a configuration, in order of preference.

    Every stage is compared with an independent reference on golden, adversarial and training rows. If one differs by
    more than its tolerance, no bundle is written and the exit code is 3.
    """
    from lsd.export.bundle_from_runs import BundleText, bundle_from_runs
    from lsd.export.stages import table_of
    from lsd.export.write import write_bundle
    from lsd.runtime.bundle import CERTIFICATE_NAME, open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.errors import OutputError
    from lsd.runtime.manifest import MANIFEST_NAME
    from lsd.runtime.parity import check_golden, require
    from lsd.train.run import load_run

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    say = (lambda line: click.echo(line, err=True)) if not quiet else (lambda line: None)
    loaded = [load_run(run) for run in runs]
    prepare_output(output.parent)
    with whole_folder(output, overwrite, MANIFEST_NAME) as folder:
        text = BundleText(name or output.resolve().name, description, licence)
        bundle, results = bundle_from_runs(loaded, text, with_c, say)
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
