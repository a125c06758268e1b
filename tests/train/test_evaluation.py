"""Judging forest runs: honest answers for samples that were trained on, figures, runs side by side."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from judged_runs import judged, small_subject
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score
from tables import write_table

from lsd.runtime.errors import RunFolderError, UsageError
from lsd.train.cli.main import main
from lsd.train.evaluation.groups import groupings_of
from lsd.train.evaluation.judged import LEFT_OUT, NEW, OUT_OF_FOLD
from lsd.train.evaluation.report import judged_by_all, report_of
from lsd.train.evaluation.subject import subject_of_table
from lsd.train.evaluation.table import cell, table_of
from lsd.train.metrics import evaluate
from lsd.train.predictors import predictor_from_run

MEMBERS = [
    {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 30, "parameters": {"num_leaves": 6}},
    {"id": "b", "library": "xgboost", "feature_set": "table-85", "rounds": 10, "parameters": {"max_depth": 3}},
]


def trained(place: Path, name: str, *words: object, members: list[dict] = MEMBERS) -> Path:
    recipe = place / f"{name}.json"
    recipe.write_text(json.dumps({"name": name, "description": "", "members": members}))
    words = ("forest", *words, "--recipe", recipe, "--folds", 3, "-o", place / name, "-q")
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return place / name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def table(place):
    """400 rows of which the runs see the first 250."""
    return write_table(place / "all.csv", 400)


@pytest.fixture(scope="module")
def run(place, table):
    lines = table.read_text().splitlines()
    (place / "seen.csv").write_text("\n".join(lines[:251]) + "\n")
    return trained(place, "first", "--table", place / "seen.csv")


@pytest.fixture(scope="module")
def predictor(run):
    return predictor_from_run(run)


@pytest.fixture(scope="module")
def subject(table, predictor):
    return subject_of_table(table, predictor.statistics)


def test_a_forest_run_predicts_what_its_libraries_predict(run, predictor, subject):
    import lightgbm
    import xgboost

    from lsd.train.run import load_run

    rows = load_run(run).feature_sets["table-85"].of_statistics(subject.statistics)
    theirs = lightgbm.Booster(model_file=str(run / "models" / "a.txt")).predict(rows, num_threads=1) / 2
    theirs += xgboost.Booster(model_file=str(run / "models" / "b.ubj")).predict(xgboost.DMatrix(rows)) / 2
    found = predictor.probabilities(subject)
    np.testing.assert_allclose(found, theirs, rtol=1e-5)
    assert found.dtype == np.float64 and found.shape == (400,)
    assert (predictor.kind, predictor.trees, predictor.parameters) == ("forest", 40, 0)
    assert predictor.size == "40 trees" and len(predictor.trained_ids) == 250


def test_a_broken_model_or_an_unknown_kind_is_one_error(run, tmp_path):
    import shutil

    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / "models" / "b.ubj").write_bytes(b"none")
    with pytest.raises(RunFolderError, match=r"b\.ubj: xgboost cannot read it .*; train the run again"):
        predictor_from_run(broken)
    document = json.loads((broken / "run.json").read_text())
    (broken / "run.json").write_text(json.dumps({**document, "kind": "oracle"}))
    with pytest.raises(RunFolderError, match="run of kind 'oracle'"):
        predictor_from_run(broken)
    with pytest.raises(RunFolderError, match=r"no run folder \(run.json is missing\)"):
        predictor_from_run(tmp_path)


def test_samples_that_were_trained_on_get_their_out_of_fold_answer(run, predictor, subject):
    found = judged(predictor, subject)
    assert (found.origin[:250] == OUT_OF_FOLD).all() and (found.origin[250:] == NEW).all()
    with (run / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert found.probability[:250].tolist() == [float(row["mean"]) for row in rows]
    np.testing.assert_allclose(found.calibrated[:250], [float(row["calibrated"]) for row in rows])
    whole = predictor.probabilities(subject)
    assert (np.abs(found.probability - whole)[:250] > 0.01).mean() > 0.5  # the models that saw them say something else
    np.testing.assert_array_equal(found.probability[250:], whole[250:])
    one = predictor.configurations[0]
    np.testing.assert_array_equal(found.decision[250:], one.calibration.apply(whole[250:]) > one.threshold)


def test_on_the_training_table_the_figures_are_the_nested_ones_of_the_run(run, place, predictor):
    seen = subject_of_table(place / "seen.csv", predictor.statistics)
    report = report_of(seen, [judged(predictor, seen)])
    own = json.loads((run / "report.json").read_text())
    for scope in ("all", "land"):
        for way, theirs in (("calibrated", "nested"), ("uncalibrated", "kfold")):
            ours = report["runs"][0][scope][way]
            assert {name: ours[name] for name in own[theirs][scope]} == own[theirs][scope]
    assert report["honesty"] == [
        "first: trained on all 250 samples: these are its out-of-fold results, no test on new samples."
    ]
    assert report["runs"][0]["look"] == own["look"]


def test_figures_on_new_samples_equal_a_direct_computation(predictor, subject):
    new = subject.subset(np.arange(250, 400))
    report = report_of(new, [judged(predictor, new)], prevalences=[0.05])
    one = predictor.configurations[0]
    p = predictor.probabilities(new)
    calibrated, labels = one.calibration.apply(p), new.labels
    figures = report["runs"][0]["all"]
    called = calibrated > one.threshold
    assert figures["calibrated"]["f1"]["value"] == pytest.approx(f1_score(labels, called))
    assert figures["calibrated"]["precision"]["value"] == pytest.approx(precision_score(labels, called))
    assert figures["calibrated"]["recall"]["value"] == pytest.approx(recall_score(labels, called))
    assert figures["calibrated"]["brier"]["value"] == pytest.approx(((calibrated - labels) ** 2).mean())
    assert figures["uncalibrated"]["f1"]["value"] == pytest.approx(f1_score(labels, p > 0.5))
    assert figures["uncalibrated"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, p))
    assert figures["uncalibrated"]["average_precision"]["value"] == pytest.approx(average_precision_score(labels, p))
    recall, false_rate = recall_score(labels, called), called[labels == 0].mean()
    stated = figures["calibrated"]["precision_at_prevalence_0.05"]
    assert stated["value"] == pytest.approx(0.05 * recall / (0.05 * recall + 0.95 * false_rate))
    assert stated["low"] < stated["value"] < stated["high"]
    assert report["prevalences"] == [0.05, 0.02, 0.01, 0.002]
    assert report["honesty"] == ["first: trained on none of the 150 samples."]


def test_land_is_what_is_no_open_sea(predictor, subject):
    sea = np.arange(400) % 2 == 1
    vh = np.where(sea, -30.0, -15.0).astype(np.float32)
    here = replace(subject, statistics={**subject.statistics, "desc_vh_mean": vh}).subset(np.arange(250, 400))
    one = judged(predictor, here)
    report = report_of(here, [one])
    land = np.flatnonzero(here.statistics["desc_vh_mean"] > -28)
    assert report["samples"]["land"] == {"number": 75, "slides": int(here.labels[land].sum())}
    expected = evaluate(one.calibrated[land], here.labels[land], decision=one.decision[land])
    assert report["runs"][0]["land"]["calibrated"] == expected


def test_new_samples_only(predictor, subject):
    one = judged(predictor, subject)
    kept, (column,) = judged_by_all(subject, [one], new_only=True)
    assert kept.ids == subject.ids[250:] and (column.origin == NEW).all()
    report = report_of(kept, [column], left_out=250, new_only=True)
    assert report["honesty"] == [
        "first: trained on none of the 150 samples.",
        "250 samples left out: runs were trained on them.",
    ]
    seen = subject.subset(np.arange(20))
    with pytest.raises(
        UsageError, match=r"of 20 samples no sample is left: runs were trained on the others \(first 20\)"
    ):
        judged_by_all(seen, [judged(predictor, seen)], new_only=True)


def test_out_of_fold_answers_of_real_pixels_do_not_count_for_surrogates_of_the_same_rows(predictor, subject):
    surrogate = replace(subject, synthetic=True)
    found = judged(predictor, surrogate)
    assert (found.origin[:250] == LEFT_OUT).all() and np.isnan(found.probability[:250]).all()
    assert (found.origin[250:] == NEW).all()
    with pytest.raises(UsageError, match=r"of 250 samples no sample is left: runs were trained on the others"):
        seen = surrogate.subset(np.arange(250))
        judged_by_all(seen, [judged(predictor, seen)])


def test_another_label_than_at_training_stops_the_evaluation(predictor, subject):
    labels = subject.labels.copy()
    labels[3] = 1 - labels[3]
    changed = replace(subject, labels=labels)
    with pytest.raises(UsageError, match=r"1 of 250 samples that first was trained on have another label here, the"):
        judged(predictor, changed)


def test_without_groups_clusters_of_ground_stand_in(predictor, subject):
    (grouping,) = groupings_of(subject)
    assert grouping.kind == "cluster" and len(grouping.names) == 20
    sizes = [(grouping.of == name).sum() for name in grouping.names]
    assert sum(sizes) == 400 and sizes == sorted(sizes, reverse=True)
    assert groupings_of(small_subject([0, 1])) == ()


def test_runs_side_by_side_and_the_gain_over_the_first(place, table, predictor, subject):
    weaker = predictor_from_run(
        trained(place, "weaker", "--table", place / "seen.csv", members=[{**MEMBERS[0], "rounds": 2}])
    )
    columns = [judged(one, subject) for one in (predictor, weaker)]
    report = report_of(subject, columns)
    first, second = report["runs"]
    gain = f1_score(subject.labels, columns[1].decision) - f1_score(subject.labels, columns[0].decision)
    assert first["f1_gain"] is None and second["f1_gain"]["value"] == pytest.approx(gain)
    text, markdown = table_of(report), table_of(report, markdown=True)
    line = next(line for line in text.splitlines() if line.startswith("F1 "))
    assert line.split() == ["F1", *cell(first["all"]["calibrated"]["f1"]).split(),
                            *cell(second["all"]["calibrated"]["f1"]).split()]  # fmt: skip
    assert "|  | first | weaker |" in markdown and "SYNTHETIC" not in text + markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4, 6}
    assert f"{gain:+.4f} (" in text and "real" in text.split("pixels")[1].splitlines()[0]


def test_made_up_pixels_are_said_first(subject, predictor):
    made_up = replace(predictor, synthetic=True)
    report = report_of(subject, [judged(made_up, replace(subject, synthetic=True))])
    assert report["synthetic"] is True and report["runs"][0]["pixels"] == "surrogate"
    assert table_of(report).startswith("SYNTHETIC pixels") and table_of(report, True).startswith("## SYNTHETIC pixels")
    real_run = report_of(*_new_only(predictor, replace(subject, synthetic=True)))
    assert real_run["synthetic"] is True


def _new_only(predictor, subject):
    kept, columns = judged_by_all(subject, [judged(predictor, subject)])
    return kept, columns
