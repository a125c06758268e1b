"""The command surrogate: patches with the statistics of their rows, marked as synthetic, whole or not at all."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from tables import write_table

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import TableError
from lsd.runtime.features.sets import named_statistics
from lsd.train.cli.surrogate import surrogate
from lsd.train.datasets.npy import npy_dataset, read_patch
from lsd.train.datasets.statistics import statistics_of
from lsd.train.samples import read_rows
from lsd.train.surrogate import STATISTICS
from lsd.train.surrogate_closeness import closeness, table_of_closeness
from lsd.train.surrogate_folder import read_surrogate_rows, sample_of

ROWS = 16


def run(*words):
    return CliRunner().invoke(surrogate, list(map(str, words)))


def contents(folder):
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir())}


def rewrite(table, change):
    """Read a table as rows of dicts, let `change` edit them, write it back."""
    header, lines = read_rows(table)
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    change(rows)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table


@pytest.fixture(autouse=True, scope="module")
def small_batches():
    """Several batches, so that order and stopping early are tested on few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsd.train.surrogate_folder._ROWS_PER_BATCH", 4)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    def name_places(rows):
        for i, row in enumerate(rows):
            row["group"], row["event"] = f"tile {i % 5}", "flood, May"

    return rewrite(write_table(tmp_path_factory.mktemp("table") / "made.csv", ROWS), name_places)


