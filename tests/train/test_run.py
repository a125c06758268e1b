from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from tables import write_table

from lsd.export.cli.main import main as lsd_export
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.features.sets import feature_set
from lsd.runtime.npz import npz_bytes
from lsd.train.cli.main import main as lsd_train
from lsd.train.run import load_run
from lsd.train.save import json_bytes
from lsd.train.table import read_table

RECIPE = {
    "name": "two",
    "description": "Two small forests with unequal weights.",
    "members": [
        {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 5, "parameters": {"num_leaves": 4}},
        {"id": "b", "library": "xgboost", "feature_set": "second-order", "rounds": 5, "parameters": {"max_depth": 2}},
    ],
    "weights": [0.75, 0.25],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    (place / "two.json").write_text(json.dumps(RECIPE))
    table = write_table(place / "t.csv", 200)
    words = ["forest", "--table", table, "--recipe", place / "two.json", "--folds", 3, "-o", place / "run", "-q"]
    done = CliRunner().invoke(lsd_train, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return place / "run"


def test_what_was_trained_is_read_back(folder):
    run = load_run(folder)
    assert run.bands == BAND_NAMES and run.weights == (0.75, 0.25)
    assert [(member.id, member.library, member.rounds) for member in run.members] == [
        ("a", "lightgbm", 5),
        ("b", "xgboost", 5),
    ]
    assert all(member.model.is_file() for member in run.members)
    for name, rows in run.rows.items():
        wanted = feature_set(name, BAND_NAMES)
        assert run.feature_sets[name] == wanted
        samples = read_table(folder.parent / "t.csv", wanted.statistics)
        np.testing.assert_array_equal(rows, wanted.of_statistics(samples.statistics))


def test_a_metric_without_a_value_becomes_null():
    document = {"f1": float("nan"), "parts": [1.0, float("inf"), {"x": (2, float("-inf"))}], "n": 3, "name": "a"}
    assert json.loads(json_bytes(document)) == {"f1": None, "parts": [1.0, None, {"x": [2, None]}], "n": 3, "name": "a"}


def test_arrays_are_stored_without_a_clock_and_without_objects(monkeypatch):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array(["x", "yz"])}
    first = npz_bytes(arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert npz_bytes(arrays) == first
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        npz_bytes({"a": np.array([{}], dtype=object)})


def without(name):
    return lambda folder: (folder / name).unlink()


def edited(**changes):
    def edit(folder):
        document = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**document, **changes}))

    return edit


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (without("run.json"), "no run folder (run.json is missing); lsd-train makes one"),
        (without("features.npz"), "incomplete run"),
        (without("models/b.ubj"), "b.ubj is missing; train it again"),
        (edited(schema_version=99), "run schema version is 99, this lsd-edge reads 2; train again with this version"),
        (edited(calibration={"method": "platt", "parameters": [-1.0, 0.0]}), "is not a monotone map"),
        (edited(feature_sets={}), "member 'a' names no feature set of the run"),
    ],
)
def test_a_damaged_run_folder_is_one_line_of_lsd_export(folder, tmp_path, damage, line):
    shutil.copytree(folder, tmp_path / "run")
    damage(tmp_path / "run")
    done = CliRunner().invoke(lsd_export, ["build", str(tmp_path / "run"), "-o", str(tmp_path / "bundle"), "-q"])
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1, done.stderr
    assert line in done.stderr
    assert not (tmp_path / "bundle").exists()
