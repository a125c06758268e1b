from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from out_of_fold import evidence, sigmoid, write_external, write_run
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from tables import write_table

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import RunFolderError, UsageError
from lsd.train.cli.ensemble import ensemble, external_of, named_path
from lsd.train.cli.forest import forest
from lsd.train.ensembles.run import ensemble_of_run
from lsd.train.predictions import read_out_of_fold

FILES = ["oof.csv", "plots.png", "report.json", "run.json"]


def lsd_train(command, *words):
    return CliRunner().invoke(command, list(map(str, words)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two forests of one table, of other bands and libraries, and a network's predictions of most of its rows."""
    place = tmp_path_factory.mktemp("ensemble")
    table = write_table(place / "t.csv", 240, seed=3)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["label"]) for row in rows], np.int8)
    margins = np.random.default_rng(4).normal(0, 1.2, 240) + 2.5 * labels - 1.5
    write_external(place / "net.csv", sigmoid(margins)[:232])
    for name, library, bands in (("optical", "lightgbm", "optical"), ("radar", "xgboost", "sar")):
        member = {"id": library, "library": library, "feature_set": "table-85", "rounds": 15, "parameters": {}}
        (place / f"{name}.json").write_text(json.dumps({"name": name, "description": "", "members": [member]}))
        words = ("--table", table, "--recipe", place / f"{name}.json", "--bands", bands, "--folds", 3)
        about = ("--data-name", "made up", "--licence", "CC0-1.0", "--synthetic")
        done = lsd_train(forest, *words, *about, "-o", place / "runs" / name, "-q")
        assert done.exit_code == 0, done.output
    return place


@pytest.fixture(scope="module")
def of_runs(place):
    done = lsd_train(ensemble, place / "runs/optical", place / "runs/radar", "-o", place / "both")
    assert done.exit_code == 0, done.output
    return place / "both"


@pytest.fixture(scope="module")
def with_network(place):
    words = (place / "runs/optical", f"trees={place / 'runs/radar'}", "--external", f"net={place / 'net.csv'}")
    done = lsd_train(ensemble, *words, "-o", place / "three", "--method", "logit")
    assert done.exit_code == 0, done.output
    return place / "three", done


def columns(folder):
    with (folder / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "ID"}


def test_the_folder_explains_itself(place, with_network):
    folder, done = with_network
    assert sorted(file.name for file in folder.iterdir()) == FILES
    run = json.loads((folder / "run.json").read_text())
    assert run["kind"] == "ensemble" and run["configuration"] == "all" and run["bands"] == list(BAND_NAMES)
    found = [(one["id"], one["kind"], one["path"]) for one in run["members"]]
    assert found == [
        ("optical", "forest", "../runs/optical"),
        ("trees", "forest", "../runs/radar"),
        ("net", "external", "net.csv"),
    ]
    assert run["members"][0]["bands"] == ["blue", "green", "red", "nir"] and run["members"][2]["bands"] == []
    assert run["combination"]["method"] == "logit" and len(run["combination"]["weights"]) == 3
    expected = {"name": "made up", "licence": "CC0-1.0", "source": "t.csv", "synthetic": True, "samples": 232}
    assert run["data"].items() >= expected.items()
    assert str(place) not in (folder / "run.json").read_text() + (folder / "report.json").read_text()
    for text in ("232 samples", "left out of optical", "mean of all", "what each member adds", "pruning:", str(folder)):
        assert text in done.stdout
    assert done.stderr.splitlines()[-1].startswith("DONE | ") and "232 samples" in done.stderr.splitlines()[-1]


