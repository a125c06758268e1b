"""What runs are judged on: configurations, honest samples, groups, prevalence; answers known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged_runs import fixed, judged, small_subject
from sklearn.metrics import f1_score

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import UsageError
from lsd.train.datasets.base import PatchDataset
from lsd.train.evaluation.configurations import comparable, judge_all, served
from lsd.train.evaluation.groups import LEAST_OF_A_CLASS, groupings_of, report_of_groups
from lsd.train.evaluation.judged import LEFT_OUT, NEW, OUT_OF_FOLD
from lsd.train.evaluation.prevalence import precision_at_prevalence
from lsd.train.evaluation.report import judged_by_all, report_of
from lsd.train.evaluation.table import cell, table_of
from lsd.train.metrics import evaluate
from lsd.train.predictions import OutOfFold
from lsd.train.predictors import Configuration, Predictor


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