@pytest.fixture(scope="module")
def made(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "patches"
    done = run("--table", table, "-o", folder, "--licence", "CC0-1.0", "--data-name", "made up")
    assert done.exit_code == 0, done.output
    assert "mean nothing on real ground" in done.stdout and "kurtosis" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("DONE | Runtime: ")
    return folder


def test_a_real_patch_reader_finds_patches_of_the_rows_statistics(table, made):
    rows = read_surrogate_rows(table)
    stored = np.load(made / f"{rows.ids[0]}.npy", allow_pickle=False)
    assert stored.shape == (64, 64, 12) and stored.dtype == np.float32
    found = statistics_of(npy_dataset(made), ["red_mean", "asc_vh_std", "desc_vv_min", "asc_dvv_skew"])
    assert found.ids == rows.ids and found.labels.tolist() == rows.labels.tolist()
    for name, values in found.statistics.items():
        band, _, statistic = name.rpartition("_")
        wanted = rows.statistics[:, BAND_NAMES.index(band), STATISTICS.index(statistic)]
        # median, since some of these made-up rows have a kurtosis that no pixels in their range have
        assert np.median(np.abs(values - wanted)) < 1e-4, name


def test_labels_keep_group_and_event(table, made):
    header, lines = read_rows(made / "labels.csv")
    assert header == ["ID", "label", "group", "event"]
    assert lines[7] == [*read_rows(table)[1][7][:2], "tile 2", "flood, May"]


def test_the_folder_says_that_it_is_synthetic_and_where_it_comes_from(table, made):
    document = json.loads((made / "dataset.json").read_text())
    assert document["synthetic"] is True and "mean nothing on real ground" in document["note"]
    assert document["name"] == "made up" and document["licence"] == "CC0-1.0" and document["seed"] == 42
    rows = read_surrogate_rows(table)
    assert document["made_from"] == {"source": "made.csv", "sha256": rows.sha256, "samples": ROWS}
    assert document["patches"] == ROWS and document["positives"] == rows.labels.sum() and document["skipped"] == 0
    assert str(table.parent) not in (made / "dataset.json").read_text()


def test_closeness_is_that_of_the_files(table, made):
    told = json.loads((made / "closeness.json").read_text())
    assert told["patches"] == ROWS and list(told["channels"]) == [*BAND_NAMES, "ndvi", "ndwi"]
    rows = read_surrogate_rows(table)
    pixels = np.stack([read_patch(made / f"{name}.npy") for name in rows.ids])
    spread = named_statistics(pixels, BAND_NAMES, ["ndvi_std"])["ndvi_std"]
    miss = np.abs(spread - rows.statistics[:, 12, STATISTICS.index("std")])
    assert told["channels"]["ndvi"]["std"]["absolute"]["max"] == pytest.approx(miss.max())
    assert told["channels"]["ndvi"]["std"]["absolute"]["median"] == pytest.approx(np.median(miss))
    assert told["channels"]["asc_vv"]["skew"]["relative_to_std"] is None
    assert told["channels"]["asc_vv"]["min"]["relative_to_std"]["max"] < 1e-6


def test_closeness_measures_deviations_and_leaves_out_what_has_none():
    wanted = np.array([[[5.0, 2.0, 0.0, 9.0, 0.5, 1.0]], [[7.0, 0.0, 7.0, 7.0, np.nan, np.nan]]])
    found = wanted + np.array([1.0, 0.0, 0.0, 0.0, 0.25, 0.0])
    told = closeness(wanted, found, ["red"])
    assert told["channels"]["red"]["mean"]["absolute"]["max"] == 1.0
    assert told["channels"]["red"]["mean"]["relative_to_std"]["max"] == 0.5  # the constant patch has no std
    assert told["channels"]["red"]["skew"]["absolute"]["max"] == 0.25
    assert "5.0e-01 / 5.0e-01" in table_of_closeness(told)


def test_processes_and_other_rows_change_nothing(table, made, tmp_path):
    words = ("--table", table, "--licence", "CC0-1.0", "--data-name", "made up")
    assert run(*words, "-o", tmp_path / "two", "--jobs", 2).exit_code == 0
    assert contents(tmp_path / "two") == contents(made)
    assert run(*words, "-o", tmp_path / "few", "--rows", 6).exit_code == 0
    few = contents(tmp_path / "few")
    patches = [name for name in few if name.endswith(".npy")]
    assert len(patches) == 6 and all(few[name] == contents(made)[name] for name in patches)
    assert run(*words, "-o", tmp_path / "other", "--rows", 6, "--seed", 1).exit_code == 0
    other = contents(tmp_path / "other")
    assert {name for name in other if name.endswith(".npy")} != set(patches)
    assert all(other[name] != contents(made)[name] for name in other if name.endswith(".npy"))


def test_a_sample_keeps_the_share_of_positives_and_the_order(table):
    rows = read_surrogate_rows(table)
    for n in (2, 3, 8, 12, ROWS):
        drawn = sample_of(rows, n, 0)
        expected = max(1, n * rows.labels.mean())
        assert len(drawn) == n and abs(drawn.labels.sum() - expected) <= 0.5
        assert list(drawn.ids) == sorted(drawn.ids)
    assert sample_of(rows, 8, 0).ids == sample_of(rows, 8, 0).ids != sample_of(rows, 8, 1).ids
    with pytest.raises(TableError, match=f"expected 2..{ROWS} rows"):
        sample_of(rows, ROWS + 1, 0)


@pytest.fixture
def faulty(tmp_path):
    """A table whose third row has a mean above its maximum, and whose fifth has no minimum in one band."""

    def spoil(rows):
        rows[2]["band7_mean"] = str(float(rows[2]["band7_max"]) + 1)
        rows[4]["band2_min"] = ""

    return rewrite(write_table(tmp_path / "faulty.csv", 10), spoil)


def test_rows_that_no_pixels_can_have_are_skipped_and_listed(faulty, tmp_path):
    folder = tmp_path / "patches"
    done = run("--table", faulty, "-o", folder)
    assert done.exit_code == 0, done.output
    assert "skipped ID_00002: desc_dvv: no pixels have the statistics" in done.stderr
    header, lines = read_rows_of(folder / "skipped.csv")
    assert header == ["ID", "reason"] and [line[0] for line in lines] == ["ID_00002", "ID_00004"]
    assert lines[1][1].startswith("green: ")
    ids = {line[0] for line in read_rows(folder / "labels.csv")[1]}
    assert len(ids) == 8 and ids == {f.stem for f in folder.glob("*.npy")}
    document = json.loads((folder / "dataset.json").read_text())
    assert (document["patches"], document["skipped"], document["made_from"]["samples"]) == (8, 2, 10)
    report = json.loads(run("--table", faulty, "-o", tmp_path / "again", "--json").stdout)
    assert report["synthetic"] is True and report["patches"] == 8
    assert [one["ID"] for one in report["skipped"]] == ["ID_00002", "ID_00004"]


def read_rows_of(path):
    header, *lines = csv.reader(path.read_text().splitlines())
    return header, lines


@pytest.mark.parametrize("jobs", [1, 2])
def test_strict_stops_and_leaves_nothing(faulty, tmp_path, jobs):
    done = run("--table", faulty, "-o", tmp_path / "patches", "--strict", "--jobs", jobs)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: faulty.csv: ID_00002: desc_dvv: no pixels")
    assert [f.name for f in tmp_path.iterdir()] == ["faulty.csv"]


def test_too_few_rows_left_are_refused(tmp_path):
    def spoil(rows):
        for row in rows:
            if row["label"] == "1":
                row["band1_mean"] = ""

    table = rewrite(write_table(tmp_path / "faulty.csv", 12), spoil)
    done = run("--table", table, "-o", tmp_path / "patches")
    assert done.exit_code == 2 and "expected both classes" in done.stderr and "blue: no pixels" in done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["faulty.csv"]


def test_overwrite_replaces_surrogates_only(table, tmp_path):
    folder = tmp_path / "patches"
    words = ("--table", table, "-o", folder, "--rows", 4)
    assert run(*words).exit_code == 0
    before = contents(folder)
    refused = run(*words, "--seed", 1)
    assert refused.exit_code == 2 and "give --overwrite" in refused.stderr and contents(folder) == before
    assert run(*words, "--seed", 1, "--overwrite").exit_code == 0 and contents(folder) != before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "dataset.json").write_text("{}")
    refused = run("--table", table, "-o", mine, "--rows", 4, "--overwrite")
    assert refused.exit_code == 2 and "holds no closeness.json" in refused.stderr
    assert contents(mine) == {"dataset.json": b"{}"}


