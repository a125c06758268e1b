"""Bad input through the whole command: one line on stderr, exit code 2, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tables import write_table

from lsd.export.adversarial import simulated_patches
from lsd.train.cli import forest as command
from lsd.train.cli.main import main

MEMBER = {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 4, "parameters": {"num_leaves": 4}}
PICKLED = b"\x80\x04]\x94K\x01a."  # pickle.dumps([1])


def lsd_train(*words):
    return CliRunner().invoke(main, ["forest", *map(str, words)])


def recipe(place: Path, **changes) -> Path:
    file = place / "mine.json"
    file.write_text(json.dumps({"name": "mine", "description": "", "members": [{**MEMBER, **changes}]}))
    return file


def table(place: Path, **replaced: str) -> Path:
    """A good table but for the second row's cells given by column name."""
    lines = write_table(place / "t.csv", 60).read_text().splitlines()
    header, row = lines[0].split(","), lines[2].split(",")
    for column, text in replaced.items():
        row[header.index(column)] = text
    (place / "t.csv").write_text("\n".join([lines[0], lines[1], ",".join(row), *lines[3:]]) + "\n")
    return place / "t.csv"


def as_bytes(content: bytes):
    def write(place: Path) -> tuple[object, ...]:
        (place / "bad.csv.gz").write_bytes(content)
        return "--table", place / "bad.csv.gz"

    return write


def cell(**replaced: str):
    return lambda place: ("--table", table(place, **replaced))


def patches(write):
    def layout(place: Path) -> tuple[object, ...]:
        (place / "labels.csv").write_text("ID,label\ngood,0\nbad,1\n")
        np.save(place / "good.npy", np.ones((64, 64, 12)))
        write(place / "bad.npy")
        return "--patches", place, "--labels", place / "labels.csv", "--strict"

    return layout


def options(content: object):
    def write(place: Path) -> tuple[object, ...]:
        (place / "o.json").write_text(json.dumps(content))
        return "--table", table(place), "--config", place / "o.json"

    return write


def of_recipe(**changes):
    return lambda place: ("--table", table(place), "--recipe", recipe(place, **changes), "--folds", 3)


def as_latin(place: Path) -> tuple[object, ...]:
    (place / "latin.json").write_bytes(b'{"name": "\xe9"}')
    return "--table", table(place), "--recipe", place / "latin.json"


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones((64, 64, 12)))


CASES = {
    "no gzip": (as_bytes(b"ID,label\n"), "bad.csv.gz: cannot be read"),
    "truncated gzip": (as_bytes(b"\x1f\x8b\x08\x00"), "bad.csv.gz: cannot be read"),
    "NaN label": (cell(label="nan"), "label of 'ID_00001' is 'nan', expected 0 (no slide) or 1 (slide)"),
    "empty label": (cell(label=""), "label of 'ID_00001' is ''"),
    "label with a blank": (cell(label=" 1"), "label of 'ID_00001' is ' 1'"),
    "duplicate": (cell(ID="ID_00000"), "ID 'ID_00000' stands in lines 2 and 3; keep one"),
    "no number": (cell(band3_mean="cloud"), "column 'red_mean': could not convert string to float: 'cloud'"),
    "infinite": (cell(band3_mean="-inf"), "column 'red_mean': -inf is no finite float32 number"),
    "too large": (cell(ndvi_max="1e39"), "column 'ndvi_max': 1e39 is no finite float32 number"),
    "shape": (patches(lambda path: np.save(path, np.ones((12, 64, 64)))), "bad.npy: is float64 (12, 64, 64), expected"),
    "type": (patches(lambda path: np.save(path, np.full((64, 64, 12), "x"))), "bad.npy: is <U1 (64, 64, 12)"),
    "missing": (patches(lambda path: None), "bad.npy: cannot be read as a patch"),
    "pickled": (patches(lambda path: path.write_bytes(PICKLED)), "bad.npy: cannot be read as a patch"),
    "archive": (patches(archive), "bad.npy: cannot be read as a patch"),
    "torn archive": (patches(lambda path: path.write_bytes(b"PK\x03\x04 torn")), "bad.npy: cannot be read as a patch"),
    "no patch left": (lambda place: patches(lambda path: None)(place)[:4], "5 folds of 1 samples"),
    "unknown option": (options({"foldss": 3}), "unknown key 'foldss', did you mean 'folds'?"),
    "type of an option": (options({"folds": "3"}), "folds must be int, is '3'"),
    "type of a name": (options({"name": 3}), "name must be str, is 3"),
    "folds": (options({"folds": 2}), "expected folds 3..100"),
    "many folds": (options({"folds": 200}), "expected folds 3..100"),
    "unknown key": (of_recipe(round=3), "unknown key 'round', did you mean 'rounds'?"),
    "refused value": (of_recipe(parameters={"num_leaves": 1}), "lightgbm refuses to train member 'a': Check failed"),
    "recipe not UTF-8": (as_latin, "latin.json: cannot be read ("),
    "recipe not there": (lambda place: ("--table", table(place), "--recipe", "x.json"), "x.json: cannot be read"),
}


@pytest.mark.parametrize(("given", "line"), CASES.values(), ids=CASES)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, given, line):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    words = given(tmp_path / "in")
    rest = () if "--recipe" in words else ("--recipe", recipe(tmp_path / "in"))
    done = lsd_train(*words, *rest, "-o", tmp_path / "out" / "run", "-q")
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1, done.stderr
    assert line in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_absent_libraries_are_named_with_the_command_that_installs_them(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "LIBRARIES", ("lightgbm", "a_library_nobody_has"))
    done = lsd_train("--table", table(tmp_path), "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert done.stderr == "error: lsd-train needs a_library_nobody_has: pip install 'lsd-edge[train]'\n"


def test_another_seed_gives_another_run_and_json_is_all_of_stdout(tmp_path):
    given = table(tmp_path)
    thresholds = {}
    for seed in (1, 2):
        words = ("--table", given, "--recipe", recipe(tmp_path), "--folds", 3, "--seed", seed, "--json")
        done = lsd_train(*words, "-o", tmp_path / str(seed), "--progress", "json")
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        assert report["options"]["seed"] == seed
        events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        assert events[-1]["event"] == "end" and events[-1]["done"] == events[-1]["total"] == 7
        thresholds[seed] = (tmp_path / str(seed) / "oof.csv").read_bytes()
    assert thresholds[1] != thresholds[2]


def test_a_forest_that_calls_nothing_has_no_precision_and_is_drawn_all_the_same(tmp_path):
    timid = recipe(tmp_path, rounds=1, parameters={"learning_rate": 1e-4})
    done = lsd_train("--table", table(tmp_path), "--recipe", timid, "--folds", 3, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if line.startswith("out of fold, p > .5 "))
    assert row.split()[6:10] == ["0.0000", "+-0.0000", "-", "0.0000"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["kfold"]["all"]["precision"] == {"value": None, "low": None, "high": None}
    assert (tmp_path / "run" / "plots.png").read_bytes().startswith(b"\x89PNG")


def test_simulated_patches_can_be_trained_on(tmp_path):
    (tmp_path / "patches").mkdir()
    lines = ["ID,label"]
    for i, pixels in enumerate(simulated_patches(60, 3)):
        np.save(tmp_path / "patches" / f"P{i}.npy", pixels.transpose(1, 2, 0))
        lines.append(f"P{i},{i % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ("--patches", tmp_path / "patches", "--labels", tmp_path / "labels.csv", "--synthetic", "--folds", 3)
    done = lsd_train(*words, "--recipe", recipe(tmp_path), "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["synthetic"] is True
