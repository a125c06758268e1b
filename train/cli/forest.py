"""lsd-train forest: one configuration of forests, from a feature table or from labelled patches."""

from __future__ import annotations

import importlib.util
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsd.runtime.bands import in_order, resolve
from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import BandError, ConfigurationError, OutputError, UsageError
from lsd.train.cli.data_options import SOURCES, data_of, data_options, open_shown, sources_in
from lsd.train.folds import KINDS
from lsd.train.groups import GROUPS, name_of
from lsd.train.names import check_name
from lsd.train.run import PLOTS_NAME, RUN_NAME

if TYPE_CHECKING:
    from lsd.runtime.progress import Mode
    from lsd.train.datasets.base import PatchDataset
    from lsd.train.samples import Samples

_log = logging.getLogger(__name__)

LIBRARIES = ("lightgbm", "xgboost", "sklearn", "scipy", "matplotlib")
MIN_FOLDS, MAX_FOLDS = 3, 100  # a fold's calibration is chosen by cross-validation over the other folds: at least two


@dataclass(frozen=True)
class ForestOptions:
    """Everything that steers the training of one configuration; keys of --config.

    bands: groups (`all`, `optical`, `desc_pair`, ...) and band names, separated by commas. name: of the configuration,
    by default the groups, else the bands, joined by `+`. recipe: name or .json file. folds_by: `kfold`, `group` or
    `event`: what a fold keeps together. jobs: threads of the library. data_name, licence, synthetic: go into the model
    card; patches may say themselves that they are synthetic.
    """

    recipe: str = "default"
    bands: str = "all"
    name: str | None = None
    folds: int = 5
    folds_by: str = "kfold"
    seed: int = 42
    jobs: int = 1
    data_name: str = "not stated"
    licence: str = "not stated"
    synthetic: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not MIN_FOLDS <= self.folds <= MAX_FOLDS or self.jobs < 1 or self.seed < 0:
            raise ConfigurationError(
                f"expected folds {MIN_FOLDS}..{MAX_FOLDS}, jobs >= 1 and seed >= 0, "
                f"found {self.folds}, {self.jobs} and {self.seed}"
            )
        if self.folds_by not in KINDS:
            raise ConfigurationError(f"folds_by must be one of {', '.join(KINDS)}, is {self.folds_by!r}")
        check_name(self.name)


def bands_of(text: str) -> tuple[str, ...]:
    """Canonical names of `--bands`: groups, names and aliases separated by commas.

    Raises:
        UsageError: a name is unknown or ambiguous.
    """
    try:
        named = [GROUPS.get(item) or (resolve(item),) for item in map(str.strip, text.split(","))]
    except BandError as error:
        raise UsageError(f"--bands {text}: {error}; groups: {', '.join(GROUPS)}") from error
    return in_order(name for item in named for name in item)


