"""The run folder of forests: what lsd-train forest leaves and lsd-export reads; it explains itself.

run.json       kind (`forest`), what was trained on what, calibration, threshold, headline metrics (schema version 2)
report.json    every metric with its interval; plots.png a page of plots
oof.csv        ID, label, fold, one column a member, their mean, the nested calibrated probability; the fold by
               clusters, and the mean of forests that saw nothing of the sample's cluster
models/        one file a member, fitted on all samples, in the library's own form
band_statistics.json, skipped.csv   of patches: what the bands hold, and the samples that could not be used
features.npz   float32 matrix of each feature set over all samples: lsd-export checks parity on these rows
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import LsdError, RunFolderError
from lsd.runtime.features.sets import FeatureSet

SCHEMA_VERSION = 2
KIND = "forest"
RUN_NAME, REPORT_NAME, OOF_NAME, FEATURES_NAME, MODELS_NAME, PLOTS_NAME = (
    "run.json",
    "report.json",
    "oof.csv",
    "features.npz",
    "models",
    "plots.png",
)


@dataclass(frozen=True)
class TrainedMember:
    """One forest of a run. model: its file. feature_set: key of `Run.feature_sets`."""

    id: str
    library: str
    feature_set: str
    rounds: int
    model: Path


@dataclass(frozen=True)
class Run:
    """A run folder, read. rows: feature set -> float32 (n, feature). document: run.json as it stands."""

    path: Path
    configuration: str
    bands: tuple[str, ...]
    members: tuple[TrainedMember, ...]
    weights: tuple[float, ...]
    feature_sets: dict[str, FeatureSet]
    calibration: Calibration
    threshold: float
    look_threshold: float
    prevalence: float
    rows: dict[str, NDArray[np.float32]]
    document: dict[str, Any]


def load_run(path: Path) -> Run:
    """Read a run folder of forests.

    Raises:
        RunFolderError: no run folder, a run of another kind or schema version, a missing file or key.
    """
    file = path / RUN_NAME
    if not file.is_file():
        raise RunFolderError(f"{path}: no run folder ({RUN_NAME} is missing); lsd-train forest -o {path} makes one")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        kind = document.get("kind", KIND)
        if kind != KIND:
            raise RunFolderError(f"{path}: is a run of kind {kind!r}, expected {KIND!r} (of lsd-train forest)")
        if document["schema_version"] != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path}: run schema version is {document['schema_version']!r}, this lsd-edge reads {SCHEMA_VERSION}; "
                "train again with this version"
            )
        return _run(path, document)
    except LsdError:
        raise
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); train it again") from error


def _run(path: Path, document: dict[str, Any]) -> Run:
    members = tuple(
        TrainedMember(
            member["id"],
            member["library"],
            member["feature_set"],
            member["rounds"],
            path / MODELS_NAME / member["model"],
        )
        for member in document["members"]
    )
    for member in members:
        if not member.model.is_file():
            raise RunFolderError(f"{path}: {member.model.name} is missing; train it again")
        if member.feature_set not in document["feature_sets"]:
            raise RunFolderError(f"{path}: member {member.id!r} names no feature set of the run; train it again")
    with np.load(io.BytesIO((path / FEATURES_NAME).read_bytes()), allow_pickle=False) as stored:
        rows = {name: np.asarray(stored[name], np.float32) for name in document["feature_sets"]}
    return Run(
        path=path,
        configuration=document["configuration"],
        bands=tuple(document["bands"]),
        members=members,
        weights=tuple(document["weights"]),
        feature_sets={name: FeatureSet.from_json(value) for name, value in document["feature_sets"].items()},
        calibration=Calibration.from_json(document["calibration"]),
        threshold=float(document["threshold"]),
        look_threshold=float(document["look_threshold"]),
        prevalence=float(document["data"]["positives"]) / float(document["data"]["samples"]),
        rows=rows,
        document=document,
    )
