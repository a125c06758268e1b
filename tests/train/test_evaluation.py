"""Judging runs: honest answers for samples that were trained on, figures, groups, errors to look at."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score
from tables import write_patches, write_table

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import RunFolderError, UsageError
from lsd.train.cli.main import main
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.npy import npy_dataset
from lsd.train.evaluation.configurations import comparable, judge_all, served
from lsd.train.evaluation.errors import worst_errors
from lsd.train.evaluation.gallery import gallery_png
from lsd.train.evaluation.groups import LEAST_OF_A_CLASS, groupings_of, report_of_groups
from lsd.train.evaluation.judged import LEFT_OUT, NEW, OUT_OF_FOLD, judge
from lsd.train.evaluation.prevalence import precision_at_prevalence
from lsd.train.evaluation.report import judged_by_all, report_of
from lsd.train.evaluation.subject import Subject, subject_of_patches, subject_of_table
from lsd.train.evaluation.table import cell, table_of
from lsd.train.metrics import evaluate
from lsd.train.predictions import OutOfFold
from lsd.train.predictors import Configuration, Predictor, predictor_from_run

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


def judged(predictor, subject):
    return judge(predictor, predictor.configurations[0], subject, lambda n: None)


def fixed(probability, name="fake", ids=(), synthetic=False, bands=BAND_NAMES, **changes):
    """A predictor that knows its answers beforehand."""
    asked = []

    def probability_of(subject, configuration, advance):
        asked.append((subject.ids, configuration.name))
        return np.array([probability[one] for one in subject.ids])

    one = Configuration("all", bands, Calibration(), 0.4, 0.1)
    made = Predictor(
        name, Path(name), "encoder", (one,), 0, 7, (), frozenset(ids), "canonical", synthetic, probability_of
    )
    return replace(made, **changes), asked


def small_subject(labels, **more):
    ids = tuple(f"S{i}" for i in range(len(labels)))
    return Subject(ids, np.array(labels, np.int8), {}, "labels.csv", "0" * 64, **more)


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


def test_the_interval_at_a_prevalence_is_that_of_rows_drawn_with_replacement():
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < 0.3).astype(np.int8)
    decision = rng.random(500) < np.where(labels == 1, 0.8, 0.1)
    ours = precision_at_prevalence(decision, labels, 0.02)
    theirs = evaluate(decision.astype(float), labels, decision=decision)["precision_at_prevalence_0.02"]
    assert ours["value"] == pytest.approx(theirs["value"])
    assert ours["low"] == pytest.approx(theirs["low"], rel=0.05)
    assert ours["high"] == pytest.approx(theirs["high"], rel=0.05)
    none = precision_at_prevalence(np.zeros(500, bool), labels, 0.02)
    assert all(np.isnan(value) for value in none.values())


def out_of_fold_of(subject, probability, ids):
    at = [subject.ids.index(one) for one in ids]
    return OutOfFold(
        name="fake",
        kind="encoder",
        path=Path("fake"),
        sha256="",
        ids=tuple(ids),
        labels=subject.labels[at],
        fold=np.arange(len(at), dtype=np.int16) % 3,
        probability=np.array([probability[one] for one in ids]),
    )


def with_out_of_fold(predictor, held_out):
    class Held(Predictor):
        def out_of_fold(self, configuration):
            return held_out

    return Held(**vars(predictor))


def test_samples_without_an_honest_answer_are_left_out_for_all_runs():
    subject = small_subject([0, 1] * 15)
    p = {name: 0.2 + 0.6 * label for name, label in zip(subject.ids, subject.labels.tolist(), strict=True)}
    held_out = out_of_fold_of(subject, p, subject.ids[:12])
    seen, asked = fixed(p, "seen", ids=subject.ids[:18])  # trained on 18, of which 12 have an out-of-fold answer
    other, _ = fixed(p, "other")
    columns = judge_all([with_out_of_fold(seen, held_out), other], subject, lambda n: None)
    assert columns[0].origin.tolist() == [OUT_OF_FOLD] * 12 + [LEFT_OUT] * 6 + [NEW] * 12
    assert asked == [(subject.ids[18:], "all")]
    kept, columns = judged_by_all(subject, columns)
    assert kept.ids == subject.ids[:12] + subject.ids[18:] and len(columns[1].probability) == 24
    assert not any(np.isnan(one.calibrated).any() for one in columns)
    report = report_of(kept, columns, left_out=6)
    assert [run["out_of_fold"] for run in report["runs"]] == [12, 0]
    assert report["honesty"] == [
        "seen: trained on 12 of the 24 samples, judged there by its out-of-fold probabilities.",
        "other: trained on none of the 24 samples.",
        "6 samples left out: runs were trained on them and have no out-of-fold probability for these pixels.",
    ]


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


def test_what_an_imported_run_was_trained_on_is_said_to_be_unknown():
    subject = small_subject([0, 1] * 10)
    imported, _ = fixed(dict.fromkeys(subject.ids, 0.3), trained_ids=None)
    report = report_of(subject, [judged(imported, subject)])
    assert report["honesty"][0].startswith("fake: what it was trained on is not recorded;")


def test_surrogate_and_real_runs_never_share_a_table_and_names_tell_runs_apart():
    real, _ = fixed({}, "real")
    made_up, _ = fixed({}, "made-up", synthetic=True)
    with pytest.raises(UsageError, match=r"surrogate pixels \(made-up\) never stand .* real ones \(real\)"):
        comparable([real, made_up])
    twins = [replace(real, name="twin", path=Path(folder) / "twin") for folder in ("a", "b")]
    assert [one.name for one in comparable([*twins, real])] == ["a/twin", "b/twin", "real"]
    with pytest.raises(UsageError, match="twin is given 2 times"):
        comparable([twins[0], twins[0]])


def dataset_of(subject, bands):
    return PatchDataset(subject.ids, subject.labels, bands, lambda position: np.zeros((len(bands), 64, 64)), "", "")


def test_every_configuration_whose_bands_are_there_is_judged():
    subject = small_subject([0, 1] * 10)
    p = dict.fromkeys(subject.ids, 0.3)
    groups = {"all": BAND_NAMES, "optical": BAND_NAMES[:4], "sar": BAND_NAMES[4:]}
    several = tuple(
        Configuration(name, bands, Calibration(), 0.4, 0.1, f"mean:{name}") for name, bands in groups.items()
    )
    network, asked = fixed(p, configurations=several)
    columns = judge_all([network], subject, lambda n: None)
    assert [one.title for one in columns] == ["fake: all", "fake: optical", "fake: sar"]
    assert [name for _, name in asked] == ["all", "optical", "sar"]
    single, _ = fixed(p)
    assert judge_all([single], subject, lambda n: None)[0].title == "fake"
    five = dataset_of(subject, BAND_NAMES[:5])
    assert [one.name for one in served(network, five)] == ["optical"]
    with pytest.raises(UsageError, match=r"fake reads blue, .*; these samples have no desc_vh, "):
        served(single, five)
    with pytest.raises(UsageError, match="fake was trained on canonical units, the patches have relative ones"):
        served(network, replace(five, units="relative"))


def test_groups_are_those_of_the_data_and_small_ones_have_counts_only():
    rng = np.random.default_rng(1)
    labels = np.array([1] * 30 + [0] * 30 + [1] * 9 + [0] * 20)
    p = {f"S{i}": value for i, value in enumerate(rng.random(89))}
    places = ("north",) * 60 + ("south",) * 29
    subject = small_subject(labels, groups=places, events=("storm",) * 89)
    one = judged(fixed(p)[0], subject)
    by_event, by_group = groupings_of(subject)
    assert (by_event.kind, by_event.names, by_group.kind, by_group.names) == (
        "event", ("storm",), "group", ("north", "south"),
    )  # fmt: skip
    found = report_of_groups(one, subject.labels, by_group)
    assert 9 < LEAST_OF_A_CLASS <= 20 and found["south"]["metrics"] is None
    south = one.decision[60:]
    assert found["south"]["samples"] == 29 and found["south"]["slides"] == 9
    assert found["south"]["called"] == south.sum() and found["south"]["hits"] == south[:9].sum()
    north = f1_score(labels[:60], one.decision[:60])
    assert found["north"]["metrics"]["f1"]["value"] == pytest.approx(north)
    table = table_of(report_of(subject, [one]))
    small = [str(south[:9].sum()), "found,", str(south[9:].sum()), "false"]
    assert [line.split() for line in table.splitlines() if line.startswith(("north", "south"))] == [
        ["north", "60", "30", *cell(found["north"]["metrics"]["f1"]).split()], ["south", "29", "9", *small],
    ]  # fmt: skip


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


@pytest.fixture(scope="module")
def patches(place):
    folder, labels = write_patches(place / "data", 24)
    stored = npy_dataset(folder, labels)

    def read(position):
        patch = stored.read(position)
        if position == 0:
            patch[:, :, :20] = np.nan
        return patch

    groups = tuple(f"tile $x_{i % 2}$" for i in range(24))  # $ must not become mathematics
    return subject_of_patches(replace(stored, reader=read, groups=groups), ["red_std"])


def test_the_worst_errors_are_shown_in_order(patches):
    labels = patches.labels
    p = {name: (0.9 - 0.01 * i if label == 0 else 0.01 * i) for i, (name, label) in
         enumerate(zip(patches.ids, labels.tolist(), strict=True))}  # fmt: skip
    one = judged(fixed(p, "liar")[0], patches)
    worst = worst_errors(one, labels, 3)
    assert [patches.ids[at] for at in worst.false_positives] == ["P001", "P002", "P004"]
    assert [patches.ids[at] for at in worst.false_negatives] == ["P000", "P003", "P006"]
    assert len(worst_errors(one, labels, 100).false_positives) == 16
    assert report_of(patches, [one], worst=3)["runs"][0]["worst"] == {
        "false_positives": ["P001", "P002", "P004"], "false_negatives": ["P000", "P003", "P006"],
    }  # fmt: skip
    image = picture(gallery_png(one, patches, worst))
    assert image.shape[0] > 300 and image.shape[1] > 800 and image.std() > 0.1


def test_errors_that_calibration_ties_go_by_the_uncalibrated_probability(patches):
    p = {name: 0.6 + 0.001 * i for i, name in enumerate(patches.ids)}
    tied = replace(
        fixed(p)[0],
        configurations=(Configuration("all", BAND_NAMES, Calibration("isotonic", (0.0, 0.5, 1.0, 0.5)), 0.4, 0.1),),
    )
    worst = worst_errors(judged(tied, patches), patches.labels, 2)
    assert [patches.ids[at] for at in worst.false_positives] == ["P023", "P022"] and worst.false_negatives == ()


@pytest.mark.parametrize(
    ("bands", "units"), [(BAND_NAMES[:4], "relative"), (BAND_NAMES[4:], "canonical"), (("nir",), "canonical")]
)
def test_the_gallery_shows_what_bands_there_are(patches, bands, units):
    at = [BAND_NAMES.index(name) for name in bands]
    reader = patches.dataset.reader
    fewer = replace(patches.dataset, bands=bands, units=units, reader=lambda position: reader(position)[at])
    p = dict.fromkeys(patches.ids, 0.5)
    here = replace(patches, dataset=fewer, synthetic=True)
    one = judged(fixed(p, bands=bands)[0], here)
    assert picture(gallery_png(one, here, worst_errors(one, here.labels, 2))).shape[2] == 4


def picture(png: bytes) -> np.ndarray:
    from matplotlib import image

    assert png.startswith(b"\x89PNG")
    return image.imread(io.BytesIO(png), format="png")
