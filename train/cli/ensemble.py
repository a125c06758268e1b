"""lsd-train ensemble: runs, and predictions made elsewhere, combined into one."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lsd.runtime.combination import METHODS
from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError, UsageError
from lsd.train.cli.forest import check_libraries, check_output
from lsd.train.ensembles.nesting import CHOSEN, MAX_FOLDS, MIN_FOLDS
from lsd.train.names import NAME, check_name
from lsd.train.run import PLOTS_NAME

CHOICES = (CHOSEN, *METHODS)


@dataclass(frozen=True)
class EnsembleOptions:
    """Everything that steers an ensemble; keys of --config.

    method: `mean`, `probability` (weights with sum 1), `logit` (logistic stacking), or `chosen` for the one with the
    lowest log loss. prune: leave out members whose removal does not hurt. folds, seed: of the ensemble's own folds.
    allow_partial: accept less than nine tenths of the IDs in common. name: of the configuration, by default by its
    bands. synthetic: external predictions are of made-up data; runs say so themselves.
    """

    method: str = CHOSEN
    prune: bool = False
    folds: int = 5
    seed: int = 42
    allow_partial: bool = False
    name: str | None = None
    synthetic: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.method not in CHOICES:
            raise ConfigurationError(f"method must be one of {', '.join(CHOICES)}, is {self.method!r}")
        if not MIN_FOLDS <= self.folds <= MAX_FOLDS or not 0 <= self.seed < 2**32:
            raise ConfigurationError(
                f"expected folds {MIN_FOLDS}..{MAX_FOLDS} and seed 0..2^32 - 1, found {self.folds} and {self.seed}"
            )
        check_name(self.name)


def named_path(text: str) -> tuple[str | None, str]:
    """`NAME=PATH` -> name and path; without a name None and the path."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and path and NAME.fullmatch(name) else (None, text)


def external_of(text: str) -> tuple[str, Path, str | None]:
    """`NAME=FILE.csv` or `NAME=FILE.csv:COLUMN` -> name, file and column.

    Raises:
        UsageError: there is no name.
    """
    name, path = named_path(text)
    if name is None:
        raise UsageError(f"--external {text}: expected NAME=FILE.csv or NAME=FILE.csv:COLUMN")
    if not Path(path).exists() and ":" in path:
        file, _, column = path.rpartition(":")
        return name, Path(file), column
    return name, Path(path), None


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("runs", nargs=-1, required=True, metavar="[NAME=]RUN...")
@click.option(
    "--external",
    multiple=True,
    metavar="NAME=FILE[:COLUMN]",
    help="Out-of-fold probabilities made elsewhere: CSV with ID and a probability. Can be repeated.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@click.option("--method", type=click.Choice(CHOICES), help="How to combine; chosen: by log loss.  [default: chosen]")
@click.option("--prune", is_flag=True, default=None, help="Leave out members whose removal does not hurt.")
@click.option("--folds", type=int, help="Folds of the ensemble, 4 to 10.  [default: 5]")
@click.option("--seed", type=int, help="Of these folds.  [default: 42]")
@click.option("--allow-partial", is_flag=True, default=None, help="Accept less than 90 % of the IDs in common.")
@click.option("--name", help="Name of the configuration.  [default: by the bands of the members]")
@click.option("--synthetic", is_flag=True, default=None, help="External predictions are of made-up data.")
@click.option("--overwrite", is_flag=True, default=None, help="Replace a run folder that is there already.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON instead of tables.")
@progress_option
@verbosity_options
def ensemble(
    runs: tuple[str, ...],
    external: tuple[str, ...],
    output: Path,
    config: Path | None,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Combine runs by their out-of-fold predictions: plain mean, or weights fitted on them.

    Members are joined by ID and called as their folders, or NAME. Weights, calibration and threshold are chosen nested:
    no sample has a say about itself. Leaves a run folder with what each member adds and what pruning would remove.
    """
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.progress import Mode, Progress
    from lsd.train.ensembles.joint import join
    from lsd.train.ensembles.plots import write_plots
    from lsd.train.ensembles.save import bands_of_members, configuration_of, save_ensemble
    from lsd.train.ensembles.summary import tables_of
    from lsd.train.ensembles.training import steps_of, train_ensemble
    from lsd.train.predictions import read_external, read_out_of_fold
    from lsd.train.save import json_bytes

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    check_libraries()
    options = options_from(EnsembleOptions, config, flags)
    mode: Mode = progress if quiet == 0 else "off"
    check_output(output, options.overwrite)
    members = []
    for text in runs:
        name, place = (None, text) if Path(text).exists() else named_path(text)
        members.append(read_out_of_fold(Path(place), name))
    for text in external:
        called, file, column = external_of(text)
        members.append(read_external(file, called, column, options.synthetic))
    for member in members:
        if output.resolve() in (member.path.resolve(), *member.path.resolve().parents):
            raise UsageError(f"-o {output} holds the member {member.name!r}; choose another folder")
    joint = join(members, options.allow_partial)
    final = output.resolve()
    prepare_output(final.parent)
    with whole_folder(final, options.overwrite) as folder:
        with Progress(mode, steps_of(len(members))) as shown:
            trained = train_ensemble(
                joint,
                options.method,
                options.prune,
                options.folds,
                options.seed,
                lambda: shown.advance(1, "ways and subsets measured"),
            )
        asked = tuple(joint.members[at] for at in trained.kept)
        configuration = options.name or configuration_of(bands_of_members(asked))
        save_ensemble(folder, final, trained, configuration, options.folds, options.seed)
        write_plots(folder / PLOTS_NAME, trained, f"{configuration}: ensemble of {', '.join(joint.names)}")
    if as_json:
        click.echo(json_bytes({**trained.report, "options": asdict(options)}).decode(), nl=False)
    else:
        click.echo(tables_of(trained, configuration))
        click.echo(f"run folder: {output}")
    click.echo(f"DONE | Runtime: {time.perf_counter() - started_s:.1f} s | {len(joint)} samples", err=True)