def test_the_report_is_about_the_predictions_beside_it(with_network):
    folder, _ = with_network
    column, report = columns(folder), json.loads((folder / "report.json").read_text())
    run = json.loads((folder / "run.json").read_text())
    plain = np.mean([column[name] for name in ("optical", "trees", "net")], axis=0)
    assert report["kfold"]["all"]["f1"]["value"] == pytest.approx(f1_score(column["label"], plain > 0.5))
    for name, p in (("mean of all", plain), ("net", column["net"]), ("ensemble", column["mean"])):
        one = report["ways"][name]["at_half"]
        assert one["auc"]["value"] == pytest.approx(roc_auc_score(column["label"], p))
        assert one["log_loss"]["value"] == pytest.approx(log_loss(column["label"], p), rel=1e-4)
    thresholds = np.array(report["nested_choices"]["threshold"])[column["fold"].astype(int)]
    nested = report["nested"]["all"]
    assert nested["f1"]["value"] == pytest.approx(f1_score(column["label"], column["calibrated"] > thresholds))
    assert nested["auc"]["value"] == pytest.approx(roc_auc_score(column["label"], column["calibrated"]))
    assert run["metrics"]["nested"] == report["nested"] and run["metrics"]["kfold"] == report["kfold"]
    assert report["left_out"] == {"optical": 8, "trees": 8, "net": 0}
    assert report["correlation"]["net"]["trees"] == pytest.approx(np.corrcoef(column["net"], column["trees"])[0, 1])
    assert report["pruning"]["steps"][0]["removed"] is None
    assert len(report["pruning"]["steps"]) == len(report["adds"]) == 3
    assert report["pruning"]["asked"] is False and report["pruning"]["removed"] == []


def test_each_fold_is_combined_by_the_weights_of_the_report(with_network):
    folder, _ = with_network
    column, report = columns(folder), json.loads((folder / "report.json").read_text())
    p = np.stack([column[name] for name in ("optical", "trees", "net")], axis=1)
    margins = np.log(p) - np.log1p(-p)
    for number, one in enumerate(report["combination_by_fold"]):
        rows = column["fold"] == number
        expected = sigmoid(margins[rows] @ one["weights"] + one["intercept"])
        np.testing.assert_allclose(column["mean"][rows], expected, rtol=1e-9)


def test_an_ensemble_of_runs_is_applied_to_new_probabilities(of_runs):
    found = ensemble_of_run(of_runs)
    run = json.loads((of_runs / "run.json").read_text())
    assert [(member.id, member.kind) for member in found.members] == [("optical", "forest"), ("radar", "forest")]
    assert all((member.path / "run.json").is_file() for member in found.members)
    assert found.bands == BAND_NAMES and found.configuration == "all"
    assert found.threshold == run["threshold"] and found.calibration.to_json() == run["calibration"]
    assert found.prevalence == run["data"]["positives"] / 240
    given = {"radar": np.array([0.1, 0.9, np.nan]), "optical": np.array([0.2, 0.7, 0.5])}
    combined = found.combine(given)
    expected = found.combination.apply(np.stack([given["optical"], given["radar"]], axis=1))
    np.testing.assert_array_equal(combined, expected)
    assert combined.dtype == np.float64 and np.isnan(combined[2])
    with pytest.raises(UsageError, match="probabilities of radar are missing"):
        found.combine({"optical": given["optical"]})


def test_external_members_cannot_be_asked_about_new_patches(with_network):
    with pytest.raises(UsageError, match="net is known by out-of-fold probabilities of a file only"):
        ensemble_of_run(with_network[0])


def test_an_ensemble_is_a_member_like_any_other(place, of_runs, tmp_path):
    words = (of_runs, f"--external=net={place / 'net.csv'}", "--method", "mean", "-q")
    assert lsd_train(ensemble, *words, "-o", tmp_path / "run").exit_code == 0
    inner = read_out_of_fold(of_runs)
    assert inner.kind == "ensemble"
    np.testing.assert_array_equal(columns(tmp_path / "run")["both"], inner.probability[:232])


def test_two_runs_are_the_same_to_the_byte_and_json_is_all_of_stdout(place, of_runs):
    (place / "o.json").write_text(json.dumps({"method": "mean", "folds": 5}))
    words = (place / "runs/optical", place / "runs/radar", "--config", place / "o.json", "--method", "chosen")
    done = lsd_train(ensemble, *words, "-o", place / "again", "--json", "--progress", "json")
    assert done.exit_code == 0, done.output
    for name in FILES:
        assert (place / "again" / name).read_bytes() == (of_runs / name).read_bytes(), name
    report = json.loads(done.stdout)
    assert report["options"]["method"] == "chosen" and report["samples"] == 240
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert events[-1]["done"] == events[-1]["total"] == 9


