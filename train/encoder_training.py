"""From labelled patches to the run folder of a network: survey, folds, fits, out-of-fold probabilities, files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.commit import put_in_place
from lsd.runtime.errors import ConfigurationError, UsageError
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.survey import Survey
from lsd.train.distillation import Teacher
from lsd.train.encoder_save import save_encoder_run
from lsd.train.encoders.network import Network, network_from_recipe
from lsd.train.encoders.recipe import EncoderRecipe
from lsd.train.encoders.scaling import Scaling, paper_scaling, scaling_of_data
from lsd.train.encoders.weights import Pretrained
from lsd.train.fitting.cross_validation import CrossValidation, cross_validate, steps_in_all, sweep
from lsd.train.fitting.machine import Machine
from lsd.train.fitting.world import World
from lsd.train.folds import both_classes_in_training, folds_by
from lsd.train.groups import bands_of_groups, name_of
from lsd.train.judgement import Judgement
from lsd.train.names import check_name

MIN_FOLDS, MAX_FOLDS = 3, 100  # a fold's calibration is chosen by cross-validation over the other folds: at least two


@dataclass(frozen=True)
class EncoderOptions:
    """Everything that steers the training of one network; keys of --config.

    recipe: name or .json file. bands: groups and band names separated by commas, None for all that the recipe reads.
    epochs, batch_size, learning_rate: in place of the recipe's. pretrained: `none`, `hub`, or a file or folder of
    weights. teacher: run folder whose out-of-fold probabilities make up `teacher_weight` of each target. micro_batches:
    parts in which each process computes its share of a batch. save_every_s: longest work that a kill costs.
    """

    recipe: str = "small-convnet"
    bands: str | None = None
    name: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    pretrained: str = "none"
    folds: int = 5
    folds_by: str = "kfold"
    seed: int = 42
    teacher: str | None = None
    teacher_weight: float = 0.5
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    micro_batches: int = 1
    workers: int = 1
    save_every_s: float = 120.0
    data_name: str = "not stated"
    licence: str = "not stated"
    synthetic: bool = False
    overwrite: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a value out of range."""
        if not MIN_FOLDS <= self.folds <= MAX_FOLDS or self.seed < 0:
            raise ConfigurationError(
                f"expected folds {MIN_FOLDS}..{MAX_FOLDS} and seed >= 0, found {self.folds} and {self.seed}"
            )
        if self.micro_batches < 1 or self.workers < 1 or self.save_every_s < 0:
            raise ConfigurationError("expected micro_batches and workers >= 1 and save_every_s >= 0")
        if not 0 <= self.teacher_weight <= 1:
            raise ConfigurationError(f"teacher_weight must be 0..1, is {self.teacher_weight}")
        check_name(self.name)


def recipe_with(recipe: EncoderRecipe, options: EncoderOptions, bands: tuple[str, ...] | None) -> EncoderRecipe:
    """The recipe for these bands, with the fitting that the options change.

    Raises:
        RecipeError: an encoder is left without channels, or a value is out of range.
    """
    changed = {
        key: value for key in ("epochs", "batch_size", "learning_rate") if (value := getattr(options, key)) is not None
    }
    whole = replace(recipe, fitting=replace(recipe.fitting, **changed))
    return whole if bands is None else whole.for_bands(bands)


def configurations_of(recipe: EncoderRecipe, name: str | None) -> dict[str, tuple[str, ...]]:
    """The network's own configuration first, then those that its modality dropout serves: name -> bands shown."""
    own = name or _own_name(recipe.bands)
    served = {own: recipe.bands}
    for groups in recipe.fitting.modality_dropout:
        shown = set(bands_of_groups(groups))
        served.setdefault(name_of(groups), tuple(band for band in recipe.bands if band in shown))
    return served


def _own_name(bands: tuple[str, ...]) -> str:
    from lsd.train.groups import GROUPS

    return next((group for group, members in GROUPS.items() if members == bands), "+".join(bands))


