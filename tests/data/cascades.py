"""Bundles, views and runs with early exits; their answers mean nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from encoder_bundles import encoder_bundle
from out_of_fold import sigmoid, write_external
from tables import synthetic_rows, write_table

from bundles import random_bundle
from lsd.export.adversarial import simulated_patches
from lsd.export.write import bundle_in_memory
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import Bundle
from lsd.runtime.calibration import Calibration
from lsd.runtime.chain import Chain
from lsd.runtime.exits import Exit, held
from lsd.train.cascade.views import KFOLD, View
from lsd.train.cli.ensemble import ensemble
from lsd.train.cli.forest import forest

MEASURED = {"policy": "certified"}


def cascade_bundle() -> Bundle:
    """`encoder_bundle()` in which a third of simulated patches leaves low and a third high, in both configurations."""
    plain = encoder_bundle(random_bundle())
    chain = Chain(plain)
    pixels = simulated_patches(60, 5)
    configurations = []
    for one in plain.manifest.configurations:
        features = chain.features(one, pixels, BAND_NAMES)
        margins = {member: chain.forests[member].margins(rows) for member, rows in features.items()}
        p = np.mean([sigmoid(np.asarray(values, np.float64)) for values in margins.values()], axis=0)
        low, high = (float(value) for value in np.quantile(p, (1 / 3, 2 / 3)))
        calibration, _ = held(Calibration(), (low, high), one.look_threshold, one.threshold)
        configurations.append(replace(one, exit=Exit("forest", low, high, calibration, MEASURED)))
    return with_configurations(plain, tuple(configurations))


def with_configurations(bundle: Bundle, configurations: tuple) -> Bundle:
    """The bundle with other configurations of the same members."""
    manifest = replace(bundle.manifest, configurations=configurations)
    return bundle_in_memory(manifest, bundle.contents)


def view_of(
    first: np.ndarray, whole: np.ndarray, labels: np.ndarray, name: str = KFOLD, threshold: float = 0.5, folds: int = 5
) -> View:
    """A view whose ensemble decides at one threshold, all of it land."""
    n = len(labels)
    fold = (np.arange(n) % folds).astype(np.int8)
    everything = {"all": np.ones(n, bool)}
    return View(name, first, whole, whole > threshold, labels.astype(np.int8), fold, everything)


def easy_view(n: int = 4000, seed: int = 0, share: float = 0.2, name: str = KFOLD, noise: float = 1.5) -> View:
    """A forest that is sure and right of most samples, and an ensemble that is better on the rest."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int8)
    margin = (2 * labels - 1) * 4.0 + rng.normal(0, noise, n)
    better = (2 * labels - 1) * 6.0 + 0.5 * (margin - (2 * labels - 1) * 4.0) + rng.normal(0, 0.5, n)
    return view_of(sigmoid(margin), sigmoid(better), labels, name)


def lsd_train(command, *words):
    return CliRunner().invoke(command, list(map(str, words)))


def write_cascade_runs(place: Path, n: int = 400) -> Path:
    """Two forests and a network's predictions of one made-up table: `runs/trees`, `runs/radar`, `net.csv`, and the
    ensembles `with_network` (trees, net), `two_forests` (trees, radar), of which the first cannot be exported."""
    table = write_table(place / "t.csv", n, seed=3)
    labels = np.array(synthetic_rows(n, 3)[1], np.int8)
    write_external(place / "net.csv", sigmoid(np.random.default_rng(4).normal(0, 1.5, n) + 6.0 * labels - 3.0))
    for name, library, bands in (("trees", "lightgbm", "all"), ("radar", "xgboost", "sar")):
        member = {"id": library, "library": library, "feature_set": "table-85", "rounds": 15, "parameters": {}}
        (place / f"{name}.json").write_text(json.dumps({"name": name, "description": "", "members": [member]}))
        words = ("--table", table, "--recipe", place / f"{name}.json", "--bands", bands, "--folds", 5)
        about = ("--data-name", "made up", "--licence", "CC0-1.0", "--synthetic")
        done = lsd_train(forest, *words, *about, "-o", place / "runs" / name, "-q")
        assert done.exit_code == 0, done.output
    how = ("--method", "logit", "-q")
    trees = place / "runs" / "trees"
    for name, beside in (
        ("with_network", ("--external", f"net={place / 'net.csv'}")),
        ("two_forests", (place / "runs" / "radar",)),
    ):
        done = lsd_train(ensemble, trees, *beside, "-o", place / name, *how)
        assert done.exit_code == 0, done.output
    return place
