"""The measuring commands run: small inputs, no figure is asserted but those that arithmetic fixes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tables import write_table

from lsd.benchmarks import arithmetic, real_table, whole_tile
from lsd.runtime.bundle import open_bundle
from lsd.train.recipe import read_recipe
from lsd.train.samples import Samples

REFERENCE = Path(__file__).resolve().parents[2] / "bundles" / "reference"


@pytest.mark.parametrize("module", [arithmetic, real_table, whole_tile])
def test_help(module):
    assert CliRunner().invoke(module.main, ["--help"]).exit_code == 0


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio 1.4 writing windows with affine 3
def test_whole_tile_counts_its_patches(tmp_path):
    done = CliRunner().invoke(whole_tile.main, [str(REFERENCE), "--size", "200", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    measured = json.loads(done.stdout)
    assert (measured["patches"], measured["bands"]) == (16, 12)
    assert set(measured["seconds"]) == {"read", "wait", "score", "write"}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio 1.4 writing windows with affine 3
@pytest.mark.parametrize(
    ("words", "bands", "answered"), [((), 4, "optical"), (("--radar",), 8, "optical+desc_diff")], ids=["safe", "radar"]
)
def test_whole_tile_as_a_safe_of_jpeg_2000(tmp_path, words, bands, answered):
    call = [str(REFERENCE), "--size", "200", "--layout", "safe", "--folder", str(tmp_path), *words]
    done = CliRunner().invoke(whole_tile.main, call)
    assert done.exit_code == 0, done.output
    measured = json.loads(done.stdout)
    assert (measured["patches"], measured["bands"]) == (16, bands) and answered in measured["configurations"]
    assert len(list(tmp_path.rglob("*_10m.jp2"))) == 4 and len(list(tmp_path.rglob("*_SCL_20m.jp2"))) == 1
    assert not list(tmp_path.rglob("IMG_DATA/*/*.tif")) and not list(tmp_path.rglob("*.aux.xml"))


def test_whole_tile_is_written_once_and_whole(tmp_path):
    def fails(place, size_px):
        place.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole_tile.written(tmp_path / "tile", fails, 200)
    assert not (tmp_path / "tile").exists()
    place = whole_tile.written(tmp_path / "tile", lambda place, size_px: place.mkdir(), 200)
    assert whole_tile.written(place, fails, 200) == place


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scipy on constant float32 channels
def test_arithmetic_tells_flips(tmp_path, monkeypatch):
    monkeypatch.setattr(arithmetic, "SIMULATED", 4)
    table = write_table(tmp_path / "table.csv", 50)
    done = CliRunner().invoke(arithmetic.main, [str(REFERENCE), "--table", str(table)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    configurations = len(open_bundle(REFERENCE).manifest.configurations)
    assert [line.split(",")[0] for line in lines[:configurations]] == ["simulated"] * configurations
    assert all(line.endswith("flips") for line in lines)
    assert sum("50 real rows" in line for line in lines) == configurations


def test_mean_with_a_network_uses_its_rows_only(tmp_path):
    ids = ("a", "b", "c", "d")
    samples = Samples(ids, np.array([0, 1, 1, 0], np.int8), {}, "x", "0")
    with (tmp_path / "network.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["ID", "label", "eva_oof_prob"], ["a", 0, 0.8], ["b", 1, 0.9], ["c", 1, 0.1]])
    ours = {7: np.array([0.0, 0.3, 1.0, 1.0])}
    found = real_table.with_network(ours, samples, tmp_path / "network.csv")
    assert found["rows"] == 3
    assert found["f1_by_seed"] == {7: 1.0}  # means .4, .6, .55


def test_predictions_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(real_table, "CASES", (("all", "quick", (1,)),))
    bench = real_table.Bench(write_table(tmp_path / "table.csv", 60), tmp_path / "oof")
    fold = np.arange(60, dtype=np.int8) % 3
    first = bench.oof("one", read_recipe("quick"), "all", fold, 1)
    monkeypatch.setattr(real_table, "out_of_fold", lambda *_: pytest.fail("was fitted again"))
    np.testing.assert_array_equal(bench.oof("one", read_recipe("quick"), "all", fold, 1), first)
