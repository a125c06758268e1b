"""Write a run folder (layout: lsd.train.run). The same samples, recipe and seed give the same bytes: no clock."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from pathlib import Path
from typing import Any

from lsd.runtime import __version__
from lsd.runtime.commit import write_bytes
from lsd.runtime.npz import npz_bytes
from lsd.runtime.versions import installed
from lsd.train.configuration import Trained
from lsd.train.recipe import Recipe
from lsd.train.run import FEATURES_NAME, KIND, MODELS_NAME, OOF_NAME, REPORT_NAME, RUN_NAME, SCHEMA_VERSION
from lsd.train.samples import Samples
from lsd.train.training_ranges import band_ranges

FOLD_KINDS = {"kfold": "KFold, shuffled", "group": "GroupKFold by group", "event": "GroupKFold by event"}
PACKAGES = ("numpy", "lightgbm", "xgboost-cpu", "xgboost", "scikit-learn", "scipy")


def save_run(
    folder: Path,
    configuration: str,
    bands: tuple[str, ...],
    samples: Samples,
    recipe: Recipe,
    trained: Trained,
    data: dict[str, Any],
    folds: int,
    seed: int,
    folds_by: str = "kfold",
) -> None:
    """Write every file of the run except the plots into an existing, empty folder.

    Args:
        data: what the user says about the samples: `name`, `licence`, `synthetic`.
        folds_by: see lsd.train.folds.folds_by.
    """
    models = folder / MODELS_NAME
    models.mkdir()
    names = {member: forest.save(models, member).name for member, forest in trained.forests.items()}
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "configuration": configuration,
        "bands": list(bands),
        "recipe": recipe.to_json(),
        "members": [
            {"id": m.id, "library": m.library, "feature_set": m.feature_set, "rounds": m.rounds, "model": names[m.id]}
            for m in recipe.members
        ],
        "weights": list(recipe.weights),
        "feature_sets": {name: one.to_json() for name, one in trained.feature_sets.items()},
        "data": {
            **data,
            "source": samples.source,
            "sha256": samples.sha256,
            "units": samples.units,
            "samples": len(samples),
            "positives": int(samples.labels.sum()),
        },
        "band_ranges": band_ranges(samples, bands) if samples.units == "canonical" else None,
        "folds": {"kind": FOLD_KINDS[folds_by], "number": folds, "seed": seed},
        "calibration": trained.calibration.to_json(),
        "threshold": trained.threshold,
        "look_threshold": trained.look_threshold,
        "metrics": {scope: trained.report[scope] for scope in ("kfold", "nested", "leave_cluster_out", "look")},
        "versions": {"lsd-edge": __version__, "python": platform.python_version(), **installed(PACKAGES)},
    }
    write_bytes(folder / RUN_NAME, json_bytes(document))
    write_bytes(folder / REPORT_NAME, json_bytes(trained.report))
    write_bytes(folder / OOF_NAME, _oof(samples, trained).encode())
    write_bytes(folder / FEATURES_NAME, npz_bytes(dict(trained.matrices)))


def json_bytes(document: Any) -> bytes:
    """UTF-8 JSON; NaN (a metric without a value) becomes null."""
    return (json.dumps(_finite(document), indent=1, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _oof(samples: Samples, trained: Trained) -> str:
    columns: dict[str, list[Any]] = {
        "ID": list(samples.ids),
        "label": samples.labels.tolist(),
        "fold": trained.fold.tolist(),
        **{member: p.tolist() for member, p in trained.member_oof.items()},
        "mean": trained.mean_oof.tolist(),
        "calibrated": trained.nested.probability.tolist(),
        "cluster_fold": trained.cluster_fold.tolist(),
        "cluster_mean": trained.cluster_oof.tolist(),
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
