"""Read the run folder of an ensemble, and that of the forest that is to be asked first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import LsdError, RunFolderError, TableError, UsageError
from lsd.train.cascade.views import CLUSTERS, KFOLD, Array, Mask, View, cluster_view
from lsd.train.configuration import SEA_STATISTIC
from lsd.train.ensembles.run import KIND
from lsd.train.metrics import is_open_sea
from lsd.train.run import KIND as FOREST
from lsd.train.run import OOF_NAME, REPORT_NAME, RUN_NAME, SCHEMA_VERSION, load_run
from lsd.train.samples import ids_and_labels, read_rows, sha256_of


@dataclass(frozen=True)
class CascadeInputs:
    """What exits are chosen from. document: the ensemble's run.json, of this SHA-256. first: the forest asked first.

    left_out: what could not be looked at -> why (`leave_cluster_out`, `land`). regions: what was held out together.
    """

    path: Path
    document: dict[str, Any]
    run_sha256: str
    first: str
    views: tuple[View, ...]
    left_out: dict[str, str]
    regions: str

    @property
    def look_threshold(self) -> float:
        """Of the ensemble, for new patches."""
        return float(self.document["look_threshold"])

    @property
    def threshold(self) -> float:
        """Of the ensemble, for new patches."""
        return float(self.document["threshold"])


def read_inputs(path: Path, first: str | None = None) -> CascadeInputs:
    """Read everything.

    Args:
        path: run folder of an ensemble; members known by their predictions only may be among it.
        first: id of the forest to ask first; needed only where the ensemble holds several.
    Raises:
        RunFolderError: no run of an ensemble, incomplete, or the forest's run is gone or was trained again.
        UsageError: no forest that has a weight, several and none named, or nothing to ask beside it.
    """
    try:
        document = json.loads((path / RUN_NAME).read_text(encoding="utf-8"))
        if document.get("kind", FOREST) != KIND or document["schema_version"] != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path}: expected a run of kind {KIND!r} and schema version {SCHEMA_VERSION}, found "
                f"{document.get('kind', FOREST)!r} and {document['schema_version']!r}; lsd-train ensemble makes one"
            )
        report = json.loads((path / REPORT_NAME).read_text(encoding="utf-8"))
        member = _forest_of(path, document, first)
        return _inputs(path, document, report, member)
    except LsdError:
        raise
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path}: no run folder ({error.filename} is missing); lsd-train ensemble makes one"
        ) from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OSError) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); make it again") from error


def _forest_of(path: Path, document: dict[str, Any], first: str | None) -> dict[str, Any]:
    weights = document["combination"]["weights"]
    asked = [member for member, weight in zip(document["members"], weights, strict=True) if weight > 0]
    forests = {member["id"]: member for member in asked if member["kind"] == FOREST}
    names = ", ".join(forests) or "none"
    if len(asked) < 2:
        raise UsageError(
            f"{path}: the ensemble asks {len(asked)} member ({', '.join(one['id'] for one in asked)}; the others have "
            "weight 0), so nothing is saved by leaving early; lsd-train ensemble --method mean asks all"
        )
    if first is None and len(forests) > 1:
        raise UsageError(f"{path}: several forests could be asked first: {names}; name one with --first")
    if first is None and forests:
        return dict(next(iter(forests.values())))
    if first not in forests:
        raise UsageError(
            f"{path}: {'no forest' if first is None else repr(first)} can be asked first; forests with a weight in "
            f"this ensemble: {names}"
        )
    return dict(forests[first])


def _inputs(path: Path, document: dict[str, Any], report: dict[str, Any], member: dict[str, Any]) -> CascadeInputs:
    header, rows = read_rows(path / OOF_NAME)
    ids, labels = ids_and_labels(path / OOF_NAME, header, rows)
    names = [one["id"] for one in document["members"]]
    probability = np.stack([_column(path, header, rows, name) for name in names], axis=1)
    fold = _column(path, header, rows, "fold").astype(np.int8)
    whole = _column(path, header, rows, "calibrated")
    thresholds = np.array(report["nested_choices"]["threshold"], np.float64)
    decision = whole > thresholds[np.unique(fold, return_inverse=True)[1]]

    forest = path / member["path"]
    at, left_out = names.index(member["id"]), {}
    held = _held_out(path, forest, member, ids)
    land = _land_of(forest, held.rows)
    scopes: dict[str, Mask] = {"all": np.ones(len(labels), bool)}
    if land is None:
        left_out["land"] = f"the forest has no feature {SEA_STATISTIC} in dB, which tells open sea"
    elif labels[land].sum() > 0:
        scopes["land"] = land
    views = [View(KFOLD, probability[:, at], whole, decision, labels, fold, scopes)]
    method = str(document["combination"]["method"])
    regions = cluster_view(probability, at, held.cluster_mean, held.cluster_fold, labels, method, scopes)
    if isinstance(regions, str):
        left_out[CLUSTERS] = regions
    else:
        views.append(regions)
    return CascadeInputs(
        path=path,
        document=document,
        run_sha256=sha256_of(path / RUN_NAME),
        first=str(member["id"]),
        views=tuple(views),
        left_out=left_out,
        regions=str(json.loads((forest / REPORT_NAME).read_text(encoding="utf-8"))["clusters_are"]),
    )


@dataclass(frozen=True)
class _HeldOut:
    """Of the forest's oof.csv, for the samples of the ensemble; rows: their places in it."""

    rows: NDArray[np.intp]
    cluster_mean: Array
    cluster_fold: NDArray[np.int8]


def _held_out(path: Path, forest: Path, member: dict[str, Any], ids: tuple[str, ...]) -> _HeldOut:
    file = forest / OOF_NAME
    if not file.is_file():
        raise RunFolderError(f"{path}: member {member['id']!r} is not at {forest}; put it back or make it again")
    if sha256_of(file) != member["sha256"]:
        raise RunFolderError(
            f"{path}: member {member['id']!r} was trained again since ({file} is another one); make the ensemble again"
        )
    header, rows = read_rows(file)
    places = {row[header.index("ID")]: place for place, row in enumerate(rows)}
    kept = np.array([places[name] for name in ids], np.intp)
    return _HeldOut(
        kept,
        _column(forest, header, rows, "cluster_mean")[kept],
        _column(forest, header, rows, "cluster_fold").astype(np.int8)[kept],
    )


def _land_of(forest: Path, rows: NDArray[np.intp]) -> Mask | None:
    """bool (n,), not open sea; None where no feature of the forest tells."""
    run = load_run(forest)
    if run.document["data"].get("units", "canonical") != "canonical":
        return None
    for name, one in run.feature_sets.items():
        if SEA_STATISTIC in one.names:
            return ~is_open_sea(run.rows[name][rows, one.names.index(SEA_STATISTIC)])
    return None


def _column(path: Path, header: list[str], rows: list[list[str]], name: str) -> Array:
    if header.count(name) != 1:
        raise TableError(f"{path / OOF_NAME}: expected one column {name!r}, found {header.count(name)}; train it again")
    at = header.index(name)
    return np.array([float(row[at]) for row in rows], np.float64)
