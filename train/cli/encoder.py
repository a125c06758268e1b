"""lsd-train encoder: one network, K folds, from labelled patches."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import click

from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import UsageError
from lsd.train.cli.data_options import data_of, data_options, open_shown
from lsd.train.cli.forest import bands_of, check_output

LIBRARIES = ("torch", "torchvision", "timm", "safetensors", "sklearn", "scipy", "matplotlib")


def check_libraries() -> None:
    """Raise UsageError, with the command that installs them, if libraries of the extra `train` are absent."""
    absent = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(f"lsd-train needs {', '.join(absent)}: pip install 'lsd-edge[train]'")


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@data_options
@click.option("--recipe", help="Name of an encoder recipe, or a .json file.  [default: small-convnet]")
@click.option("--bands", help="Groups and band names, separated by commas.  [default: all that the recipe reads]")
@click.option("--name", help="Name of the configuration.  [default: by the bands]")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@click.option("--epochs", type=int, help="In place of the recipe's.")
@click.option("--batch-size", type=int, help="Patches a step, over all GPUs, in place of the recipe's.")
@click.option("--learning-rate", type=float, help="In place of the recipe's.")
@click.option(
    "--pretrained", help="First weights: none, hub (downloads them), or a file or folder of weights.  [default: none]"
)
@click.option("--folds", type=int, help="Number of folds, 3 or more.  [default: 5]")
@click.option(
    "--folds-by",
    type=click.Choice(["kfold", "group", "event"]),
    help="What a fold keeps together: nothing, ground (tile, image), or events.  [default: kfold]",
)
@click.option("--seed", type=int, help="Of folds, first weights, order, augmentation and dropout.  [default: 42]")
@click.option(
    "--teacher", metavar="RUN", help="Learn from the out-of-fold probabilities of this run too (distillation)."
)
@click.option("--teacher-weight", type=float, help="Share of the teacher in each target, 0..1.  [default: 0.5]")
@click.option("--device", help="auto, cpu, cuda or cuda:NUMBER.  [default: auto]")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="auto: mixed on a GPU.  [default: auto]"
)
@click.option("--threads", type=int, help="Of the CPU; the same results need the same number.  [default: torch's]")
@click.option(
    "--micro-batches", type=int, help="Parts in which a batch is computed, to save memory; same loss.  [default: 1]"
)
@click.option("--workers", type=int, help="Threads that read patches.  [default: 1]")
@click.option("--save-every-s", type=float, help="Longest work in seconds that a kill costs.  [default: 120]")
@click.option("--data-name", help="What the data are called in the card.")
@click.option("--licence", help="Licence of the data, for the card.")
@click.option("--synthetic", is_flag=True, default=None, help="The data are made up: recorded, and said everywhere.")
@click.option("--overwrite", is_flag=True, default=None, help="Replace a run folder that is there already.")
@click.option("--restart", is_flag=True, default=None, help="Throw a training away that was stopped.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON instead of a table.")
@progress_option
@verbosity_options
def encoder(
    output: Path,
    config: Path | None,
    as_json: bool,
    progress: Any,
    verbose: int,
    quiet: int,
    **flags: Any,
) -> None:
    """Train a network on labelled patches, K folds, and leave a run folder.

    A killed training goes on where it was when the same command is given again, with the same result. On several GPUs:
    torchrun --nproc-per-node N --module lsd.train.cli.main encoder ... One network serves optical, radar and both where
    its recipe has modality dropout.
    """
    from lsd.runtime.progress import Mode, Progress
    from lsd.train.datasets.kept_survey import kept_survey
    from lsd.train.distillation import read_teacher
    from lsd.train.encoder_training import EncoderOptions, Training, recipe_with, train_encoder
    from lsd.train.encoders.recipe import read_encoder_recipe
    from lsd.train.fitting.machine import machine_of
    from lsd.train.fitting.workplace import begin, workplace_of
    from lsd.train.fitting.world import world_from_environment
    from lsd.train.save import json_bytes
    from lsd.train.summary import table_of_configurations

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    check_libraries()
    data = data_of(flags)
    options = options_from(EncoderOptions, config, flags)
    bands = None if options.bands is None else bands_of(options.bands)
    recipe = recipe_with(read_encoder_recipe(options.recipe), options, bands)
    check_output(output, options.overwrite)
    world = world_from_environment()
    mode: Mode = progress if quiet == 0 and world.leads else "off"
    machine = machine_of(options.device, options.precision, options.threads, options.micro_batches, world.local_rank)
    teacher = None if options.teacher is None else read_teacher(Path(options.teacher))
    dataset = open_shown(data, mode)
    training = Training(output.resolve(), workplace_of(output), dataset, recipe, options, machine, world, teacher)
    if world.leads:
        if begin(training.folder, training.identity(), options.restart) and quiet == 0:
            click.echo(f"going on with the training in {training.folder}", err=True)
        with Progress(mode, len(dataset)) as shown:
            kept_survey(dataset, training.folder, data["strict"], lambda n: shown.advance(n, "patches looked at"))
    world.wait()
    survey = kept_survey(dataset, training.folder, data["strict"])
    if survey.skipped and quiet == 0 and world.leads:
        click.echo(f"{len(survey.skipped)} samples skipped: skipped.csv in the run folder lists them", err=True)
    with Progress(mode) as shown:
        judged = train_encoder(training, survey, shown.expect, shown.advance, shown.skip)
    world.leave()
    if not world.leads:
        return
    if as_json:
        click.echo(json_bytes({key: one.to_json() for key, one in judged.items()}).decode(), nl=False)
    else:
        click.echo(table_of_configurations(judged, recipe.name))
        click.echo(f"run folder: {output}")
    click.echo(f"DONE | Runtime: {time.perf_counter() - started_s:.1f} s | {len(survey.dataset)} samples", err=True)
