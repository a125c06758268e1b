from __future__ import annotations

import csv

import numpy as np
import pytest
from tables import synthetic_patches, write_patches

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import PatchFileError, TableError
from lsd.runtime.features.sets import feature_set
from lsd.train.patches import PATCHES_PER_BATCH, read_patch, read_patches
from lsd.train.table import read_table

WANTED = feature_set("paper-126", BAND_NAMES)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("layout"), PATCHES_PER_BATCH + 7)


def test_patches_and_a_table_of_their_statistics_give_the_same_features(layout, tmp_path):
    folder, labels = layout
    counts = []
    by_patch = read_patches(folder, labels, WANTED.statistics, counts.append)
    assert counts == [PATCHES_PER_BATCH, 7]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "label", *by_patch.statistics])
        columns = by_patch.statistics.values()
        writer.writerows(zip(by_patch.ids, by_patch.labels, *map(np.ndarray.tolist, columns), strict=True))
    by_table = read_table(tmp_path / "t.csv", WANTED.statistics)
    assert by_table.ids == by_patch.ids
    np.testing.assert_array_equal(by_table.labels, by_patch.labels)
    of_table, of_patches = (WANTED.of_statistics(one.statistics) for one in (by_table, by_patch))
    np.testing.assert_array_equal(of_table, of_patches)
    direct = np.stack([read_patch(folder / f"{name}.npy") for name in by_patch.ids[-3:]])
    np.testing.assert_array_equal(of_patches[-3:], WANTED.of_patches(direct, BAND_NAMES))


def test_nodata_is_read_as_at_run_time(tmp_path):
    raw = synthetic_patches(1)[0]
    raw[0, 0, :4] = 0  # all four optical bands: nodata
    raw[0, 1, 0] = 0  # red alone: a dark pixel
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


def test_labels_without_a_patch_and_labels_of_one_class(layout, tmp_path):
    folder, _ = layout
    (tmp_path / "more.csv").write_text("ID,label\nP001,0\nabsent,1\n")
    with pytest.raises(PatchFileError, match=r"absent\.npy: cannot be read"):
        read_patches(folder, tmp_path / "more.csv", WANTED.statistics)
    (tmp_path / "one.csv").write_text("ID,label\nP001,0\nP002,0\n")
    with pytest.raises(TableError, match="all 2 labels are 0"):
        read_patches(folder, tmp_path / "one.csv", WANTED.statistics)
