"""lsd-train cascade, and what lsd-export build makes of it: every command as its user gives it."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from cascades import lsd_train, write_cascade_runs
from commands import invoke

from lsd.export.cli.main import main as lsd_export
from lsd.export.sources import sources_of
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import LsdError, RunFolderError
from lsd.train.cascade.inputs import read_inputs
from lsd.train.cascade.run import exit_of_run
from lsd.train.cli.cascade import POLICIES, cascade
from lsd.train.cli.ensemble import ensemble
from lsd.train.cli.main import main as train
from lsd.train.metrics import is_open_sea


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The runs, and a cascade of `two_forests` by policy exit-75."""
    place = write_cascade_runs(tmp_path_factory.mktemp("cascade"))
    for name, first in (("with_network", ()), ("two_forests", ("--first", "trees"))):
        costs = ("--forest-us", 40, "--encoder-us", 9000) if first else ()
        done = lsd_train(cascade, place / name, *first, "--policy", "exit-75", *costs, "-q")
        assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def runs(made, tmp_path):
    """A copy to spoil, whose members lie where they lay."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def columns(file):
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "ID"}


def test_policies_are_those_of_the_ladder():
    from lsd.train.cascade import ladder

    assert POLICIES == ladder.POLICIES


def test_the_folder_gains_a_table_and_a_report(made):
    run = made / "with_network"
    document = json.loads((run / "cascade.json").read_text())
    assert document["first"] == "trees" and document["members"] == ["trees", "net"]
    assert set(document["policies"]) == set(POLICIES)
    assert set(document["policies"]["exit-75"]["nested"]) == {"kfold", "leave_cluster_out"}
    assert [rung["asked_share"] for rung in document["ladder"]][:2] == [0.3, 0.31] and len(document["ladder"]) == 66
    assert document["costs_us"] is None and "in-distribution" in document["note"]
    text = (run / "cascade.md").read_text()
    for words in ("in-distribution", "Microseconds a patch: unknown", "K-fold", "regions left out", "exit-85"):
        assert words in text
    assert str(made) not in (run / "cascade.json").read_text() + text


def test_the_row_is_about_the_predictions_beside_it(made):
    """Counted again from the run's files: exits by fold, the ensemble's nested decisions, land by the forest's data."""
    run = made / "two_forests"
    document, report = (json.loads((run / f"{name}.json").read_text()) for name in ("cascade", "report"))
    oof = columns(run / "oof.csv")
    fold = oof["fold"].astype(int)
    decision = oof["calibrated"] > np.array(report["nested_choices"]["threshold"])[fold]
    rung = document["policies"]["exit-75"]
    low, high = np.array(rung["by_fold"]["kfold"])[fold].T
    below, above = oof["trees"] < low, oof["trees"] > high
    changed = np.where(below, False, np.where(above, True, decision)) != decision
    land = ~is_open_sea(columns(made / "t.csv")["band6_mean"].astype(np.float32))
    for scope, rows in (("all", np.ones(len(fold), bool)), ("land", land)):
        row = rung["nested"]["kfold"][scope]
        assert row["exit"]["number"] == (below | above)[rows].sum() and row["exit"]["of"] == rows.sum()
        assert row["label_changes"]["number"] == changed[rows].sum()
        slides = oof["label"][rows] == 1
        assert row["slides_left_low"] == {**row["slides_left_low"], "number": (below[rows] & slides).sum(),
                                          "of": slides.sum()}  # fmt: skip
        assert row["found_slides_lost"]["of"] == (slides & decision[rows]).sum()
        share = row["exit"]["share"]
        assert row["expected_us"] == pytest.approx(40 + (1 - share) * 9000)


def test_regions_come_from_the_forest_that_did_not_see_them(made):
    inputs = read_inputs(made / "two_forests", "trees")
    forest, oof = columns(made / "runs/trees/oof.csv"), columns(made / "two_forests/oof.csv")
    kfold, regions = inputs.views
    np.testing.assert_array_equal(regions.first, forest["cluster_mean"])
    np.testing.assert_array_equal(regions.fold, forest["cluster_fold"])
    np.testing.assert_array_equal(kfold.first, oof["trees"])
    assert inputs.left_out == {} and inputs.regions == "similar ground"