def test_pruning_removes_the_member_that_knows_nothing(tmp_path):
    p, labels, _ = evidence(300)
    for at, name in enumerate(("a", "b", "noise")):
        write_run(tmp_path / name, p[:, at], labels, bands=("red",) if name == "noise" else ("blue", "nir"))
    words = (tmp_path / "a", tmp_path / "b", tmp_path / "noise", "-o", tmp_path / "run")
    done = lsd_train(ensemble, *words, "--prune", "--name", "two.halves")
    assert done.exit_code == 0, done.output
    assert "removed: noise" in done.stdout
    found = ensemble_of_run(tmp_path / "run")
    assert [member.id for member in found.members] == ["a", "b"] and found.configuration == "two.halves"
    assert found.bands == ("blue", "nir") and found.document["removed"] == ["noise"]
    assert found.document["data"]["synthetic"] is False
    assert "noise" in columns(tmp_path / "run")  # its predictions stay for who wants to look
    offered = lsd_train(ensemble, *words, "--overwrite")
    assert "could go without harm (--prune removes them): noise" in offered.stdout
    assert len(ensemble_of_run(tmp_path / "run").members) == 3


def test_one_synthetic_member_marks_the_ensemble(tmp_path):
    p, labels, _ = evidence(60)
    write_run(tmp_path / "real", p[:, 0], labels)
    write_run(tmp_path / "surrogate", p[:, 1], labels, synthetic=True)
    file = write_external(tmp_path / "x.csv", p[:, 2], labels)

    def synthetic(*words):
        done = lsd_train(ensemble, tmp_path / "real", *words, "--method", "mean", "-q", "-o", tmp_path / "run")
        assert done.exit_code == 0, done.output
        document = json.loads((tmp_path / "run" / "run.json").read_text())
        shutil.rmtree(tmp_path / "run")
        return document["data"]["synthetic"]

    assert synthetic(tmp_path / "surrogate") is True
    assert synthetic(f"--external=x={file}") is False
    assert synthetic(f"--external=x={file}", "--synthetic") is True


def test_names_and_columns_in_arguments(tmp_path):
    assert named_path("a=b/c") == ("a", "b/c") and named_path("b/c") == (None, "b/c")
    assert named_path("./x=1/run") == (None, "./x=1/run")  # a path with = in a folder's name
    assert external_of("net=p.csv:eva_oof_prob")[1:] == ((tmp_path / "p.csv").relative_to(tmp_path), "eva_oof_prob")
    assert external_of("net=p.csv")[2] is None
    (tmp_path / "a:b.csv").write_text("")
    assert external_of(f"net={tmp_path / 'a:b.csv'}") == ("net", tmp_path / "a:b.csv", None)
    with pytest.raises(UsageError, match="expected NAME=FILE"):
        external_of("p.csv")


CASES = {
    "one member": (("a",), "an ensemble needs two members or more, found 1"),
    "no run": (("a", "nothing"), "no run folder (run.json is missing)"),
    "same name": (("a", "a"), "2 members are called 'a'"),
    "reserved name": (("a", "mean=b"), "a member cannot be called 'mean'"),
    "other labels": (("a", "turned"), "labels differ between a and turned"),
    "other data": (("a", "short"), "only 60 of 200 IDs are common"),
    "folds": (("a", "b", "--folds", "3"), "expected folds 4..10"),
    "too many folds": (("a", "b", "--folds", "11"), "expected folds 4..10"),
    "seed": (("a", "b", "--seed", "-1"), "seed 0..2^32 - 1"),
    "external without name": (("a", "--external", "x.csv"), "expected NAME=FILE.csv"),
    "external not there": (("a", "--external", "x=y.csv"), "cannot be read"),
    "column not there": (("a", "--external", "x=p.csv:q"), "expected one column 'q', found 0"),
    "name": (("a", "b", "--name", "a/b"), "name must be letters, digits"),
    "method in a file": (("a", "b", "--config", "o.json"), "method must be one of chosen, mean, probability, logit"),
    "one positive": (("few", "few2=few"), "1 samples with label 1 lie in 1 of the folds, expected 4 or more"),
}


