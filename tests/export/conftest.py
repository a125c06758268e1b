"""Tiny training runs and the bundle made of them, for the tests of lsd-export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Outcome, invoke
from tables import write_table

from lsd.export.cli.main import main as lsd_export
from lsd.train.cli.main import main as lsd_train

RECIPE = {
    "name": "tiny",
    "description": "Five rounds of either library.",
    "members": [
        {"id": "boosted", "library": "lightgbm", "feature_set": "second-order", "rounds": 5,
         "parameters": {"num_leaves": 6, "learning_rate": 0.3, "min_data_in_leaf": 4}},
        {"id": "other", "library": "xgboost", "feature_set": "table-85", "rounds": 5, "parameters": {"max_depth": 3}},
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders `all` and `optical`, trained on a synthetic table and marked so."""
    place = tmp_path_factory.mktemp("runs")
    (place / "tiny.json").write_text(json.dumps(RECIPE))
    table = write_table(place / "table.csv", 200)
    said = ["--data-name", "rows made up for tests", "--licence", "CC0-1.0", "--synthetic", "--folds", 3, "-qq"]
    for bands in ("all", "optical"):
        done = invoke(
            lsd_train, "forest", "--table", table, "--recipe", place / "tiny.json", "--bands", bands, *said,
            "-o", place / bands,
        )  # fmt: skip
        assert done.code == 0, done.err
    return place


@pytest.fixture(scope="session")
def build(runs: Path) -> Callable[..., Outcome]:
    """Callable: `lsd-export build` of these runs, by name, in this process."""

    def call(out: Path, *more: object, names: tuple[str, ...] = ("all", "optical")) -> Outcome:
        said = ["--licence", "CC-BY-SA 4.0", "--description", "Made for a test."]
        return invoke(lsd_export, "build", *(runs / name for name in names), "-o", out, *said, *more)

    return call


@pytest.fixture(scope="session")
def bundle(build: Callable[..., Outcome], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of both runs; read-only."""
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    done = build(out)
    assert done.code == 0, done.err
    return out
