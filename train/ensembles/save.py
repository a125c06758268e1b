"""Write the run folder of an ensemble (layout: lsd.train.ensembles.run). The same members give the same bytes."""

from __future__ import annotations

import csv
import io
import os
import platform
from pathlib import Path
from typing import Any

from lsd.runtime import __version__
from lsd.runtime.bands import in_order
from lsd.runtime.combination import Combination
from lsd.runtime.commit import write_bytes
from lsd.runtime.versions import installed
from lsd.train.ensembles.joint import Joint
from lsd.train.ensembles.run import KIND
from lsd.train.ensembles.training import TrainedEnsemble
from lsd.train.groups import CONFIGURATIONS, bands_of_groups, name_of
from lsd.train.predictions import EXTERNAL, OutOfFold
from lsd.train.run import OOF_NAME, REPORT_NAME, RUN_NAME, SCHEMA_VERSION
from lsd.train.save import json_bytes

PACKAGES = ("numpy", "scikit-learn", "scipy")


def configuration_of(bands: tuple[str, ...]) -> str:
    """The name of the configuration with these bands: of its groups where there are such, else the bands with `+`."""
    known = {bands_of_groups(groups): name_of(groups) for groups in CONFIGURATIONS}
    return known.get(bands) or "+".join(bands)


def bands_of_members(members: tuple[OutOfFold, ...]) -> tuple[str, ...]:
    """What the members read together, in canonical order; an external file does not say what it reads."""
    return in_order(name for member in members for name in member.bands)


def save_ensemble(
    folder: Path, final: Path, trained: TrainedEnsemble, configuration: str, folds: int, seed: int
) -> None:
    """Write every file of the run except the plots into an existing, empty folder.

    Args:
        final: the absolute path that the folder will have; paths of members are written from there.
    """
    joint, outcome = trained.joint, trained.outcome
    asked = tuple(joint.members[at] for at in trained.kept)
    combination = Combination(
        outcome.final.method, tuple(outcome.final.weights[at] for at in trained.kept), outcome.final.intercept
    )
    report = trained.report
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "configuration": configuration,
        "bands": list(bands_of_members(asked)),
        "members": [_member(one, final) for one in asked],
        "removed": report["pruning"]["removed"],
        "combination": combination.to_json(),
        "data": _data(joint),
        "folds": {"kind": "KFold, shuffled, over the joint samples", "number": folds, "seed": seed},
        "calibration": outcome.calibration.to_json(),
        "threshold": outcome.threshold,
        "look_threshold": outcome.look_threshold,
        "metrics": {scope: report[scope] for scope in ("kfold", "nested", "look")},
        "versions": {"lsd-edge": __version__, "python": platform.python_version(), **installed(PACKAGES)},
    }
    write_bytes(folder / RUN_NAME, json_bytes(document))
    write_bytes(folder / REPORT_NAME, json_bytes(report))
    write_bytes(folder / OOF_NAME, _oof(trained).encode())


def _member(member: OutOfFold, final: Path) -> dict[str, Any]:
    """Where a run lies from the folder; of an external file, which nothing reads again, the name only."""
    relative = Path(os.path.relpath(member.path.resolve(), final)).as_posix()
    return {
        "id": member.name,
        "kind": member.kind,
        "path": member.path.name if member.kind == EXTERNAL else relative,
        "sha256": member.sha256,
        "bands": list(member.bands),
        "synthetic": member.synthetic,
    }


def _data(joint: Joint) -> dict[str, Any]:
    """What the members' runs say about their data, each statement once."""

    def said(key: str) -> str:
        known = dict.fromkeys(str(member.data[key]) for member in joint.members if key in member.data)
        return "; ".join(known) or "not stated"

    return {
        **{key: said(key) for key in ("name", "licence", "source", "sha256")},
        "synthetic": any(member.synthetic for member in joint.members),
        "samples": len(joint),
        "positives": int(joint.labels.sum()),
    }


def _oof(trained: TrainedEnsemble) -> str:
    joint = trained.joint
    columns: dict[str, list[Any]] = {
        "ID": list(joint.ids),
        "label": joint.labels.tolist(),
        "fold": trained.fold.tolist(),
        **{name: joint.probability[:, at].tolist() for at, name in enumerate(joint.names)},
        "mean": trained.outcome.mean.tolist(),
        "calibrated": trained.outcome.nested.probability.tolist(),
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