def test_a_full_disk_leaves_the_older_folder(table, made, tmp_path, monkeypatch):
    from lsd.runtime.errors import OutputError
    from lsd.train import surrogate_folder

    folder = tmp_path / "patches"
    assert run("--table", table, "-o", folder, "--rows", 4).exit_code == 0
    before, write = contents(folder), surrogate_folder.write_bytes

    def fails_late(path, data):
        if path.name == "labels.csv":
            raise OutputError(f"cannot write {path}: No space left on device; free space")
        write(path, data)

    monkeypatch.setattr(surrogate_folder, "write_bytes", fails_late)
    done = run("--table", table, "-o", folder, "--rows", 4, "--seed", 1, "--overwrite")
    assert done.exit_code == 2 and "No space left" in done.stderr
    assert contents(folder) == before and [f.name for f in tmp_path.iterdir()] == ["patches"]


def test_a_table_without_indices_and_ids_that_name_no_file(tmp_path):
    table = write_table(tmp_path / "bands.csv", 6, without=[f"ndvi_{name}" for name in ("mean", "std")])
    folder = tmp_path / "patches"
    assert run("--table", table, "-o", folder).exit_code == 0
    assert list(json.loads((folder / "closeness.json").read_text())["channels"]) == [*BAND_NAMES, "ndwi"]
    rewrite(table, lambda rows: rows[1].update(ID="../up"))
    done = run("--table", table, "-o", tmp_path / "more")
    assert done.exit_code == 2 and "'../up' cannot name a file" in done.stderr


@pytest.mark.parametrize("words", [("--rows", 1), ("--jobs", 0), ("--seed", -1)])
def test_options_out_of_range_are_refused(table, tmp_path, words):
    done = run("--table", table, "-o", tmp_path / "patches", *words)
    assert done.exit_code == 2 and "error: expected rows >= 2" in done.stderr
    assert not any(tmp_path.iterdir())


def test_help_needs_no_heavy_library():
    heavy = ["torch", "timm", "sklearn", "scipy", "matplotlib", "h5py", "pyogrio", "threadpoolctl"]
    code = f"import sys, lsd.train.cli.surrogate; sys.exit(str([m for m in {heavy} if m in sys.modules] or ''))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


def test_real_rows_are_met(shared_data, tmp_path):
    table = shared_data / "zindi-landslide" / "features.csv.gz"
    folder = tmp_path / "patches"
    done = run("--table", table, "-o", folder, "--rows", 30, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["skipped"] == [] and len(list(folder.glob("*.npy"))) == 30
    for band in BAND_NAMES:
        found = report["channels"][band]
        assert all(found[name]["relative_to_std"]["max"] < 2e-3 for name in ("mean", "std", "min", "max")), band
        assert found["skew"]["absolute"]["max"] < 0.02 and found["kurtosis"]["absolute"]["median"] < 0.02, band
    assert report["channels"]["ndvi"]["std"]["relative_to_std"]["median"] < 0.05
    labels = read_rows(folder / "labels.csv")[1]
    assert sum(line[1] == "1" for line in labels) == 5  # of 17.6 %