def check_libraries() -> None:
    """Raise UsageError, with the command that installs them, if libraries of the extra `train` are absent."""
    absent = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(f"lsd-train needs {', '.join(absent)}: pip install 'lsd-edge[train]'")


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse before any work what could not be written after it, or what no run folder is.

    Raises:
        OutputError: something is at `output` already, and it is no run folder or `overwrite` is False.
    """
    if not output.exists():
        return
    if not (output / RUN_NAME).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} is there already and is no run folder; remove it or choose another with -o")
    if not overwrite:
        raise OutputError(f"{output} is there already; give --overwrite to replace it or another folder with -o")


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.option(
    "--table", type=click.Path(path_type=Path), help="Feature table: CSV or CSV.gz with ID, label and statistics."
)
@data_options
@click.option("--recipe", help="Name of a recipe, or a .json file.  [default: default]")
@click.option("--bands", help=f"Groups ({', '.join(GROUPS)}) and band names, separated by commas.  [default: all]")
@click.option("--name", help="Name of the configuration.  [default: as --bands]")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@click.option("--folds", type=int, help="Number of folds, 3 or more.  [default: 5]")
@click.option(
    "--folds-by",
    type=click.Choice(KINDS),
    help="What a fold keeps together: nothing, ground (tile, image), or events.  [default: kfold]",
)
@click.option("--seed", type=int, help="Of folds and forests.  [default: 42]")
@click.option("--jobs", type=int, help="Threads; small fits are fastest with one.  [default: 1]")
@click.option("--data-name", help="What the data are called in the model card.")
@click.option("--licence", help="Licence of the data, for the model card.")
@click.option(
    "--synthetic", is_flag=True, default=None, help="The data are made up: recorded, and said by every product."
)
@click.option("--overwrite", is_flag=True, default=None, help="Replace a run folder that is there already.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON instead of a table.")
@progress_option
@verbosity_options
def forest(
    table: Path | None,
    output: Path,
    config: Path | None,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Train the forests of one configuration, from a feature table or from labelled patches.

    Leaves a run folder: models fitted on all samples, out-of-fold predictions, calibration and threshold, a report with
    intervals by K-fold and by left-out clusters, and a page of plots. lsd-export build makes a bundle of run folders.
    """
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.runtime.progress import Progress
    from lsd.train.configuration import REFERENCE_STATISTICS, feature_sets_of, fits_of, train_configuration
    from lsd.train.plots import write_plots
    from lsd.train.recipe import read_recipe
    from lsd.train.save import json_bytes, save_run
    from lsd.train.summary import table_of
    from lsd.train.table import read_table

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    check_libraries()
    data = data_of(flags)
    options = options_from(ForestOptions, config, flags)
    if (table is None) == (not sources_in(data)):
        found = " and ".join(["--table FILE", *sources_in(data)]) if table else "none"
        raise UsageError(f"give either --table FILE or one of {', '.join(SOURCES.values())}; found {found}")
    names = bands_of(options.bands)
    is_grouped = all(part.strip() in GROUPS for part in options.bands.split(","))
    configuration = options.name or (name_of(options.bands) if is_grouped else "+".join(names))
    recipe = read_recipe(options.recipe)
    needed = list(dict.fromkeys(name for one in feature_sets_of(recipe, names).values() for name in one.statistics))
    mode: Mode = progress if quiet == 0 else "off"
    check_output(output, options.overwrite)
    samples = None if table is None else read_table(table, needed, REFERENCE_STATISTICS)
    dataset = None if table is not None else _patches(data, names, mode)
    prepare_output(output.resolve().parent)
    with whole_folder(output.resolve(), options.overwrite) as folder:
        if dataset is not None:
            wanted = list(dict.fromkeys([*needed, *REFERENCE_STATISTICS]))
            samples = _samples(dataset, folder, wanted, data["strict"], mode)
        assert samples is not None
        with Progress(mode, fits_of(recipe, options.folds)) as shown:
            trained = train_configuration(
                samples,
                recipe,
                names,
                options.folds,
                options.seed,
                options.jobs,
                lambda: shown.advance(1, "forests fitted"),
                options.folds_by,
            )
        about = {
            "name": options.data_name,
            "licence": options.licence,
            "synthetic": options.synthetic or samples.synthetic,
        }
        save_run(
            folder, configuration, names, samples, recipe, trained, about, options.folds, options.seed, options.folds_by
        )
        write_plots(folder / PLOTS_NAME, trained, samples.labels, f"{configuration}: {recipe.name} on {samples.source}")
    if as_json:
        click.echo(json_bytes({**trained.report, "options": asdict(options)}).decode(), nl=False)
    else:
        click.echo(table_of(trained, configuration, recipe.name))
        click.echo(f"run folder: {output}")
    click.echo(f"DONE | Runtime: {time.perf_counter() - started_s:.1f} s | {len(samples)} samples", err=True)


def _patches(data: dict[str, Any], bands: tuple[str, ...], mode: Mode) -> PatchDataset:
    """The labelled patches.

    Raises:
        UsageError: they lack a band of the configuration. LsdError: see `data_options.open_patches`.
    """
    dataset = open_shown(data, mode)
    absent = [name for name in bands if name not in dataset.bands]
    if absent:
        raise UsageError(
            f"the patches have the bands {', '.join(dataset.bands)}, not {', '.join(absent)}; choose with --bands"
        )
    return dataset


def _samples(dataset: PatchDataset, folder: Path, wanted: list[str], strict: bool, mode: Mode) -> Samples:
    """Statistics of the patches that can be used; which cannot, and what the bands hold, goes into the run folder."""
    from lsd.runtime.progress import Progress
    from lsd.train.datasets.kept_survey import kept_survey
    from lsd.train.datasets.statistics import statistics_of

    with Progress(mode, len(dataset)) as shown:
        found = kept_survey(dataset, folder, strict, lambda n: shown.advance(n, "patches looked at"))
    if found.skipped:
        _log.warning("%d samples skipped: skipped.csv in the run folder lists them", len(found.skipped))
    with Progress(mode, len(found.dataset)) as shown:
        return statistics_of(found.dataset, wanted, lambda n: shown.advance(n, "patches read"))