def test_a_forest_is_found_or_asked_for(made):
    done = invoke(train, "cascade", made / "two_forests", "--overwrite")
    assert done.code == 2 and "several forests could be asked first: trees, radar; name one with --first" in done.error
    done = invoke(train, "cascade", made / "two_forests", "--first", "net", "--overwrite")
    assert (
        done.code == 2
        and "'net' can be asked first; forests with a weight in this ensemble: trees, radar" in done.error
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("runs/trees",), "expected a run of kind 'ensemble'"),
        (("gone",), "no run folder"),
        (("with_network",), "is there already; give --overwrite"),
        (("with_network", "--overwrite", "--forest-us", "3"), "must both be given and above 0"),
    ],
)
def test_wrong_use_is_one_line(made, words, says):
    done = invoke(train, "cascade", made / words[0], *words[1:])
    assert done.code == 2 and says in done.error and len(done.error.strip().splitlines()) == 1


def test_a_member_that_was_trained_again_is_found(runs):
    oof = runs / "runs/trees/oof.csv"
    oof.write_text(oof.read_text().replace("0.9", "0.8", 1))
    with pytest.raises(RunFolderError, match="'trees' was trained again since"):
        read_inputs(runs / "two_forests", "trees")


def test_a_policy_that_no_exits_meet_ends_with_3_and_says_what_was_measured(runs):
    """With 400 samples the upper bound of no change at all is above the limit."""
    done = invoke(train, "cascade", runs / "two_forests", "--first", "trees", "--overwrite", "-q")
    assert done.code == 3 and "no exits meet policy 'certified'" in done.error and "exit-85" in done.out
    assert json.loads((runs / "two_forests/cascade.json").read_text())["exit"] is None
    (source,) = sources_of(runs / "two_forests")
    assert source.exit is None and "no exits meet" in source.exit_dropped


def test_the_same_inputs_give_the_same_bytes(runs):
    before = (runs / "two_forests/cascade.json").read_bytes()
    words = ("--first", "trees", "--policy", "exit-75", "--forest-us", 40, "--encoder-us", 9000, "--overwrite")
    done = invoke(train, "cascade", runs / "two_forests", *words, "--json", "-q")
    assert done.code == 0, done.err
    assert (runs / "two_forests/cascade.json").read_bytes() == before == done.out.encode()


def test_a_damaged_file_is_one_line(runs):
    (runs / "two_forests/cascade.json").write_text("{}")
    with pytest.raises(RunFolderError, match="incomplete"):
        exit_of_run(runs / "two_forests")


# --- into the bundle -------------------------------------------------------------------------------------------------


def test_the_bundle_carries_the_exits_and_obeys_them(made, tmp_path):
    done = invoke(lsd_export, "build", made / "two_forests", "-o", tmp_path / "bundle", "-q")
    assert done.code == 0, done.err
    bundle = open_bundle(tmp_path / "bundle")
    (one,) = bundle.manifest.configurations
    document = json.loads((made / "two_forests/cascade.json").read_text())
    assert (one.exit.part, one.exit.low, one.exit.high) == ("trees", document["exit"]["low"], document["exit"]["high"])
    assert one.exit.measured["policy"] == "exit-75" and not one.exit.certified
    assert one.exit.measured["chosen"]["nested"]["kfold"]["all"]["exit"]["share"] > 0.6
    assert "in-distribution" in one.exit.measured["note"] and len(one.exit.measured["table"]) == 14
    chain = Chain(bundle)
    assert chain.exits == {"all": one.exit} and Chain(bundle, exits="off").exits == {}
    plain = json.loads(bundle.manifest.to_bytes())["configurations"][0]
    assert plain["exit"]["measured"] == one.exit.measured


def test_changing_members_drops_the_exits(runs, tmp_path):
    """Made again with another combination rule; cascade.json is put back as if it had stayed."""
    stored = (runs / "two_forests/cascade.json").read_bytes()
    words = (
        runs / "runs/radar",
        runs / "runs/trees",
        "-o",
        runs / "two_forests",
        "--method",
        "mean",
        "--overwrite",
        "-q",
    )
    done = lsd_train(ensemble, *words)
    assert done.exit_code == 0, done.output
    assert not (runs / "two_forests/cascade.json").exists()
    (runs / "two_forests/cascade.json").write_bytes(stored)
    (source,) = sources_of(runs / "two_forests")
    assert source.exit is None and "the ensemble is another one since" in source.exit_dropped
    done = invoke(lsd_export, "build", runs / "two_forests", "-o", tmp_path / "bundle")
    assert done.code == 0 and "no early exits: the ensemble is another one since" in done.err
    assert open_bundle(tmp_path / "bundle").manifest.configurations[0].exit is None


def test_an_ensemble_with_predictions_made_elsewhere_is_measured_and_not_exported(made):
    assert exit_of_run(made / "with_network")[0] is not None
    with pytest.raises(LsdError, match="known by out-of-fold probabilities of a file only"):
        sources_of(made / "with_network")
