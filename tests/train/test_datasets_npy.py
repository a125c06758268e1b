"""npy patches with a CSV: read as at run time, one at a time, statistics as of a table."""

from __future__ import annotations

import csv
import json
import tracemalloc

import numpy as np
import pytest
from tables import synthetic_patches, write_patches

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import PatchFileError, TableError
from lsd.runtime.features.sets import feature_set
from lsd.train.datasets.npy import npy_dataset, read_patch
from lsd.train.datasets.statistics import PATCHES_PER_BATCH, statistics_of
from lsd.train.table import read_table

WANTED = feature_set("paper-126", BAND_NAMES)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("layout"), PATCHES_PER_BATCH + 7)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int16", "uint16", ">f4"])
def test_a_patch_is_the_stored_array_planar(tmp_path, dtype):
    stored = np.random.default_rng(0).integers(1, 1000, (64, 64, 12)).astype(dtype)
    np.save(tmp_path / "a.npy", stored)
    (tmp_path / "labels.csv").write_text("ID,label\na,1\nb,0\n")
    pixels = npy_dataset(tmp_path).read(0)
    assert pixels.dtype == np.float32 and pixels.shape == (12, 64, 64) and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, np.load(tmp_path / "a.npy").transpose(2, 0, 1).astype(np.float32))


def test_what_the_folder_says_goes_along(tmp_path):
    (tmp_path / "mine.csv").write_text("group,ID,event,label\n tile7 ,a,quake,1\ntile8,b,storm,0\n")
    plain = npy_dataset(tmp_path, tmp_path / "mine.csv")
    assert (plain.ids, plain.labels.tolist(), plain.bands) == (("a", "b"), [1, 0], BAND_NAMES)
    assert (plain.groups, plain.events) == (("tile7", "tile8"), ("quake", "storm"))
    assert (plain.source, plain.units, plain.synthetic) == ("mine.csv", "canonical", False)
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "made up", "synthetic": True}))
    assert npy_dataset(tmp_path, tmp_path / "mine.csv").synthetic is True
    (tmp_path / "labels.csv").write_text("ID,label\na,1\nb,0\n")
    by_default = npy_dataset(tmp_path)
    assert (by_default.groups, by_default.events, by_default.source) == (None, None, "labels.csv")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("labels.csv", "ID,label\na,1\n", "all 1 labels are 1"),
        ("labels.csv", "ID,label,event\na,1,quake\nb,0,\n", "event of 'b' is empty"),
        ("labels.csv", "ID,label,group,group\na,1,x,x\nb,0,y,y\n", "expected one column 'group', found 2"),
        ("dataset.json", "{", "dataset.json: cannot be read as JSON"),
        ("dataset.json", '{"synthetic": "yes"}', 'dataset.json: expected an object with "synthetic": true or false'),
        ("dataset.json", "[]", "dataset.json: expected an object"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, name, text, line):
    (tmp_path / "labels.csv").write_text("ID,label\na,1\nb,0\n")
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=line):
        npy_dataset(tmp_path)


def test_patches_and_a_table_of_their_statistics_give_the_same_features(layout, tmp_path):
    folder, labels = layout
    counts = []
    by_patch = statistics_of(npy_dataset(folder, labels), WANTED.statistics, counts.append)
    assert counts == [PATCHES_PER_BATCH, 7]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "label", "event", *by_patch.statistics])
        columns = by_patch.statistics.values()
        events = [f"event{i % 3}" for i in range(len(by_patch))]
        writer.writerows(zip(by_patch.ids, by_patch.labels, events, *map(np.ndarray.tolist, columns), strict=True))
    by_table = read_table(tmp_path / "t.csv", WANTED.statistics)
    assert by_table.ids == by_patch.ids and by_table.events == tuple(events) and by_table.groups is None
    np.testing.assert_array_equal(by_table.labels, by_patch.labels)
    of_table, of_patches = (WANTED.of_statistics(one.statistics) for one in (by_table, by_patch))
    np.testing.assert_array_equal(of_table, of_patches)
    direct = np.stack([read_patch(folder / f"{name}.npy") for name in by_patch.ids[-3:]])
    np.testing.assert_array_equal(of_patches[-3:], WANTED.of_patches(direct, BAND_NAMES))


def test_statistics_of_bands_that_are_not_there_are_left_out(layout):
    dataset = npy_dataset(*layout)
    fewer = dataset.arranged(of_modality("optical")).subset([3, 1])
    found = statistics_of(fewer, ["desc_vv_mean", "nir_red_std", "green_min"])
    assert list(found.statistics) == ["nir_red_std", "green_min"] and found.ids == ("P003", "P001")
    assert statistics_of(dataset.arranged(("red",)).subset([0]), ["nir_red_std"]).statistics == {}


def test_nodata_is_read_as_at_run_time(tmp_path):
    raw = synthetic_patches(1)[0]
    raw[0, 0, :4] = 0  # all four optical bands: nodata
    raw[0, 1, 0] = 0  # one alone: a dark pixel
    raw[0, 2, 4] = 0
    raw[0, 3, 7] = np.inf
    np.save(tmp_path / "p.npy", raw)
    pixels = read_patch(tmp_path / "p.npy")
    assert pixels.dtype == np.float32 and pixels.shape == (12, 64, 64)
    assert np.isnan(pixels[:4, 0, 0]).all() and not np.isnan(pixels[4:, 0, 0]).any()
    assert pixels[0, 0, 1] == 0
    assert np.isnan(pixels[4, 0, 2]) and np.isnan(pixels[7, 0, 3])
    assert np.isnan(pixels).sum() == 6


def test_patches_that_cannot_be_used_are_named(layout, tmp_path):
    folder, _ = layout
    whole = (folder / "P001.npy").read_bytes()
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "planar.npy", np.zeros((12, 64, 64)))
    np.save(tmp_path / "words.npy", np.full((64, 64, 12), "x"))
    (tmp_path / "cut.npy").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_bytes(b"ID,label\n" * 20)
    for name in ("objects", "planar", "words", "cut", "empty", "text", "absent"):
        with pytest.raises(PatchFileError, match=f"{name}.npy"):
            read_patch(tmp_path / f"{name}.npy")


def test_a_label_without_a_patch_is_no_error_before_it_is_read(layout, tmp_path):
    (tmp_path / "more.csv").write_text("ID,label\nP001,0\nabsent,1\n")
    dataset = npy_dataset(layout[0], tmp_path / "more.csv")
    dataset.read(0)
    with pytest.raises(PatchFileError, match=r"absent\.npy: cannot be read"):
        dataset.read(1)


def test_memory_holds_one_patch_however_many_are_read(layout):
    dataset = npy_dataset(*layout)
    patch_bytes = 64 * 64 * 12 * 8

    def peak(n):
        tracemalloc.start()
        for position in range(n):
            dataset.read(position)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(2)
    assert peak(len(dataset)) < few + patch_bytes < 6 * patch_bytes
