"""lsd-train surrogate: synthetic patches from a feature table, to test the training of networks without real pixels."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class SurrogateOptions:
    """Everything that steers the making of surrogates; keys of --config.

    rows: how many, drawn so that the share of positives stays; None for all. seed: of the draw and of the textures.
    jobs: processes; they change nothing in the result. strict: stop at a row that no pixels can have. data_name,
    licence: go into dataset.json.
    """

    rows: int | None = None
    seed: int = 42
    jobs: int = 1
    strict: bool = False
    data_name: str | None = None
    licence: str = "not stated"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.seed < 0 or (self.rows is not None and self.rows < 2):
            raise ConfigurationError(
                f"expected rows >= 2, jobs >= 1 and seed >= 0, found {self.rows}, {self.jobs} and {self.seed}"
            )


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.option(
    "--table",
    required=True,
    type=click.Path(path_type=Path),
    help="Feature table: CSV or CSV.gz with ID, label and six statistics of each of the 12 bands.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of patches to make.")
@click.option("--rows", type=int, help="Make so many only; the share of positives stays.  [default: all]")
@click.option("--seed", type=int, help="Of the draw of rows and of the textures.  [default: 42]")
@click.option("--jobs", type=int, help="Processes; the result does not depend on them.  [default: 1]")
@click.option("--strict", is_flag=True, default=None, help="Stop at a row that no pixels can have, do not skip it.")
@click.option("--data-name", help="Name of the made data set.  [default: surrogates of TABLE]")
@click.option("--licence", help="Licence of the table, which the surrogates inherit.")
@click.option("--overwrite", is_flag=True, default=None, help="Replace surrogates that are there already.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print the closeness report as JSON instead of a table.")
@progress_option
@verbosity_options
def surrogate(
    table: Path,
    output: Path,
    config: Path | None,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Make synthetic patches whose statistics are those of the rows of --table.

    They are synthetic pixels, made to test machinery: each has the band statistics of its row and a made-up texture.
    Models trained on them mean nothing on real ground. Leaves ID.npy (64, 64, 12), labels.csv, dataset.json, which
    marks everything trained on them as synthetic, and closeness.json: how close the pixels come to their rows.
    """
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.progress import Mode, Progress
    from lsd.train.save import json_bytes
    from lsd.train.surrogate_closeness import table_of_closeness
    from lsd.train.surrogate_folder import CLOSENESS_NAME, NOTE, read_surrogate_rows, sample_of, write_surrogates

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    options = options_from(SurrogateOptions, config, flags)
    mode: Mode = progress if quiet == 0 else "off"
    rows = read_surrogate_rows(table)
    if options.rows is not None:
        rows = sample_of(rows, options.rows, options.seed)
    name = options.data_name or f"surrogates of {rows.source}"
    prepare_output(output.resolve().parent)
    with (
        whole_folder(output.resolve(), options.overwrite, CLOSENESS_NAME) as folder,
        Progress(mode, len(rows)) as shown,
    ):
        written = write_surrogates(
            folder,
            rows,
            name,
            options.licence,
            options.seed,
            options.jobs,
            options.strict,
            lambda n: shown.advance(n, "synthetic patches made"),
        )
    if as_json:
        skipped = [{"ID": one, "reason": reason} for one, reason in written.skipped]
        report = {"synthetic": True, "note": NOTE, **written.closeness, "skipped": skipped, "options": asdict(options)}
        click.echo(json_bytes(report).decode(), nl=False)
    else:
        click.echo(NOTE)
        click.echo(table_of_closeness(written.closeness))
        click.echo(f"folder of patches: {output}")
    for one, reason in written.skipped[:10]:
        click.echo(f"skipped {one}: {reason}", err=True)
    if len(written.skipped) > 10:
        click.echo(f"skipped {len(written.skipped) - 10} more, see skipped.csv", err=True)
    click.echo(
        f"DONE | Runtime: {time.perf_counter() - started_s:.1f} s | {written.patches} synthetic patches, "
        f"{len(written.skipped)} rows skipped",
        err=True,
    )
