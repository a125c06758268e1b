"""lsd-train evaluate: runs judged side by side on labelled samples."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError, UsageError
from lsd.train.cli.data_options import data_of, data_options, open_shown, sources_in
from lsd.train.cli.forest import check_libraries

if TYPE_CHECKING:
    from lsd.runtime.progress import Mode
    from lsd.train.evaluation.subject import Subject
    from lsd.train.predictors import Predictor

MOST_ERRORS = 50  # of each kind in a gallery, which grows by a row for each


@dataclass(frozen=True)
class EvaluateOptions:
    """Everything that steers an evaluation; keys of --config.

    prevalence: shares of slides to state precision for, beside .02, .01 and .002, separated by commas. worst: errors of
    each kind in the gallery. new_only: leave out samples that any run was trained on. device, threads: of networks.
    synthetic: the samples are made up; patches may say so too.
    """

    prevalence: str = ""
    worst: int = 8
    new_only: bool = False
    device: str = "auto"
    threads: int | None = None
    synthetic: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.worst <= MOST_ERRORS:
            raise ConfigurationError(f"expected worst 1..{MOST_ERRORS}, found {self.worst}")
        if not all(0 < share < 1 for share in self.prevalences):
            raise ConfigurationError(f"prevalence must be shares above 0 and below 1, is {self.prevalence!r}")

    @property
    def prevalences(self) -> tuple[float, ...]:
        """As numbers."""
        try:
            return tuple(float(part) for part in self.prevalence.split(",") if part.strip())
        except ValueError as error:
            raise ConfigurationError(f"prevalence must be numbers as in 0.05,0.001, is {self.prevalence!r}") from error


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@data_options
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="Feature table in place of patches: CSV or CSV.gz with ID, label and statistics.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the report, if it is to be kept.")
@click.option("--prevalence", help="Shares of slides to state precision for, as in 0.05,0.001.")
@click.option("--worst", type=int, help="Errors of each kind in a gallery.  [default: 8]")
@click.option("--new-only", is_flag=True, default=None, help="Leave out samples that any run was trained on.")
@click.option("--device", help="Of networks: auto, cpu, cuda or cuda:NUMBER.  [default: auto]")
@click.option("--threads", type=int, help="Of networks on the CPU.  [default: torch's]")
@click.option("--synthetic", is_flag=True, default=None, help="The samples are made up: said everywhere.")
@click.option("--overwrite", is_flag=True, default=None, help="Replace an evaluation that is there already.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON instead of a table.")
@progress_option
@verbosity_options
def evaluate(
    runs: tuple[Path, ...],
    table: Path | None,
    output: Path | None,
    config: Path | None,
    markdown: bool,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Judge one or more RUN on the same labelled samples, side by side.

    Samples that a run was trained on are known by their ID and judged by its out-of-fold predictions; the table says
    how many. Leaves with -o: report.json, table.md, predictions.csv, and for each run gallery-RUN.png of its worst
    errors.
    """
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.progress import Progress
    from lsd.train.evaluation.configurations import asked_of, comparable, judge_all
    from lsd.train.evaluation.report import judged_by_all, report_of
    from lsd.train.evaluation.save import PREDICTIONS_NAME, save_evaluation
    from lsd.train.evaluation.table import table_of
    from lsd.train.predictors import predictor_from_run
    from lsd.train.save import json_bytes

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    check_libraries()
    data = data_of(flags)
    options = options_from(EvaluateOptions, config, flags)
    mode: Mode = progress if quiet == 0 else "off"
    predictors = comparable([predictor_from_run(run, options.device, options.threads) for run in runs])
    kept_folder: AbstractContextManager[Path | None] = nullcontext()
    if output is not None:
        prepare_output(output.resolve().parent)
        kept_folder = whole_folder(output.resolve(), options.overwrite, PREDICTIONS_NAME)
    with kept_folder as folder:
        subject, skipped = _subject(table, data, predictors, options.synthetic, mode)
        with Progress(mode, len(subject) * len(asked_of(predictors, subject))) as shown:
            columns = judge_all(predictors, subject, lambda n: shown.advance(n, "samples judged"))
        common, columns = judged_by_all(subject, columns, options.new_only)
        left_out = len(subject) - len(common)
        report = report_of(common, columns, left_out, skipped, options.prevalences, options.worst, options.new_only)
        report["options"] = asdict(options)
        if folder is not None:
            save_evaluation(folder, report, common, columns, options.worst)
    if as_json:
        click.echo(json_bytes(report).decode(), nl=False)
    else:
        click.echo(table_of(report, markdown), nl=False)
    if output is not None and quiet == 0:
        without = "" if common.dataset is not None else "; no gallery: a feature table has no pixels"
        click.echo(f"evaluation: {output}{without}", err=True)
    click.echo(f"DONE | Runtime: {time.perf_counter() - started_s:.1f} s | {len(common)} samples", err=True)


def _subject(
    table: Path | None, data: dict[str, Any], predictors: tuple[Predictor, ...], synthetic: bool, mode: Mode
) -> tuple[Subject, tuple[tuple[str, str], ...]]:
    """The samples, with the statistics that the runs read; ID and reason of patches that cannot be used."""
    from dataclasses import replace

    from lsd.runtime.progress import Progress
    from lsd.train.datasets.survey import survey
    from lsd.train.evaluation.configurations import served
    from lsd.train.evaluation.subject import subject_of_patches, subject_of_table

    needed = list(dict.fromkeys(name for one in predictors for name in one.statistics))
    if table is not None:
        if sources_in(data):
            raise UsageError(f"give either --table FILE or {', '.join(sources_in(data))}, not both")
        return subject_of_table(table, needed, synthetic), ()
    dataset = open_shown(data, mode)
    for one in predictors:
        served(one, dataset)
    with Progress(mode, len(dataset)) as shown:
        surveyed = survey(dataset, lambda n: shown.advance(n, "patches looked at"), strict=data["strict"])
    usable = replace(surveyed.dataset, synthetic=dataset.synthetic or synthetic)
    with Progress(mode, len(usable)) as shown:
        subject = subject_of_patches(usable, needed, lambda n: shown.advance(n, "patches read"))
    return subject, surveyed.skipped