@dataclass(frozen=True)
class Training:
    """A run about to begin. dataset: as opened, with at least the bands of the recipe. folder: see `workplace`."""

    output: Path
    folder: Path
    dataset: PatchDataset
    recipe: EncoderRecipe
    options: EncoderOptions
    machine: Machine
    world: World
    teacher: Teacher | None

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result; a training that was stopped only goes on with the same."""
        options = self.options
        ids = hashlib.sha256("\n".join(self.dataset.ids).encode()).hexdigest()
        return {
            "recipe": self.recipe.to_json(),
            "data": {"source": self.dataset.source, "sha256": self.dataset.sha256, "ids": ids},
            "name": options.name,
            "folds": [options.folds, options.folds_by],
            "seed": options.seed,
            "pretrained": options.pretrained,
            "teacher": None if self.teacher is None else self.teacher.to_json(),
            "machine": {**self.machine.describe(), "processes": self.world.size},
        }


def train_encoder(
    training: Training,
    survey: Survey,
    start: Callable[[int], object] = lambda steps: None,
    advance: Callable[[int, str], object] = lambda n, note: None,
    skip: Callable[[int], object] = lambda n: None,
) -> dict[str, Judgement]:
    """Train all folds and leave the run folder at `training.output`; returns a judgement by configuration.

    Args:
        survey: of the dataset. start: told the number of steps to come. advance, skip: see `cross_validate`.
    Raises:
        TableError: too few samples or positives for the folds. LsdError: see `cross_validate`, `put_in_place`.
    """
    options, recipe, world, teacher = training.options, training.recipe, training.world, training.teacher
    dataset = survey.dataset.arranged(recipe.bands)
    fold = folds_by(options.folds_by, len(dataset), options.folds, options.seed, dataset.groups, dataset.events)
    both_classes_in_training(dataset.labels, fold)
    scaling = scaling_for(recipe, survey)
    pretrained = Pretrained(options.pretrained)
    networks: list[Network] = []

    def build() -> Network:
        networks[:] = [network_from_recipe(recipe, scaling, pretrained)]
        return networks[0]

    configurations = configurations_of(recipe, options.name)
    run = CrossValidation(
        dataset=dataset,
        targets=targets_of(dataset, teacher, options.teacher_weight),
        fold=fold,
        build=build,
        configurations=configurations,
        fitting=recipe.fitting,
        seed=options.seed,
        folder=training.folder,
        machine=training.machine,
        world=world,
        workers=options.workers,
        save_every_s=options.save_every_s,
    )
    start(steps_in_all(run))
    fitted = cross_validate(run, advance, skip)
    network = networks[0] if networks else build()
    facts = {
        "parameters": sum(value.numel() for value in network.parameters()),
        "origins": list(network.origins),
        "data": {
            "name": options.data_name,
            "licence": options.licence,
            "synthetic": dataset.synthetic or options.synthetic or (teacher is not None and teacher.synthetic),
            "skipped": len(survey.skipped),
        },
        "folds": {"kind": options.folds_by, "number": options.folds, "seed": options.seed},
        "teacher": None if teacher is None else {**teacher.to_json(), "weight": options.teacher_weight},
        "options": asdict(options),
        "environment": {**training.machine.describe(), "processes": world.size},
    }
    name = next(iter(configurations))
    judged: dict[str, Judgement] = {}
    if world.leads:
        judged = save_encoder_run(training.folder, name, recipe, scaling, dataset, fold, configurations, fitted, facts)
        put_in_place(training.folder, training.output, options.overwrite)
        sweep(training.output)
    world.wait()
    return judged


def scaling_for(recipe: EncoderRecipe, survey: Survey) -> Scaling:
    """The constants that the recipe asks for.

    Raises:
        UsageError: a band is constant in the data, or the paper's constants are asked for data in other units.
    """
    kind = recipe.scaling.kind
    if recipe.scaling.constants == "data":
        return scaling_of_data(kind, survey.statistics, recipe.bands)
    if survey.dataset.units != "canonical":
        raise UsageError(
            f"recipe {recipe.name!r} scales by the paper's constants, in DN and dB; these data have other units: "
            'choose a recipe with the constants "data"'
        )
    return paper_scaling(kind)


def targets_of(dataset: PatchDataset, teacher: Teacher | None, weight: float) -> NDArray[np.float32]:
    """float32 (n,): the labels, mixed with the teacher's probabilities where there is one."""
    labels = dataset.labels.astype(np.float64)
    if teacher is None:
        return labels.astype(np.float32)
    return ((1 - weight) * labels + weight * teacher.probabilities_of(dataset)).astype(np.float32)