@pytest.mark.parametrize(("words", "line"), CASES.values(), ids=CASES)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    p, labels, _ = evidence(200)
    write_run(tmp_path / "a", p[:, 0], labels)
    write_run(tmp_path / "b", p[:, 1], labels)
    write_run(tmp_path / "turned", p[:, 1], 1 - labels)
    write_run(tmp_path / "short", p[:60, 1], labels[:60])
    write_run(tmp_path / "few", p[:, 0], (np.arange(200) == 0).astype(int))
    write_external(tmp_path / "p.csv", p[:, 2])
    (tmp_path / "o.json").write_text('{"method": "median"}')
    (tmp_path / "out").mkdir()
    done = lsd_train(ensemble, *words, "-o", tmp_path / "out" / "run", "-q")
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1, done.stderr
    assert line in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_member_is_never_overwritten(tmp_path):
    p, labels, _ = evidence(60)
    outer = write_run(tmp_path / "outer", p[:, 0], labels)
    inner = write_run(outer / "inner", p[:, 1], labels)
    done = lsd_train(ensemble, outer, inner, "-o", tmp_path / "here", "-q")
    assert done.exit_code == 0, done.output
    for words in ((outer, inner, "-o", outer), (tmp_path / "here", inner, "-o", outer)):
        done = lsd_train(ensemble, *words, "--overwrite", "-q")
        assert done.exit_code == 2 and "holds the member" in done.stderr
    assert (inner / "oof.csv").is_file()
    done = lsd_train(ensemble, outer, inner, "-o", tmp_path / "here", "-q")
    assert done.exit_code == 2 and "give --overwrite" in done.stderr


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("sound")
    p, labels, _ = evidence(60)
    runs = [write_run(place / name, p[:, at], labels) for at, name in enumerate("ab")]
    assert lsd_train(ensemble, *runs, "--method", "mean", "-o", place / "sums" / "run", "-q").exit_code == 0
    return place


def edited(**changes):
    def edit(run):
        document = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**document, **changes}))

    return edit


def retrained(run):
    file = run.parents[1] / "b" / "oof.csv"
    file.write_text(file.read_text().replace("ID_00000", "ID_99999"))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda run: (run / "run.json").unlink(), "no run folder"),
        (edited(kind="forest"), "expected a run of kind 'ensemble' and schema version 2, found 'forest'"),
        (edited(schema_version=99), "and 99; lsd-train ensemble makes one"),
        (edited(combination={"method": "mean", "weights": [1.0], "intercept": 0}), "2 members and 1 weights"),
        (edited(combination={"method": "mean"}), "incomplete run (KeyError: 'weights')"),
        (edited(members=3), "incomplete run"),
        (lambda run: shutil.rmtree(run.parents[1] / "b"), "member 'b' is not at"),
        (retrained, "member 'b' was trained again since"),
    ],
)
def test_a_damaged_ensemble_is_one_line(sound, tmp_path, damage, line):
    shutil.copytree(sound, tmp_path / "moved")  # runs moved together still find each other
    run = tmp_path / "moved" / "sums" / "run"
    assert len(ensemble_of_run(run).members) == 2
    damage(run)
    with pytest.raises(RunFolderError) as raised:
        ensemble_of_run(run)
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_members_that_say_the_same_of_all_samples_are_no_crash(tmp_path):
    p, labels, _ = evidence(60)
    constant = np.full(60, 0.3)
    runs = [write_run(tmp_path / "a", p[:, 0], labels), write_run(tmp_path / "flat", constant, labels)]
    done = lsd_train(ensemble, *runs, "-o", tmp_path / "run", "-q", "--prune")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "report.json").read_text())["correlation"]["a"]["flat"] is None
