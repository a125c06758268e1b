"""Write the run folder of a network (layout: lsd.train.encoder_run)."""

from __future__ import annotations

import csv
import hashlib
import io
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime import __version__
from lsd.runtime.calibration import Calibration
from lsd.runtime.commit import write_bytes
from lsd.runtime.versions import installed
from lsd.train.datasets.base import PatchDataset
from lsd.train.encoder_card import card_of
from lsd.train.encoder_plots import write_encoder_plots
from lsd.train.encoder_run import KIND, WEIGHTS_NAME, fold_folder
from lsd.train.encoders.recipe import EncoderRecipe
from lsd.train.encoders.scaling import Scaling
from lsd.train.judgement import Judgement, judge
from lsd.train.run import OOF_NAME, PLOTS_NAME, REPORT_NAME, RUN_NAME, SCHEMA_VERSION
from lsd.train.save import json_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from lsd.train.fitting.cross_validation import Fitted

CARD_NAME, CURVES_NAME, ENVIRONMENT_NAME = "CARD.md", "curves.csv", "environment.json"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "safetensors", "scikit-learn", "scipy")


def save_encoder_run(
    folder: Path,
    name: str,
    recipe: EncoderRecipe,
    scaling: Scaling,
    dataset: PatchDataset,
    fold: NDArray[np.int8],
    configurations: Mapping[str, tuple[str, ...]],
    fitted: Fitted,
    facts: Mapping[str, Any],
) -> dict[str, Judgement]:
    """Judge the out-of-fold probabilities and write every file but the weights, which lie in the folder already.

    Args:
        name: of the run's own configuration, the first of `configurations`.
        facts: further keys of run.json: `data`, `folds`, `parameters`, `origins`, `options`, `teacher`; `environment`
            goes into its own file.
    """
    judged = {key: judge(p, dataset.labels, fold) for key, p in fitted.probabilities.items()}
    served = [
        {"name": key, "bands": list(bands), "column": "mean" if key == name else f"mean:{key}", **judged[key].to_json()}
        for key, bands in configurations.items()
    ]
    data = {
        **facts["data"],
        "source": dataset.source,
        "sha256": dataset.sha256,
        "units": dataset.units,
        "samples": len(dataset),
        "positives": int(dataset.labels.sum()),
    }
    document = {
        **_head(folder, name, recipe, scaling, sorted(fitted.history)),
        "parameters": facts["parameters"],
        "origins": facts["origins"],
        "data": data,
        "folds": facts["folds"],
        "teacher": facts["teacher"],
        "configurations": served,
        **judged[name].to_json(),
        "options": facts["options"],
    }
    report = {
        "note": (
            "Out-of-fold: each sample predicted by the network that did not see it, without flips. kfold: at .5. "
            "nested: calibrated and cut by what the other folds chose."
        ),
        "configurations": {key: one.metrics for key, one in judged.items()},
        "nested_choices": {
            key: {"calibration": list(one.nested.methods), "threshold": list(one.nested.thresholds)}
            for key, one in judged.items()
        },
        "history": {str(number): rows for number, rows in fitted.history.items()},
    }
    environment = {**facts["environment"], "seconds": {str(k): round(s, 1) for k, s in fitted.seconds.items()}}
    write_bytes(folder / REPORT_NAME, json_bytes(report))
    write_bytes(folder / OOF_NAME, _oof(dataset, fold, name, fitted.probabilities, judged[name]).encode())
    write_bytes(folder / CURVES_NAME, _curves(fitted.history).encode())
    write_bytes(folder / ENVIRONMENT_NAME, json_bytes(environment))
    write_bytes(folder / CARD_NAME, card_of(document, environment).encode())
    title = f"{name}: {recipe.name} on {dataset.source}" + (" (SYNTHETIC pixels)" if data["synthetic"] else "")
    write_encoder_plots(folder / PLOTS_NAME, fitted, name, judged[name], dataset.labels, title)
    write_bytes(folder / RUN_NAME, json_bytes(document))
    return judged


def write_imported_run(
    folder: Path,
    recipe: EncoderRecipe,
    scaling: Scaling,
    state_dicts: Mapping[int, Mapping[str, Tensor]],
    data: Mapping[str, Any],
) -> None:
    """A run of weights from elsewhere, without out-of-fold probabilities: not calibrated, cut at .5.

    Args:
        folder: existing, empty. state_dicts: fold -> weights of the network.
        data: what is known of the training data: `name`, `licence`, `synthetic`, `source`.
    """
    from safetensors.torch import save

    for number, state in state_dicts.items():
        fold_folder(folder, number).mkdir(parents=True)
        whole = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        write_bytes(fold_folder(folder, number) / WEIGHTS_NAME, save(whole))
    decision = {"calibration": Calibration().to_json(), "threshold": 0.5, "look_threshold": 0.5, "metrics": {}}
    first = next(iter(state_dicts.values()))
    name = "imported"
    document = {
        **_head(folder, name, recipe, scaling, sorted(state_dicts)),
        "parameters": _parameters(recipe, scaling),
        "origins": ["imported checkpoints"] * len(recipe.network.encoders),
        "data": {"units": "canonical", **data, "samples": None, "positives": None},
        "folds": {"kind": "of the checkpoints", "number": len(state_dicts)},
        "teacher": None,
        "configurations": [{"name": name, "bands": list(recipe.bands), "column": None, **decision}],
        **decision,
        "options": {"tensors": len(first)},
    }
    write_bytes(folder / CARD_NAME, card_of(document, {}).encode())
    write_bytes(folder / RUN_NAME, json_bytes(document))


def _head(folder: Path, name: str, recipe: EncoderRecipe, scaling: Scaling, folds: list[int]) -> dict[str, Any]:
    weights = {
        str(number): hashlib.sha256((fold_folder(folder, number) / WEIGHTS_NAME).read_bytes()).hexdigest()
        for number in folds
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "configuration": name,
        "bands": list(recipe.bands),
        "recipe": recipe.to_json(),
        "scaling": scaling.to_json(),
        "weights": weights,
        "versions": {"lsd-edge": __version__, "python": platform.python_version(), **installed(PACKAGES)},
    }


def _parameters(recipe: EncoderRecipe, scaling: Scaling) -> int:
    from lsd.train.encoders.network import network_from_recipe

    return sum(value.numel() for value in network_from_recipe(recipe, scaling).parameters())


def _oof(
    dataset: PatchDataset,
    fold: NDArray[np.int8],
    name: str,
    probabilities: Mapping[str, NDArray[np.float64]],
    judged: Judgement,
) -> str:
    columns: dict[str, list[Any]] = {
        "ID": list(dataset.ids),
        "label": dataset.labels.tolist(),
        "fold": fold.tolist(),
        "mean": probabilities[name].tolist(),
        "calibrated": judged.nested.probability.tolist(),
        **{f"mean:{key}": p.tolist() for key, p in probabilities.items() if key != name},
    }
    return _csv(list(columns), zip(*columns.values(), strict=True))


def _curves(history: Mapping[int, list[dict[str, Any]]]) -> str:
    rows = [{"fold": number, **row} for number, of_fold in history.items() for row in of_fold]
    return _csv(list(rows[0]), ([row.get(key) for key in rows[0]] for row in rows))


def _csv(header: list[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
