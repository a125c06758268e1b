"""Runs of every kind as one thing: something that gives samples a probability."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import LsdError, RunFolderError, UsageError
from lsd.train.evaluation.subject import Subject
from lsd.train.forests import FittedForest
from lsd.train.predictions import EXTERNAL, OutOfFold, read_out_of_fold
from lsd.train.run import RUN_NAME, TrainedMember, load_run

Advance = Callable[[int], object]
Probabilities = Callable[[Subject, "Configuration", Advance], NDArray[np.float64]]


@dataclass(frozen=True)
class Configuration:
    """Bands that a run can be shown, and what turns its probability into a decision.

    calibration, threshold, look_threshold: slide where the calibrated probability is above `threshold`, a look where it
    is above `look_threshold`. column: of oof.csv with its uncalibrated out-of-fold probabilities.
    """

    name: str
    bands: tuple[str, ...]
    calibration: Calibration
    threshold: float
    look_threshold: float
    column: str = "mean"


@dataclass(frozen=True)
class Predictor:
    """A trained run. Immutable.

    configurations: what it serves, its own first; one for everything but a network with modality dropout. trees,
    parameters: its size over all models that answer, 0 where it has none of them. statistics: names (`red_mean`) that a
    subject must hold. trained_ids: samples that a model of the run was fitted on; None where that is not recorded
    (imported checkpoints). units: of its training data, as of a PatchDataset. synthetic: it was trained on made-up
    pixels. probability_of: see `probabilities`.
    """

    name: str
    path: Path
    kind: str
    configurations: tuple[Configuration, ...]
    trees: int
    parameters: int
    statistics: tuple[str, ...]
    trained_ids: frozenset[str] | None
    units: str
    synthetic: bool
    probability_of: Probabilities

    @property
    def size(self) -> str:
        """`8,000 trees`, `1,234,567 parameters`, or both."""
        counts = {"trees": self.trees, "parameters": self.parameters}
        return " + ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "-"

    def probabilities(
        self, subject: Subject, configuration: Configuration | None = None, advance: Advance = lambda n: None
    ) -> NDArray[np.float64]:
        """float64 (n,), 0..1, not calibrated, by the models that were fitted on all samples of the run.

        Args:
            subject: with `statistics`; networks need its patches.
            configuration: one of `configurations`; None is the first.
            advance: called with the number of samples done.
        Raises:
            UsageError: no patches for a network, patches in other units or without its bands, or an ensemble with a
                member that is known by its out-of-fold predictions only.
        """
        return self.probability_of(subject, configuration or self.configurations[0], advance)

    def out_of_fold(self, configuration: Configuration) -> OutOfFold:
        """The out-of-fold predictions of a configuration, from the run folder."""
        return read_out_of_fold(self.path, self.name, configuration.column)


def predictor_from_run(path: Path, device: str = "cpu", threads: int | None = None) -> Predictor:
    """Read a run folder of any kind.

    Args:
        device, threads: of networks, see lsd.train.fitting.machine; looked for when a network is first asked. They
            compute in FP32, without flips, as their out-of-fold predictions and thresholds were made.
    Raises:
        RunFolderError: no run folder, an unknown kind, an incomplete run.
    """
    try:
        document = json.loads((path / RUN_NAME).read_text(encoding="utf-8"))
        kind = str(document.get("kind", "forest"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: no run folder ({RUN_NAME} is missing); lsd-train makes one with -o") from error
    except (ValueError, AttributeError, OSError) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); train it again") from error
    if kind == "forest":
        return _forest(path)
    if kind == "encoder":
        return _encoder(path, device, threads)
    if kind == "ensemble":
        return _ensemble(path, document, device, threads)
    raise RunFolderError(f"{path}: run of kind {kind!r}, this lsd-edge reads forest, encoder and ensemble")


def _forest(path: Path) -> Predictor:
    run = load_run(path)
    forests = [fitted_member(member) for member in run.members]

    def probability_of(subject: Subject, configuration: Configuration, advance: Advance) -> NDArray[np.float64]:
        matrices = {name: one.of_statistics(subject.statistics) for name, one in run.feature_sets.items()}
        total = np.zeros(len(subject))
        for member, weight, forest in zip(run.members, run.weights, forests, strict=True):
            total += weight * forest.probabilities(matrices[member.feature_set])
        advance(len(subject))
        return total

    return Predictor(
        name=path.resolve().name,
        path=path,
        kind="forest",
        configurations=(
            Configuration(run.configuration, run.bands, run.calibration, run.threshold, run.look_threshold),
        ),
        trees=sum(member.rounds for member in run.members),
        parameters=0,
        statistics=tuple(dict.fromkeys(name for one in run.feature_sets.values() for name in one.statistics)),
        trained_ids=frozenset(read_out_of_fold(path).ids),
        units=str(run.document["data"].get("units", "canonical")),
        synthetic=bool(run.document["data"]["synthetic"]),
        probability_of=probability_of,
    )


def _encoder(path: Path, device: str, threads: int | None) -> Predictor:
    from lsd.train.encoder_run import load_encoder_run

    run = load_encoder_run(path)
    recorded = run.configurations[0].column is not None

    def probability_of(subject: Subject, configuration: Configuration, advance: Advance) -> NDArray[np.float64]:
        from lsd.train.fitting.machine import machine_of

        if subject.dataset is None:
            raise UsageError(
                f"{path}: a network needs the pixels of the {len(subject)} samples that it was not trained on; give "
                "patches in place of the table"
            )
        machine = machine_of(device, "fp32", threads, 1)
        return run.probabilities(subject.dataset, configuration.bands, advance, machine)

    return Predictor(
        name=path.resolve().name,
        path=path,
        kind="encoder",
        configurations=tuple(
            Configuration(one.name, one.bands, one.calibration, one.threshold, one.look_threshold, one.column or "")
            for one in run.configurations
        ),
        trees=0,
        parameters=run.parameters * len(run.folds),
        statistics=(),
        trained_ids=frozenset(read_out_of_fold(path).ids) if recorded else None,
        units=run.units,
        synthetic=run.synthetic,
        probability_of=probability_of,
    )


def _ensemble(path: Path, document: dict[str, Any], device: str, threads: int | None) -> Predictor:
    """Members known by their out-of-fold predictions only make an ensemble that cannot answer for new samples."""
    from lsd.runtime.combination import Combination
    from lsd.train.ensembles.run import ensemble_of_run

    try:
        weights = Combination.from_json(document["combination"]).weights
        members = {
            str(member["id"]): predictor_from_run(path / member["path"], device, threads)
            for member, weight in zip(document["members"], weights, strict=True)
            if weight > 0 and member["kind"] != EXTERNAL
        }
        configuration = Configuration(
            document["configuration"],
            tuple(document["bands"]),
            Calibration.from_json(document["calibration"]),
            float(document["threshold"]),
            float(document["look_threshold"]),
        )
        synthetic = bool(document["data"]["synthetic"])
    except LsdError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); make it again") from error

    def probability_of(subject: Subject, configuration: Configuration, advance: Advance) -> NDArray[np.float64]:
        run = ensemble_of_run(path)
        asked = {name: member.probabilities(subject) for name, member in members.items()}
        advance(len(subject))
        without_weight = np.full(len(subject), np.nan)
        return run.combine({member.id: asked.get(member.id, without_weight) for member in run.members})

    trained = [read_out_of_fold(path).ids, *(member.trained_ids or () for member in members.values())]
    return Predictor(
        name=path.resolve().name,
        path=path,
        kind="ensemble",
        configurations=(configuration,),
        trees=sum(member.trees for member in members.values()),
        parameters=sum(member.parameters for member in members.values()),
        statistics=tuple(dict.fromkeys(name for member in members.values() for name in member.statistics)),
        trained_ids=frozenset(name for ids in trained for name in ids),
        units="relative" if any(member.units != "canonical" for member in members.values()) else "canonical",
        synthetic=synthetic,
        probability_of=probability_of,
    )


def fitted_member(member: TrainedMember) -> FittedForest:
    """The model file of a member, read by its own library; one thread."""
    if member.library == "lightgbm":
        import lightgbm

        try:
            return FittedForest("lightgbm", lightgbm.Booster(model_file=str(member.model)))
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise _unreadable(member, error) from error
    import xgboost

    try:
        return FittedForest("xgboost", xgboost.Booster({"nthread": 1}, model_file=str(member.model)))
    except ValueError as error:  # XGBoostError is one
        raise _unreadable(member, error) from error


def _unreadable(member: TrainedMember, error: Exception) -> RunFolderError:
    reason = str(error).strip().partition("\n")[0]
    return RunFolderError(f"{member.model}: {member.library} cannot read it ({reason}); train the run again")
