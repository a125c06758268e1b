from __future__ import annotations

import gzip

import numpy as np
import pytest
from tables import write_table

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import TableError
from lsd.runtime.features.sets import feature_set
from lsd.train.datasets.npy import read_patch
from lsd.train.table import canonical, read_table

HEADER = "ID,label,red_mean\n"
LINES = "a,0,1.5\nb,1,2.5\n"


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("band1_mean", "blue_mean"),
        ("band6_kurt", "desc_vh_kurtosis"),
        ("band12_skew", "asc_dvh_skew"),
        ("ndvi_kurt", "ndvi_kurtosis"),
        ("desc_vv_kurtosis", "desc_vv_kurtosis"),
        ("cloud_score_brightness", None),
        ("band13_mean", None),
        ("red_mode", None),
    ],
)
def test_published_names_and_ours(column, name):
    assert canonical(column) == name


def test_a_table_keeps_its_rows_and_reads_empty_as_missing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeff" + HEADER.replace("red", "asc_vv") + "b,1,\na,0.0,2.5\n")
    samples = read_table(path, ["asc_vv_mean"])
    assert samples.ids == ("b", "a") and samples.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(samples.statistics["asc_vv_mean"], np.array([np.nan, 2.5], np.float32))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "holds no rows"),
        (HEADER, "holds no rows"),
        ("ID,red_mean\na,1\n", "expected one column 'label', found 0"),
        ("ID,label,label\na,1,0\n", "expected one column 'label', found 2"),
        ("ID,label,green_mean\na,0,1\nb,1,2\n", "has no column 'red_mean'"),
        (HEADER + "a,0,1\nb,1\n", "line 3 has 2 values, the header has 3"),
        (HEADER + "a,0,1\nb,,2\n", "label of 'b' is ''"),
        (HEADER + "a,0,1\nb,nan,2\n", "label of 'b' is 'nan'"),
        (HEADER + "a,0,1\nb,2,2\n", "label of 'b' is '2'"),
        (HEADER + "a,1,1\nb,1,2\n", "all 2 labels are 1; training needs both classes"),
        (HEADER + "a,0,1\na,1,2\n", "ID 'a' stands in lines 2 and 3"),
        (HEADER + "a,0,x\nb,1,2\n", "column 'red_mean': could not convert string to float: 'x'"),
        ("ID,label,red_mean,band3_mean\na,0,1,1\nb,1,2,2\n", "columns 'red_mean' and 'band3_mean' are both red_mean"),
    ],
)
def test_tables_that_cannot_be_trained_on(tmp_path, text, line):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=line):
        read_table(path, ["red_mean"])


def test_unreadable_files(tmp_path):
    whole = gzip.compress((HEADER + LINES * 1).encode() + b"".join(b"x%d,1,%d\n" % (i, i * i) for i in range(5000)))
    cut, torn = bytearray(whole[: len(whole) // 2]), bytearray(whole)
    torn[len(torn) // 2 : len(torn) // 2 + 40] = bytes(range(40))
    for name, content in (("plain.csv.gz", HEADER.encode()), ("cut.csv.gz", cut), ("torn.csv.gz", torn)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TableError, match=f"{name}: cannot be read"):
            read_table(tmp_path / name, ["red_mean"])
    (tmp_path / "latin.csv").write_bytes(b"ID,label\n\xe9,1\n")
    for name in ("latin.csv", "absent.csv", "."):
        with pytest.raises(TableError, match="cannot be read"):
            read_table(tmp_path / name, ["red_mean"])


def test_statistics_that_no_set_needs_are_left_out(tmp_path):
    samples = read_table(write_table(tmp_path / "t.csv", 20), ["red_mean"], ["blue_mean", "red_median"])
    assert list(samples.statistics) == ["red_mean", "blue_mean"]


def test_the_real_table_and_its_real_patch_give_the_same_features(shared_data):
    folder = shared_data / "zindi-landslide"
    wanted = feature_set("table-85", BAND_NAMES)
    samples = read_table(folder / "features.csv.gz", wanted.statistics)
    assert len(samples) == 7147 and int(samples.labels.sum()) == 1255
    row = wanted.of_statistics(samples.statistics)[samples.ids.index("ID_005GY8")]
    pixels = read_patch(folder / "patches" / "ID_005GY8.npy")
    np.testing.assert_allclose(wanted.of_patches(pixels[None], BAND_NAMES)[0], row, rtol=3e-5, atol=1e-6)
