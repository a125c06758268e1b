"""The run folder of an ensemble: what `lsd-train ensemble` leaves, and how it is applied to new patches.

run.json     kind `ensemble`: members (id, kind, path from this folder, SHA-256 of their oof.csv, bands), combination,
             calibration, threshold, headline metrics
report.json  every metric with its interval, what each member adds, pruning; plots.png a page of plots
oof.csv      ID, label, fold of the ensemble, one column a member, `mean`: combined by what the other folds chose,
             `calibrated`: calibrated so too
Members stay where they are: the folder holds no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsd.runtime.calibration import Calibration
from lsd.runtime.combination import Array, Combination
from lsd.runtime.errors import LsdError, RunFolderError, UsageError
from lsd.train.predictions import EXTERNAL
from lsd.train.run import OOF_NAME, RUN_NAME, SCHEMA_VERSION
from lsd.train.samples import sha256_of

KIND = "ensemble"


@dataclass(frozen=True)
class Member:
    """A member of an ensemble. path: of its run folder. kind: of that run."""

    id: str
    kind: str
    path: Path
    bands: tuple[str, ...]


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of runs, read. Immutable; threads may share it.

    bands: what the members read together. prevalence: share of positives in the samples. document: run.json as it is.
    """

    path: Path
    configuration: str
    bands: tuple[str, ...]
    members: tuple[Member, ...]
    combination: Combination
    calibration: Calibration
    threshold: float
    look_threshold: float
    prevalence: float
    document: dict[str, Any]

    def combine(self, probability: Mapping[str, Array]) -> Array:
        """One probability of each sample, not calibrated.

        Args:
            probability: member id -> float64 (n,), 0..1, not calibrated; NaN where the member could not answer.
        Returns:
            float64 (n,); NaN where a member with a weight has NaN.
        Raises:
            UsageError: members are missing.
        """
        missing = [member.id for member in self.members if member.id not in probability]
        if missing:
            raise UsageError(
                f"{self.path}: probabilities of {', '.join(missing)} are missing; every member must answer"
            )
        return self.combination.apply(np.stack([probability[member.id] for member in self.members], axis=1))


def ensemble_of_run(path: Path) -> Ensemble:
    """Read the run folder of an ensemble, to apply it to new patches.

    Raises:
        RunFolderError: no run folder, none of an ensemble, incomplete, or a member is gone or was trained again.
        UsageError: a member is known by its out-of-fold probabilities only, so nothing can ask it about new patches.
    """
    try:
        document = json.loads((path / RUN_NAME).read_text(encoding="utf-8"))
        if document.get("kind") != KIND or document["schema_version"] != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path}: expected a run of kind {KIND!r} and schema version {SCHEMA_VERSION}, found "
                f"{document.get('kind', 'forest')!r} and {document['schema_version']!r}; lsd-train ensemble makes one"
            )
        return _ensemble(path, document)
    except LsdError:
        raise
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path}: no run folder ({RUN_NAME} is missing); lsd-train ensemble -o makes one"
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); make it again") from error


def _ensemble(path: Path, document: dict[str, Any]) -> Ensemble:
    external = [member["id"] for member in document["members"] if member["kind"] == EXTERNAL]
    if external:
        raise UsageError(
            f"{path}: {', '.join(external)} is known by out-of-fold probabilities of a file only and cannot be asked "
            "about new patches; make an ensemble of runs alone"
        )
    members = []
    for stored in document["members"]:
        member = Member(stored["id"], stored["kind"], path / stored["path"], tuple(stored["bands"]))
        file = member.path / OOF_NAME
        if not file.is_file():
            raise RunFolderError(f"{path}: member {member.id!r} is not at {member.path}; put it back or make it again")
        if sha256_of(file) != stored["sha256"]:
            raise RunFolderError(
                f"{path}: member {member.id!r} was trained again since ({file} is another one); make the ensemble again"
            )
        members.append(member)
    combination = Combination.from_json(document["combination"])
    if len(combination.weights) != len(members):
        raise RunFolderError(f"{path}: {len(members)} members and {len(combination.weights)} weights; make it again")
    return Ensemble(
        path=path,
        configuration=document["configuration"],
        bands=tuple(document["bands"]),
        members=tuple(members),
        combination=combination,
        calibration=Calibration.from_json(document["calibration"]),
        threshold=float(document["threshold"]),
        look_threshold=float(document["look_threshold"]),
        prevalence=float(document["data"]["positives"]) / float(document["data"]["samples"]),
        document=document,
    )
