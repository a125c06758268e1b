"""Landslide4Sense: quarters of images with masks, the four bands that the models know, relative units."""

from __future__ import annotations

import json
import logging
import tracemalloc

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from lsd.runtime.errors import PatchFileError, SourceError, TableError
from lsd.train.cli.main import main
from lsd.train.datasets.label_rule import LabelRule
from lsd.train.datasets.landslide4sense import landslide4sense_dataset, read_quarter
from lsd.train.datasets.survey import survey

CHANNELS = [1, 2, 3, 7]


def write_image(folder, number, **stored):
    """One image of noise around 1, as `img`, unless another array is given; returns its pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = stored.pop("img", None)
    if pixels is None:
        pixels = np.random.default_rng(number).gamma(9, 1 / 9, (128, 128, 14))
    with h5py.File(folder / f"image_{number}.h5", "w") as file:
        file["img"] = pixels
    return pixels


def write_mask(folder, number, mask):
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"mask_{number}.h5", "w") as file:
        file["mask"] = mask


def mask_of(upper_left=0, upper_right=0, lower_left=0, lower_right=0):
    """uint8 (128, 128) with so many pixels of slide in each quarter."""
    mask = np.zeros((128, 128), np.uint8)
    for row, column, count in ((0, 0, upper_left), (0, 1, upper_right), (1, 0, lower_left), (1, 1, lower_right)):
        quarter = np.zeros(64 * 64, np.uint8)
        quarter[np.random.default_rng(count).permutation(64 * 64)[:count]] = 1
        mask[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = quarter.reshape(64, 64)
    return mask


@pytest.fixture
def train_data(tmp_path):
    """Three images with masks in the sibling folder, as they are distributed, and one without."""
    folder = tmp_path / "TrainData"
    pixels = {number: write_image(folder / "img", number) for number in (2, 9, 10, 11)}
    write_mask(folder / "mask", 2, mask_of(10, 0, 9, 4096))
    write_mask(folder / "mask", 9, mask_of())
    write_mask(folder / "mask", 10, mask_of(1, 50, 0, 0))
    return folder, pixels


EXPECTED = {
    "image_2_r0_c0": 1,
    "image_2_r0_c1": 0,
    "image_2_r1_c1": 1,
    "image_9_r0_c0": 0,
    "image_9_r0_c1": 0,
    "image_9_r1_c0": 0,
    "image_9_r1_c1": 0,
    "image_10_r0_c1": 1,
    "image_10_r1_c0": 0,
    "image_10_r1_c1": 0,
}


def test_quarters_are_labelled_by_their_masks(train_data, caplog):
    folder, pixels = train_data
    with caplog.at_level(logging.WARNING, "lsd"):
        found = landslide4sense_dataset(folder / "img")
    assert dict(zip(found.ids, found.labels.tolist(), strict=True)) == EXPECTED and list(EXPECTED) == list(found.ids)
    assert found.groups == tuple(name[:-6] for name in EXPECTED) and found.events is None
    assert (found.bands, found.units) == (("blue", "green", "red", "nir"), "relative")
    assert caplog.messages == [
        "1 of 4 images have no mask and are left out: image_11",
        "2 of 12 patches left out: with too little slide for either label",
    ]
    for position, name in enumerate(found.ids):
        number, row, column = (int("".join(filter(str.isdigit, part))) for part in name.split("_")[1:])
        there = pixels[number][row * 64 : row * 64 + 64, column * 64 : column * 64 + 64, CHANNELS]
        np.testing.assert_array_equal(found.read(position), there.transpose(2, 0, 1).astype(np.float32))
    assert landslide4sense_dataset(folder).ids == found.ids
    assert landslide4sense_dataset(folder, LabelRule(100.0)).labels.sum() == 5


def test_masks_may_lie_beside_the_images(tmp_path):
    write_image(tmp_path, 1)
    write_mask(tmp_path, 1, mask_of(500))
    assert landslide4sense_dataset(tmp_path).labels.tolist() == [1, 0, 0, 0]


def test_pixels_that_hold_nothing_are_invalid(tmp_path):
    pixels = np.ones((128, 128, 14))
    pixels[0, 0, CHANNELS] = 0
    pixels[1, 0, 3] = 0
    pixels[2, 0, 7] = np.nan
    pixels[3, 0, 1] = 1e300
    write_image(tmp_path, 1, img=pixels)
    found = read_quarter(tmp_path / "image_1.h5", 0, 0)
    assert np.isnan(found[:, 0, 0]).all() and found[2, 1, 0] == 0
    assert np.isnan(found[3, 2, 0]) and np.isnan(found[0, 3, 0]) and np.isnan(found).sum() == 6


def test_images_that_cannot_be_used_are_skipped_by_the_survey(train_data):
    folder, _ = train_data
    whole = (folder / "img" / "image_2.h5").read_bytes()
    (folder / "img" / "image_2.h5").write_bytes(whole[: len(whole) // 2])
    write_image(folder / "img", 10, img=np.ones((128, 128, 10)))
    found = survey(landslide4sense_dataset(folder))
    assert set(found.dataset.groups) == {"image_9"} and len(found.skipped) == 6
    reasons = dict(found.skipped)
    assert "image_2.h5: cannot be read as a Landslide4Sense image" in reasons["image_2_r0_c0"]
    assert "'img' is float64 (128, 128, 10), expected numbers (128, 128, 14)" in reasons["image_10_r0_c1"]


@pytest.mark.parametrize(
    ("name", "array"), [("wrong", mask_of()), ("mask", np.zeros((64, 64))), ("mask", np.full((128, 128), b"x"))]
)
def test_masks_that_cannot_be_used_are_told_or_stop(train_data, caplog, name, array):
    folder, _ = train_data
    with h5py.File(folder / "mask" / "mask_9.h5", "w") as file:
        file[name] = array
    with caplog.at_level(logging.WARNING, "lsd"):
        assert "image_9" not in landslide4sense_dataset(folder).groups
    assert any(line.startswith("image_9 left out: ") and "mask_9.h5" in line for line in caplog.messages)
    with pytest.raises(PatchFileError, match=r"mask_9\.h5"):
        landslide4sense_dataset(folder, strict=True)


def test_a_link_to_another_file_is_not_followed(tmp_path):
    write_mask(tmp_path / "elsewhere", 1, mask_of(500))
    write_image(tmp_path, 1)
    with h5py.File(tmp_path / "mask_1.h5", "w") as file:
        file["mask"] = h5py.ExternalLink(str(tmp_path / "elsewhere" / "mask_1.h5"), "mask")
    with pytest.raises(PatchFileError, match="has no data set 'mask'"):
        landslide4sense_dataset(tmp_path, strict=True)


def test_folders_without_images_or_labels_are_one_line(tmp_path):
    with pytest.raises(SourceError, match=r"holds no image_\*\.h5"):
        landslide4sense_dataset(tmp_path)
    write_image(tmp_path, 1)
    with pytest.raises(TableError, match="none of 1 images has a mask"):
        landslide4sense_dataset(tmp_path)
    write_mask(tmp_path, 1, mask_of())
    with pytest.raises(TableError, match="4 patches without and 0 with slide; training needs both classes"):
        landslide4sense_dataset(tmp_path)


def test_only_the_quarter_is_read(train_data):
    folder, pixels = train_data
    found = landslide4sense_dataset(folder)
    found.read(0)
    tracemalloc.start()
    for position in range(len(found)):
        found.read(position)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels[2].nbytes


def test_the_real_images_are_read_and_have_no_labels(shared_data):
    folder = shared_data / "landslide4sense"
    with pytest.raises(TableError, match="none of 2 images has a mask"):
        landslide4sense_dataset(folder)
    with h5py.File(folder / "image_31.h5") as file:
        stored = file["img"][:]
    quarters = {(row, column): read_quarter(folder / "image_31.h5", row, column) for row in (0, 1) for column in (0, 1)}
    whole = np.block([[quarters[0, 0], quarters[0, 1]], [quarters[1, 0], quarters[1, 1]]])
    np.testing.assert_array_equal(whole, stored[..., CHANNELS].transpose(2, 0, 1).astype(np.float32))
    assert not np.isnan(whole).any() and 0.2 < whole.mean() < 2


def test_forests_of_relative_units_are_trained_and_not_exported(tmp_path):
    for number in range(1, 41):
        mask = mask_of(*np.random.default_rng(number).choice([0, 800], 4).tolist())
        pixels = np.random.default_rng(number).gamma(9, 1 / 9, (128, 128, 14)) + mask[..., None]
        write_image(tmp_path / "img", number, img=pixels)
        write_mask(tmp_path / "mask", number, mask)
    member = {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 4, "parameters": {"num_leaves": 4}}
    (tmp_path / "r.json").write_text(json.dumps({"name": "r", "description": "", "members": [member]}))
    words = ["forest", "--landslide4sense", tmp_path / "img", "--bands", "optical", "--folds-by", "group", "--folds", 3]
    words += ["--recipe", tmp_path / "r.json", "-o", tmp_path / "run", "-q"]
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["units"] == "relative"
    from lsd.export.cli.main import main as lsd_export

    done = CliRunner().invoke(lsd_export, ["build", str(tmp_path / "run"), "-o", str(tmp_path / "bundle"), "-q"])
    assert done.exit_code == 2 and "trained on relative units, but lsd-run reads DN and dB" in done.stderr, done.output
