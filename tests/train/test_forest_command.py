from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from patch_sets import write_patch_set
from sklearn.metrics import f1_score, roc_auc_score
from tables import write_patches, write_table

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import RunFolderError
from lsd.train.cli.forest import bands_of
from lsd.train.cli.main import main
from lsd.train.run import load_run

FILES = ["features.npz", "models/lightgbm.txt", "models/xgboost.ubj", "oof.csv", "plots.png", "report.json", "run.json"]


def lsd_train(*words):
    return CliRunner().invoke(main, ["forest", *map(str, words)])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "synthetic.csv", 300)


@pytest.fixture(scope="module")
def run_folder(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "all"
    done = lsd_train("--table", table, "--recipe", "quick", "--synthetic", "--licence", "CC0-1.0", "-o", folder)
    assert done.exit_code == 0, done.output
    assert "out of fold, p > .5" in done.stdout and str(folder) in done.stdout
    assert done.stderr.splitlines()[-1].startswith("DONE | ")
    return folder


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_two_runs_are_the_same_to_the_byte(table, run_folder, tmp_path):
    words = ("--table", table, "--recipe", "quick", "--synthetic", "--licence", "CC0-1.0")
    assert lsd_train(*words, "-o", tmp_path / "again").exit_code == 0
    assert sorted(contents(run_folder)) == FILES
    assert contents(tmp_path / "again") == contents(run_folder)


def test_a_run_folder_is_read_back(run_folder):
    run = load_run(run_folder)
    assert run.configuration == "all" and len(run.bands) == 12
    assert [member.id for member in run.members] == ["lightgbm", "xgboost"] and run.weights == (0.5, 0.5)
    assert run.rows["table-85"].shape == (300, 85) and run.rows["table-85"].dtype == np.float32
    assert run.document["data"]["synthetic"] is True and run.document["data"]["licence"] == "CC0-1.0"
    assert run.prevalence == run.document["data"]["positives"] / 300
    assert str(run_folder) not in (run_folder / "run.json").read_text()


def test_the_report_is_about_the_predictions_beside_it(run_folder):
    with (run_folder / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "ID"}
    report = json.loads((run_folder / "report.json").read_text())
    np.testing.assert_allclose(column["mean"], (column["lightgbm"] + column["xgboost"]) / 2)
    for way, p in (("kfold", column["mean"]), ("leave_cluster_out", column["cluster_mean"])):
        assert report[way]["all"]["f1"]["value"] == pytest.approx(f1_score(column["label"], p > 0.5))
        assert report[way]["all"]["auc"]["value"] == pytest.approx(roc_auc_score(column["label"], p))
    thresholds = np.array(report["nested_choices"]["threshold"])[column["fold"].astype(int)]
    nested = f1_score(column["label"], column["calibrated"] > thresholds)
    assert report["nested"]["all"]["f1"]["value"] == pytest.approx(nested)
    gain = list(report["importance"].values())
    assert len(gain) == 85 and sum(gain) == pytest.approx(1) and gain == sorted(gain, reverse=True)


def test_fewer_bands_options_from_a_file_and_json(table, tmp_path):
    (tmp_path / "options.json").write_text(json.dumps({"recipe": "quick", "bands": "sar", "folds": 3}))
    words = ("--table", table, "--config", tmp_path / "options.json", "--bands", "optical, vv_asc", "--json", "-q")
    done = lsd_train(*words, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["options"]["folds"] == 3
    assert len(done.stderr.splitlines()) == 1
    run = load_run(tmp_path / "run")
    assert run.bands == ("blue", "green", "red", "nir", "asc_vv")
    assert run.configuration == "blue+green+red+nir+asc_vv"
    assert "asc_vv_std" in run.feature_sets["table-85"].names and "asc_vh_std" not in run.feature_sets["table-85"].names


def test_bands_of_groups_and_names():
    assert bands_of("all") == bands_of("sar,optical")
    assert bands_of("sar") == of_modality("sar", "sar_diff")
    assert bands_of("B08,red") == ("red", "nir")


def test_patches_with_labels_are_trained_on(tmp_path):
    patches, labels = write_patches(tmp_path / "data", 140)
    recipe = {
        "id": "a",
        "library": "lightgbm",
        "feature_set": "paper-126",
        "rounds": 5,
        "parameters": {"num_leaves": 4},
    }
    (tmp_path / "r.json").write_text(json.dumps({"name": "r", "description": "", "members": [recipe]}))
    words = ("--patches", patches, "--labels", labels, "--recipe", tmp_path / "r.json", "-o", tmp_path / "run")
    done = lsd_train(*words, "--folds", 3, "--synthetic")
    assert done.exit_code == 0, done.output
    assert load_run(tmp_path / "run").rows["paper-126"].shape == (140, 126)


def test_a_real_table_learns_something(shared_data, tmp_path):
    member = {
        "id": "a",
        "library": "lightgbm",
        "feature_set": "table-85",
        "rounds": 20,
        "parameters": {"max_bin": 63, "learning_rate": 0.2},
    }
    (tmp_path / "r.json").write_text(json.dumps({"name": "r", "description": "", "members": [member]}))
    table = shared_data / "zindi-landslide" / "features.csv.gz"
    done = lsd_train("--table", table, "--recipe", tmp_path / "r.json", "--folds", 3, "--json", "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    auc = {way: report[way]["all"]["auc"]["value"] for way in ("kfold", "leave_cluster_out")}
    assert auc["kfold"] > 0.96 and auc["leave_cluster_out"] < auc["kfold"]
    assert report["kfold"]["all"]["f1"]["value"] > 0.75
    assert 0.80 < report["land"]["share"] < 0.82 and report["options"]["folds"] == 3
    assert report["land"]["positives"] == 1255 and report["nested"]["all"]["ece"]["value"] < 0.03


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--recipe", "quick"), "give either --table FILE or one of --patches DIR, --tiles DIR, --landslide4sense DIR"),
        (("--table", "TABLE", "--patches", "."), "found --table FILE and --patches DIR"),
        (("--table", "TABLE", "--labels", "l.csv"), "found --table FILE and --labels"),
        (("--patches", "."), "labels.csv: cannot be read"),
        (("--patches", ".", "--tiles", "."), "found --patches DIR and --tiles DIR"),
        (("--labels", "l.csv"), "give one of --patches DIR, --tiles DIR, --landslide4sense DIR; found none"),
        (("--tiles", "."), "--tiles DIR needs either --label-rasters PATH or --polygons FILE"),
        (("--tiles", ".", "--label-rasters", ".", "--polygons", "p"), "needs either --label-rasters"),
        (("--tiles", ".", "--labels", "l.csv"), "--labels belongs to --patches DIR; leave it out"),
        (("--patches", ".", "--min-slide-m2", "900"), "--min-slide-m2 belongs to --tiles DIR and"),
        (("--landslide4sense", "absent"), "absent: holds no image_*.h5"),
        (("--landslide4sense", ".", "--min-slide-m2", "0"), "--min-slide-m2 should be an area above 0, is 0"),
        (("--table", "TABLE", "--folds-by", "group"), "these data name no groups"),
        (("--table", "absent.csv"), "absent.csv: cannot be read"),
        (("--table", "TABLE", "--recipe", "quik"), "did you mean 'quick'"),
        (
            ("--table", "TABLE", "--bands", "optical,redd"),
            "--bands optical,redd: unknown band 'redd', did you mean 'red'",
        ),
        (("--table", "TABLE", "--bands", "VV"), "band 'VV' is ambiguous"),
        (("--table", "TABLE", "--recipe", "paper-lightgbm"), "has no column 'blue_median'"),
        (("--table", "TABLE", "--folds", "2"), "expected folds 3..100"),
        (("--table", "TABLE", "--folds", "101"), "expected folds 3..100"),
        (("--table", "TABLE", "--folds", "30"), "30 folds need at least as many groups"),
        (("--table", "TABLE", "--name", "../all"), "name must be letters"),
        (("--table", "TABLE", "--config", "absent.json"), "absent.json: cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_2_and_leave_nothing(table, tmp_path, words, line):
    given = [table if word == "TABLE" else word for word in words]
    recipe = () if "--recipe" in words else ("--recipe", "quick")
    done = lsd_train(*given, *recipe, "-o", tmp_path / "run", "-q")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert line in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fold_that_leaves_one_class(tmp_path):
    lines = ["ID,label,red_mean,red_std,red_min,red_max,red_kurtosis,red_skew"]
    lines += [f"r{i},{int(i == 7)},{i},1,{i},{i + 1},0,0" for i in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    done = lsd_train("--table", tmp_path / "t.csv", "--bands", "red", "--recipe", "quick", "-o", tmp_path / "run")
    assert done.exit_code == 2 and "all labels are 0: 1 positives are too few for 5 folds" in done.stderr


def test_unknown_keys_of_a_file_of_options(table, tmp_path):
    (tmp_path / "options.json").write_text('{"fold": 3}')
    done = lsd_train("--table", table, "--config", tmp_path / "options.json", "-o", tmp_path / "run")
    assert done.exit_code == 2 and "unknown key 'fold', did you mean 'folds'" in done.stderr


def test_a_run_is_replaced_only_when_told_and_other_folders_never(table, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    words = ("--table", table, "--recipe", "quick", "--folds", 3, "-q", "-o")
    done = lsd_train(*words, tmp_path / "run")
    assert done.exit_code == 2 and "give --overwrite" in done.stderr
    assert lsd_train(*words, tmp_path / "run", "--overwrite").exit_code == 0
    assert load_run(tmp_path / "run").document["folds"]["number"] == 3
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    for place in (precious.parent, precious):
        done = lsd_train(*words, place, "--overwrite")
        assert done.exit_code == 2 and "is there already and is no run folder" in done.stderr
    assert precious.read_text() == "mine"


def damaged(run_folder, tmp_path, name, content):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("run.json", None, "no run folder"),
        ("run.json", b"{", "incomplete run"),
        ("run.json", b"[]", "incomplete run"),
        ("run.json", b'{"schema_version": 7}', "schema version is 7, this lsd-edge reads 2"),
        ("run.json", b'{"schema_version": 2}', "incomplete run .KeyError"),
        ("models/lightgbm.txt", None, "lightgbm.txt is missing"),
        ("features.npz", None, "incomplete run"),
        ("features.npz", b"PK\x03\x04 torn", "incomplete run"),
        ("features.npz", b"", "incomplete run"),
    ],
)
def test_damaged_run_folders(run_folder, tmp_path, name, content, line):
    with pytest.raises(RunFolderError, match=line):
        load_run(damaged(run_folder, tmp_path, name, content))


SMALL = [{"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 4, "parameters": {"num_leaves": 4}}]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """120 made-up patches on 20 grounds of 10 events, two of which cannot be used, and a small recipe."""
    place = tmp_path_factory.mktemp("grouped")
    folder = write_patch_set(place / "patches", 120)
    (folder / "P007.npy").unlink()
    np.save(folder / "P050.npy", np.zeros((64, 64, 12)))
    (place / "r.json").write_text(json.dumps({"name": "r", "description": "", "members": SMALL}))
    return place


def test_patches_are_surveyed_and_what_they_say_is_recorded(grouped, tmp_path):
    words = ("--patches", grouped / "patches", "--recipe", grouped / "r.json", "--folds", 3)
    done = lsd_train(*words, "--folds-by", "event", "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "2 samples skipped: skipped.csv in the run folder lists them" in done.stderr
    document = load_run(tmp_path / "run").document
    assert document["kind"] == "forest" and document["data"]["synthetic"] is True
    assert document["data"]["samples"] == 118 and document["data"]["units"] == "canonical"
    assert document["folds"]["kind"] == "GroupKFold by event"
    with (tmp_path / "run" / "skipped.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ID"] for row in rows] == ["P007", "P050"] and "no pixel of any band is valid" in rows[1]["reason"]
    bands = json.loads((tmp_path / "run" / "band_statistics.json").read_text())
    assert list(bands) == list(BAND_NAMES) and bands["red"]["valid"] == 118 * 64 * 64
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["clusters"], report["clusters_are"]) == (10, "events")
    with (tmp_path / "run" / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    for kept_together in ("fold", "cluster_fold"):  # twelve patches in a row are of one event
        folds_of = {}
        for row in rows:
            folds_of.setdefault(int(row["ID"][1:]) // 12, set()).add(row[kept_together])
        assert len(folds_of) == 10 and all(len(folds) == 1 for folds in folds_of.values())
        assert len(set.union(*folds_of.values())) == 3


def test_ground_is_kept_together_and_strict_stops(grouped, tmp_path):
    words = ("--patches", grouped / "patches", "--recipe", grouped / "r.json", "--folds", 3, "-q")
    done = lsd_train(*words, "--folds-by", "group", "--bands", "optical", "-o", tmp_path / "run")
    assert done.exit_code == 0 and len(done.stderr.splitlines()) == 1, done.stderr
    with (tmp_path / "run" / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    grounds = {int(row["ID"][1:]) // 6: row["fold"] for row in rows}
    assert all(grounds[int(row["ID"][1:]) // 6] == row["fold"] for row in rows)
    done = lsd_train(*words, "--strict", "-o", tmp_path / "strict")
    assert done.exit_code == 2 and "P007.npy: cannot be read" in done.stderr
    assert not (tmp_path / "strict").exists()


def test_a_run_of_another_kind_is_named(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    older = {key: value for key, value in document.items() if key != "kind"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(older))
    assert load_run(tmp_path / "run").configuration == document["configuration"]
    (tmp_path / "run" / "run.json").write_text(json.dumps({**document, "kind": "encoder"}))
    with pytest.raises(RunFolderError, match=r"is a run of kind 'encoder', expected 'forest' \(of lsd-train forest\)"):
        load_run(tmp_path / "run")
