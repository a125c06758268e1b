"""Training runs of any kind as what a bundle needs to know of them: configurations, each made of parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsd.runtime.acquisition.ranges import KEY as RANGES
from lsd.runtime.calibration import Calibration
from lsd.runtime.combination import Combination, equal
from lsd.runtime.errors import RunFolderError, UsageError
from lsd.runtime.exits import Exit
from lsd.train.cascade.run import exit_of_run
from lsd.train.encoder_run import EncoderRun, load_encoder_run
from lsd.train.ensembles.run import ensemble_of_run
from lsd.train.run import RUN_NAME, Run, load_run

Trained = Run | EncoderRun
# Imported weights say nothing of their data; the author's were trained on these 7,147 patches (METHOD, task)
PAPER_PREVALENCE = 1_255 / 7_147
KEPT = ("recipe", "data", "folds", "versions")  # of run.json, for the manifest and the card


@dataclass(frozen=True)
class TrainedPart:
    """One run of forests or of a network. id: its name within the configuration."""

    id: str
    run: Trained


@dataclass(frozen=True)
class Source:
    """One configuration to be exported, and the runs whose members answer for it.

    path: of the run folder, for messages. prevalence: share of positives among the labelled patches. training: `data`,
    `folds`, `versions`, and the `recipe` of each part. metrics: as measured in training. exit: of an ensemble for which
    `lsd-train cascade` chose one. exit_dropped: why there is none although it was run.
    """

    path: Path
    name: str
    bands: tuple[str, ...]
    parts: tuple[TrainedPart, ...]
    combination: Combination
    calibration: Calibration
    threshold: float
    look_threshold: float
    prevalence: float
    synthetic: bool
    units: str
    training: dict[str, Any]
    metrics: dict[str, Any]
    exit: Exit | None = None
    exit_dropped: str | None = None


def sources_of(path: Path) -> tuple[Source, ...]:
    """The configurations of a run folder: one, or several of a network trained with modality dropout.

    Raises:
        RunFolderError: no run folder, an unknown kind, an incomplete run.
        UsageError: an ensemble with a member known by its predictions only.
    """
    try:
        kind = json.loads((path / RUN_NAME).read_text(encoding="utf-8")).get("kind", "forest")
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: no run folder ({RUN_NAME} is missing); lsd-train makes one with -o") from error
    except (ValueError, AttributeError, OSError) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); train it again") from error
    if kind == "forest":
        return (_of_forests(load_run(path)),)
    if kind == "encoder":
        return _of_encoder(load_encoder_run(path))
    if kind == "ensemble":
        return (_of_ensemble(path),)
    raise RunFolderError(f"{path}: run of kind {kind!r}, this lsd-edge exports forest, encoder and ensemble")


def _of_forests(run: Run) -> Source:
    return Source(
        path=run.path,
        name=run.configuration,
        bands=run.bands,
        parts=(TrainedPart("forest", run),),
        combination=equal(1),
        calibration=run.calibration,
        threshold=run.threshold,
        look_threshold=run.look_threshold,
        prevalence=run.prevalence,
        synthetic=bool(run.document["data"]["synthetic"]),
        units=str(run.document["data"].get("units", "canonical")),
        training=_kept(run.document),
        metrics=run.document["metrics"],
    )


def _of_encoder(run: EncoderRun) -> tuple[Source, ...]:
    data = run.document["data"]
    imported = data["positives"] is None
    stored = {one["name"]: one["metrics"] for one in run.document["configurations"]}
    return tuple(
        Source(
            path=run.path,
            name=one.name,
            bands=one.bands,
            parts=(TrainedPart("encoder", run),),
            combination=equal(1),
            calibration=one.calibration,
            threshold=one.threshold,
            look_threshold=one.look_threshold,
            prevalence=PAPER_PREVALENCE if imported else float(data["positives"]) / float(data["samples"]),
            synthetic=run.synthetic,
            units=run.units,
            training=_kept(run.document),
            metrics=stored[one.name],
        )
        for one in run.configurations
    )


def _of_ensemble(path: Path) -> Source:
    ensemble = ensemble_of_run(path)
    document = ensemble.document
    asked = [
        (member, weight)
        for member, weight in zip(ensemble.members, ensemble.combination.weights, strict=True)
        if weight > 0
    ]
    parts = tuple(TrainedPart(member.id, _trained(member.kind, member.path)) for member, _ in asked)
    combination = Combination(
        ensemble.combination.method, tuple(weight for _, weight in asked), ensemble.combination.intercept
    )
    units = {str(part.run.document["data"].get("units", "canonical")) for part in parts}
    exit, dropped = exit_of_run(path)
    return Source(
        path=path,
        name=ensemble.configuration,
        bands=ensemble.bands,
        parts=parts,
        combination=combination,
        calibration=ensemble.calibration,
        threshold=ensemble.threshold,
        look_threshold=ensemble.look_threshold,
        prevalence=ensemble.prevalence,
        synthetic=bool(document["data"]["synthetic"]),
        units="canonical" if units == {"canonical"} else "relative",
        training={
            **{key: document[key] for key in ("data", "folds", "versions")},
            "recipe": {"name": "ensemble", "parts": {part.id: part.run.document["recipe"] for part in parts}},
            **next((_ranges(part.run.document) for part in parts if _ranges(part.run.document)), {}),
        },
        metrics=document["metrics"],
        exit=exit,
        exit_dropped=dropped,
    )


def _kept(document: dict[str, Any]) -> dict[str, Any]:
    return {**{key: document[key] for key in KEPT}, **_ranges(document)}


def _ranges(document: dict[str, Any]) -> dict[str, Any]:
    """What training saw of each band, where the run knows it: runs of networks and of patches in other units do not."""
    found = document.get(RANGES)
    return {} if found is None else {RANGES: found}


def _trained(kind: str, path: Path) -> Trained:
    if kind == "forest":
        return load_run(path)
    if kind == "encoder":
        return load_encoder_run(path)
    raise UsageError(
        f"{path}: a run of kind {kind!r} inside an ensemble cannot be exported; combine its members directly"
    )
