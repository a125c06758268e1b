from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import RunFolderError, UsageError
from lsd.train.datasets.band_statistics import BandStatistics
from lsd.train.encoders.channel_names import CHANNEL_NAMES
from lsd.train.encoders.channels import LIMIT, Channels
from lsd.train.encoders.scaling import Scaling, paper_scaling, scaling_of_data

torch.set_num_threads(1)
PAIRS = {12: (3, 0), 13: (3, 1), 14: (3, 2), 15: (2, 1), 16: (2, 0), 17: (1, 0)}  # METHOD, task: numbers of the bands


def patches(n: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = np.empty((n, 12, 64, 64), np.float32)
    pixels[:, :4] = rng.integers(0, 6000, (n, 4, 64, 64))
    pixels[:, 4:] = rng.normal(-12, 5, (n, 8, 64, 64))
    return pixels


def expected(pixels: np.ndarray, scaling: Scaling, order: str) -> np.ndarray:
    """All 18 channels by the formulas of METHOD, in float64, for pixels without NaN."""
    x = pixels.astype(np.float64)
    location, spread = ([getattr(scaling, key)[band] for band in BAND_NAMES] for key in ("location", "spread"))
    scaled = (x - np.reshape(location, (1, 12, 1, 1))) / np.reshape(spread, (1, 12, 1, 1))
    source = scaled if order == "scaled" else x
    ratios = [(source[:, a] - source[:, b]) / (source[:, a] + source[:, b] + 1e-10) + 0.5 for a, b in PAIRS.values()]
    return np.clip(np.concatenate([scaled, np.stack(ratios, 1)], 1), -60_000, 60_000)


def run(pixels: np.ndarray, bands=BAND_NAMES, names=CHANNEL_NAMES, scaling=None, order="stored") -> np.ndarray:
    return Channels(bands, names, scaling or paper_scaling("standard"), order)(torch.from_numpy(pixels)).numpy()


@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_all_channels_follow_the_formulas(kind):
    pixels = patches()
    found = run(pixels, scaling=paper_scaling(kind))
    assert found.dtype == np.float32 and found.shape == (3, 18, 64, 64)
    np.testing.assert_allclose(found, expected(pixels, paper_scaling(kind), "stored"), rtol=2e-6, atol=2e-6)


def test_indices_in_the_papers_order_come_from_scaled_bands_and_stay_within_fp16():
    pixels = patches()
    pixels[0, 0, 0, 0], pixels[0, 3, 0, 0] = 1851.85963 - 1341.6937, 3117.47824 + 1466.91813  # scaled -1 and 1
    found = run(pixels, order="scaled")
    wanted = expected(pixels, paper_scaling("standard"), "scaled")
    tame = np.abs(wanted) < 100  # the sum in the denominator has not cancelled
    assert tame.mean() > 0.98
    np.testing.assert_allclose(found[tame], wanted[tame], rtol=2e-3, atol=1e-4)
    assert np.abs(found).max() == LIMIT < 65_504
    assert np.isfinite(found).all()


def test_indices_of_stored_values_stay_where_values_that_are_not_negative_put_them():
    pixels = patches()
    pixels[:, :4, :8] = np.random.default_rng(1).integers(0, 20_945, (3, 4, 8, 64))
    found = run(pixels)[:, 12:]
    assert found.min() >= -0.5 and found.max() <= 1.5
    wanted = expected(pixels, paper_scaling("standard"), "stored")[:, 12:]
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)  # the limits take nothing from real values
    pixels[:, 3] = -pixels[:, 0]
    assert np.abs(run(pixels)[:, 12:]).max() == 1.5


def test_stored_zeros_give_an_index_of_one_half():
    pixels = patches()
    pixels[:, :4, :8] = 0
    assert (run(pixels)[:, 12:, :8] == 0.5).all()


def test_invalid_pixels_become_the_mean_and_an_absent_modality_zero():
    pixels = patches()
    pixels[0, :4] = np.nan
    pixels[1, 5, 3, 3] = np.nan
    found = run(pixels)
    assert np.isfinite(found).all()
    assert (found[0, :4] == 0).all() and found[1, 5, 3, 3] == 0
    blue, nir = 1851.85963, 3117.47824
    np.testing.assert_allclose(found[0, 12], (nir - blue) / (nir + blue) + 0.5, rtol=1e-6)
    whole = patches()
    np.testing.assert_array_equal(found[2], run(whole)[2])
    np.testing.assert_array_equal(found[0, 4:12], run(whole)[0, 4:12])


def test_channels_come_by_name_from_any_set_of_bands():
    pixels = patches()
    bands, names = ("red", "nir", "asc_vh"), ("nir", "asc_vh", "nir_red")
    found = run(pixels[:, [2, 3, 9]], bands, names)
    np.testing.assert_array_equal(found, run(pixels)[:, [3, 9, 14]])
    np.testing.assert_array_equal(run(pixels[:, 4:6], BAND_NAMES[4:6], BAND_NAMES[4:6]), run(pixels)[:, 4:6])
    np.testing.assert_array_equal(run(pixels[:, [2, 3]], ("red", "nir"), ("nir_red",)), run(pixels)[:, [14]])


def test_mixed_precision_is_off_inside():
    pixels = torch.from_numpy(patches())
    channels = Channels(BAND_NAMES, CHANNEL_NAMES, paper_scaling("standard"), "scaled")
    plain = channels(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = channels(pixels)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)
    assert not channels.state_dict()


def test_papers_constants_are_those_of_the_method():
    standard, robust = paper_scaling("standard"), paper_scaling("robust")
    assert standard.location["blue"] == 1851.85963 and standard.spread["asc_dvh"] == 4.50931721
    assert robust.location["nir"] == 2975 and robust.spread["nir"] == 5508 - 1432
    assert robust.spread["desc_vv"] == pytest.approx(2.51268458 + 23.84737916)
    assert tuple(standard.location) == tuple(robust.spread) == BAND_NAMES


def test_constants_of_the_data_and_their_way_through_json():
    levels = {"mean": (1.0, 2.0), "std": (3.0, 4.0), "q05": (-1.0, 0.0), "q50": (0.1, 0.3), "q95": (1.0, 2.0)}
    columns = {name: dict(zip(("red", "nir"), pair, strict=True)) for name, pair in levels.items()}
    statistics = BandStatistics(**columns, min={}, max={}, valid={})
    standard = scaling_of_data("standard", statistics, ("nir", "red"))
    assert standard == Scaling("standard", {"red": 1.0, "nir": 2.0}, {"red": 3.0, "nir": 4.0})
    robust = scaling_of_data("robust", statistics, ("nir",))
    assert robust == Scaling("robust", {"nir": 0.3}, {"nir": 2.0})
    assert Scaling.from_json(json.loads(json.dumps(robust.to_json()))) == robust


@pytest.mark.parametrize("spread", [0.0, float("nan")])
def test_a_band_without_spread_is_refused(spread):
    one = {"red": spread}
    statistics = BandStatistics(one, one, one, one, one, one, one, {"red": 0})
    with pytest.raises(UsageError, match="band red is constant or has no valid pixel"):
        scaling_of_data("standard", statistics, ("red",))


@pytest.mark.parametrize(
    "stored", [None, {}, {"kind": "a", "location": {"red": 1}, "spread": {}}, {"kind": "a", "location": 3, "spread": 3}]
)
def test_a_damaged_scaling_of_a_run_is_one_error(stored):
    with pytest.raises(RunFolderError, match="scaling of the run"):
        Scaling.from_json(stored)
