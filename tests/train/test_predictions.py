from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from click.testing import CliRunner
from out_of_fold import evidence, write_external, write_run
from sklearn.metrics import f1_score, roc_auc_score
from tables import write_table

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import RunFolderError, TableError
from lsd.train.cli.forest import forest
from lsd.train.predictions import read_external, read_out_of_fold


def test_a_run_of_any_kind_is_read(tmp_path):
    p, labels, _ = evidence(60)
    found = read_out_of_fold(write_run(tmp_path / "net", p[:, 0], labels, kind="encoder", synthetic=True))
    assert (found.name, found.kind, found.synthetic, len(found)) == ("net", "encoder", True, 60)
    assert found.bands == ("blue", "green", "red", "nir") and found.data["licence"] == "CC0-1.0"
    np.testing.assert_array_equal(found.probability, p[:, 0])
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.fold, np.arange(60) % 3)
    assert found.probability.dtype == np.float64 and found.labels.dtype == np.int8


def test_a_forest_run_is_read_as_lsd_train_forest_leaves_it(tmp_path):
    table = write_table(tmp_path / "t.csv", 150)
    words = ["--table", table, "--recipe", "quick", "--folds", 3, "-o", tmp_path / "run", "-qq"]
    assert CliRunner().invoke(forest, list(map(str, words))).exit_code == 0
    found = read_out_of_fold(tmp_path / "run", "trees")
    assert (found.name, found.kind, found.synthetic, len(found)) == ("trees", "forest", False, 150)
    assert found.bands == BAND_NAMES and set(found.fold) == {0, 1, 2}
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["kfold"]["all"]["auc"]["value"] == pytest.approx(roc_auc_score(found.labels, found.probability))
    calibrated = read_out_of_fold(tmp_path / "run", column="calibrated").probability
    assert not np.array_equal(calibrated, found.probability)


def test_external_predictions_with_and_without_labels(tmp_path):
    p, labels, _ = evidence(40)
    without = read_external(write_external(tmp_path / "a.csv", p[:, 0]), "net")
    assert without.labels is None and without.fold is None and without.bands == () and not without.synthetic
    np.testing.assert_array_equal(without.probability, p[:, 0])
    file = write_external(tmp_path / "b.csv", p[:, 1], labels)
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    for one in (file, packed):
        found = read_external(one, "net", synthetic=True)
        assert found.synthetic and found.ids == without.ids
        np.testing.assert_array_equal(found.labels, labels)
        np.testing.assert_array_equal(found.probability, p[:, 1])


def test_a_column_of_several_is_named(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("ID,other,p\na,7,0.25\nb,9,1\n")
    with pytest.raises(
        TableError, match=r"one column of probabilities, found other, p; name the column: net=a\.csv:COL"
    ):
        read_external(file, "net")
    np.testing.assert_array_equal(read_external(file, "net", "p").probability, [0.25, 1.0])
    with pytest.raises(TableError, match=r"column 'other' of 'a' is 7, expected a probability 0\.\.1 \(2 of 2"):
        read_external(file, "net", "other")
    with pytest.raises(TableError, match="expected one column 'q', found 0; it has ID, other, p"):
        read_external(file, "net", "q")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected a header with one column ID"),
        ("ID,p\n", "found 1 columns ID and 0 rows"),
        ("name,p\na,0.5\n", "0 columns ID"),
        ("ID,p\na,0.5,3\n", "rows of 2 values, found 1 columns ID and 1 rows of 3 values"),
        ("ID,p\na,0.5\na,0.6\n", "ID 'a' stands there twice"),
        ("ID,p\na,nan\n", "is nan, expected a probability"),
        ("ID,p\na,high\n", "could not convert string to float: 'high'"),
        ("ID,p\na,-0.1\n", "is -0.1, expected a probability"),
        ("ID,label\na,1\nb,0\n", "found none; name the column"),
        ("ID,label,p\na,2,0.5\nb,0,0.5\n", "label of 'a' is '2'"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(tmp_path, text, line):
    file = tmp_path / "p.csv"
    file.write_text(text)
    with pytest.raises(TableError) as raised:
        read_external(file, "net")
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_an_absent_file_and_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(TableError, match="cannot be read"):
        read_external(tmp_path / "none.csv", "net")
    with pytest.raises(RunFolderError, match=r"no run folder \(run.json is missing\)"):
        read_out_of_fold(tmp_path)
    p, labels, _ = evidence(20)
    run = write_run(tmp_path / "run", p[:, 0], labels)
    (run / "oof.csv").write_text((run / "oof.csv").read_text().replace("fold", "part", 1))
    with pytest.raises(TableError, match="expected one column 'fold'"):
        read_out_of_fold(run)
    for broken in ("{", "[]", '{"kind": "encoder"}'):
        (run / "run.json").write_text(broken)
        with pytest.raises(RunFolderError, match="incomplete run"):
            read_out_of_fold(run)


def test_the_real_network_is_as_the_method_says(shared_data):
    found = read_external(shared_data / "zindi-landslide" / "network_oof.csv", "network")
    assert len(found) == 7146 and found.labels.sum() == 1255
    assert f1_score(found.labels, found.probability > 0.5) == pytest.approx(0.8888, abs=5e-5)
    assert roc_auc_score(found.labels, found.probability) == pytest.approx(0.985, abs=5e-4)
