"""The worst errors of a run, and the gallery that shows them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from judged_runs import fixed, judged
from tables import write_patches

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.calibration import Calibration
from lsd.train.datasets.npy import npy_dataset
from lsd.train.evaluation.errors import worst_errors
from lsd.train.evaluation.gallery import gallery_png
from lsd.train.evaluation.report import report_of
from lsd.train.evaluation.subject import subject_of_patches
from lsd.train.predictors import Configuration


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    folder, labels = write_patches(tmp_path_factory.mktemp("errors") / "data", 24)
    stored = npy_dataset(folder, labels)

    def read(position):
        patch = stored.read(position)
        if position == 0:
            patch[:, :, :20] = np.nan
        return patch

    groups = tuple(f"tile $x_{i % 2}$" for i in range(24))  # $ must not become mathematics
    return subject_of_patches(replace(stored, reader=read, groups=groups), ["red_std"])


def test_the_worst_errors_are_shown_in_order(patches):
    labels = patches.labels
    p = {name: (0.9 - 0.01 * i if label == 0 else 0.01 * i) for i, (name, label) in
         enumerate(zip(patches.ids, labels.tolist(), strict=True))}  # fmt: skip
    one = judged(fixed(p, "liar")[0], patches)
    worst = worst_errors(one, labels, 3)
    assert [patches.ids[at] for at in worst.false_positives] == ["P001", "P002", "P004"]
    assert [patches.ids[at] for at in worst.false_negatives] == ["P000", "P003", "P006"]
    assert len(worst_errors(one, labels, 100).false_positives) == 16
    assert report_of(patches, [one], worst=3)["runs"][0]["worst"] == {
        "false_positives": ["P001", "P002", "P004"], "false_negatives": ["P000", "P003", "P006"],
    }  # fmt: skip
    image = picture(gallery_png(one, patches, worst))
    assert image.shape[0] > 300 and image.shape[1] > 800 and image.std() > 0.1


def test_errors_that_calibration_ties_go_by_the_uncalibrated_probability(patches):
    p = {name: 0.6 + 0.001 * i for i, name in enumerate(patches.ids)}
    tied = replace(
        fixed(p)[0],
        configurations=(Configuration("all", BAND_NAMES, Calibration("isotonic", (0.0, 0.5, 1.0, 0.5)), 0.4, 0.1),),
    )
    worst = worst_errors(judged(tied, patches), patches.labels, 2)
    assert [patches.ids[at] for at in worst.false_positives] == ["P023", "P022"] and worst.false_negatives == ()


@pytest.mark.parametrize(
    ("bands", "units"), [(BAND_NAMES[:4], "relative"), (BAND_NAMES[4:], "canonical"), (("nir",), "canonical")]
)
def test_the_gallery_shows_what_bands_there_are(patches, bands, units):
    at = [BAND_NAMES.index(name) for name in bands]
    reader = patches.dataset.reader
    fewer = replace(patches.dataset, bands=bands, units=units, reader=lambda position: reader(position)[at])
    p = dict.fromkeys(patches.ids, 0.5)
    here = replace(patches, dataset=fewer, synthetic=True)
    one = judged(fixed(p, bands=bands)[0], here)
    assert picture(gallery_png(one, here, worst_errors(one, here.labels, 2))).shape[2] == 4


def picture(png: bytes) -> np.ndarray:
    from matplotlib import image

    assert png.startswith(b"\x89PNG")
    return image.imread(io.BytesIO(png), format="png")
