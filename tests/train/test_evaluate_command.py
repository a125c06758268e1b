"""lsd-train evaluate through the command line: forests and networks, tables and patches."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score
from tables import write_patches, write_table

from lsd.train.cli.evaluate import evaluate
from lsd.train.cli.main import main

MEMBER = {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 20, "parameters": {"num_leaves": 6}}


def trained(place: Path, name: str, *words: object, **changes) -> Path:
    (place / f"{name}.json").write_text(
        json.dumps({"name": name, "description": "", "members": [{**MEMBER, **changes}]})
    )
    words = ("forest", *words, "--recipe", place / f"{name}.json", "--folds", 3, "-o", place / name, "-q")
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return place / name


def lsd_evaluate(*words):
    return CliRunner().invoke(evaluate, [*map(str, words)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def table(place):
    return write_table(place / "all.csv", 300)


@pytest.fixture(scope="module")
def runs(place, table):
    """Two runs that saw the first 200 rows."""
    lines = table.read_text().splitlines()
    (place / "seen.csv").write_text("\n".join(lines[:201]) + "\n")
    return trained(place, "good", "--table", place / "seen.csv"), trained(
        place, "poor", "--table", place / "seen.csv", "--bands", "optical", rounds=2
    )


def test_two_runs_from_a_table(runs, table, tmp_path):
    done = lsd_evaluate(*runs, "--table", table, "--prevalence", "0.05", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "good: trained on 200 of the 300 samples, judged there by its out-of-fold" in done.stdout
    assert "precision at 5 % slides" in done.stdout and "F1 gain over the first" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("DONE | Runtime: ") and "no gallery" in done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["predictions.csv", "report.json", "table.md"]
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ID", "label", "good", "poor"] and len(rows) == 300
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    good = json.loads((runs[0] / "run.json").read_text())
    called = [float(row["good"]) > good["threshold"] for row in rows]
    near = f1_score([int(row["label"]) for row in rows], called)  # out-of-fold rows are cut by their folds' thresholds
    assert report["runs"][0]["all"]["calibrated"]["f1"]["value"] == pytest.approx(near, abs=0.05)
    assert report["options"]["prevalence"] == "0.05"
    assert (tmp_path / "out" / "table.md").read_text().startswith("## 300 samples of all.csv, ")


def test_json_and_markdown_and_nothing_kept(runs, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = lsd_evaluate(runs[0], "--table", table, "--json", "--progress", "json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [run["run"] for run in report["runs"]] == ["good"] and report["runs"][0]["f1_gain"] is None
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert events[-1]["event"] == "end" and events[-1]["done"] == events[-1]["total"] == 300
    done = lsd_evaluate(runs[0], "--table", table, "--markdown", "-q")
    assert done.stdout.startswith("## 300 samples") and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def patches(place):
    return write_patches(place / "data", 150)


@pytest.fixture(scope="module")
def of_patches(place, patches):
    folder, labels = patches
    lines = labels.read_text().splitlines()
    (place / "seen-labels.csv").write_text("\n".join(lines[:91]) + "\n")
    return trained(place, "pixels", "--patches", folder, "--labels", place / "seen-labels.csv", rounds=4)


def test_patches_of_which_some_cannot_be_used(of_patches, patches, tmp_path):
    folder, labels = patches
    rows = labels.read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([f"{rows[0]},group", *(f"{row},g{i % 2}" for i, row in
                                                   enumerate(rows[1:])), "gone,1,g0"]) + "\n")  # fmt: skip
    words = ("--patches", folder, "--labels", tmp_path / "labels.csv", "--worst", 3, "-o", tmp_path / "out")
    done = lsd_evaluate(of_patches, *words)
    assert done.exit_code == 0, done.output
    assert "1 samples skipped: they cannot be used." in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    run = report["runs"][0]
    ((name, reason),) = report["samples"]["skipped"]
    assert name == "gone" and "cannot be read as a patch" in reason
    assert (run["new"], run["out_of_fold"], list(run["groups"])) == (60, 90, ["group"])
    assert [group["samples"] for group in run["groups"]["group"].values()] == [75, 75]
    assert sum(map(len, run["worst"].values())) > 0
    assert (tmp_path / "out" / "gallery-pixels.png").read_bytes().startswith(b"\x89PNG")
    strict = lsd_evaluate(of_patches, *words, "--strict", "--overwrite")
    assert strict.exit_code == 2 and "gone" in strict.stderr
    assert (tmp_path / "out" / "report.json").is_file()  # the older evaluation stays


def test_made_up_patches_are_said_and_their_runs_stay_apart(place, patches, runs, tmp_path):
    folder, labels = patches
    made_up = trained(place, "made-up", "--patches", folder, "--labels", labels, "--synthetic", rounds=2)
    done = lsd_evaluate(made_up, "--patches", folder, "--labels", labels, "--synthetic")
    assert done.exit_code == 0 and done.stdout.startswith("SYNTHETIC pixels"), done.output
    mixed = lsd_evaluate(made_up, runs[0], "--patches", folder, "--labels", labels)
    assert mixed.exit_code == 2 and mixed.stdout == ""
    assert mixed.stderr.startswith("error: runs trained on surrogate pixels (made-up) never stand in a table beside")


def test_an_ensemble_is_asked_through_its_members(runs, table, place, tmp_path):
    from lsd.train.evaluation.subject import subject_of_table
    from lsd.train.predictors import predictor_from_run

    done = CliRunner().invoke(main, ["ensemble", *map(str, runs), "--method", "mean", "--folds", "4", "-q",
                                     "-o", str(place / "both")])  # fmt: skip
    assert done.exit_code == 0, done.output
    both = predictor_from_run(place / "both")
    subject = subject_of_table(table, both.statistics)
    parts = [predictor_from_run(run).probabilities(subject) for run in runs]
    assert both.probabilities(subject) == pytest.approx((parts[0] + parts[1]) / 2)
    assert (both.kind, both.trees, len(both.trained_ids)) == ("ensemble", 22, 200)
    done = lsd_evaluate(place / "both", runs[0], "--table", table)
    assert done.exit_code == 0 and "both: trained on 200 of the 300 samples" in done.stdout, done.output


def test_an_ensemble_with_predictions_from_elsewhere_is_judged_where_it_has_them(runs, table, place, tmp_path):
    with (runs[0] / "oof.csv").open() as file:
        rows = [(row["ID"], row["mean"]) for row in csv.DictReader(file)]
    (tmp_path / "other.csv").write_text("ID,p\n" + "\n".join(",".join(row) for row in rows) + "\n")
    words = ["ensemble", str(runs[1]), "--external", f"other={tmp_path / 'other.csv'}", "--method", "mean", "-q",
             "-o", str(tmp_path / "mixed")]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    done = lsd_evaluate(tmp_path / "mixed", "--table", place / "seen.csv")
    assert done.exit_code == 0 and "trained on all 200 samples" in done.stdout, done.output
    done = lsd_evaluate(tmp_path / "mixed", "--table", table)
    assert done.exit_code == 2 and "other is known by out-of-fold probabilities of a file only" in done.stderr


def test_refusals_are_one_line(runs, table, patches, tmp_path):
    folder, labels = patches
    cases = {
        (
            "--table",
            table,
            "--patches",
            folder,
            "--labels",
            labels,
        ): "FILE or --patches DIR, --labels, not both",
        ("--table", table, "--prevalence", "2"): "prevalence must be shares above 0 and below 1, is '2'",
        ("--table", table, "--prevalence", "few"): "prevalence must be numbers as in 0.05,0.001, is 'few'",
        ("--table", table, "--worst", 0): "expected worst 1..50, found 0",
        ("--table", table, "-o", runs[1], "--overwrite"): "holds no predictions.csv, so it is not replaced",
        ("--table", table, "-o", runs[1]): "is there already; give --overwrite",
    }
    for words, line in cases.items():
        done = lsd_evaluate(runs[0], *words, "-q")
        assert done.exit_code == 2 and done.stdout == "" and line in done.stderr, (words, done.output)
        assert len(done.stderr.splitlines()) == 1
    assert lsd_evaluate(tmp_path, "--table", table).stderr.startswith(f"error: {tmp_path}: no run folder")
