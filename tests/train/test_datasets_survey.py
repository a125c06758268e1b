"""One pass over all samples: what cannot be used, and statistics that equal numpy's on all pixels at once."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsd.runtime.errors import PatchFileError, RunFolderError
from lsd.train.datasets.band_statistics import DECIBEL, DN, RELATIVE, BandAccumulator, BandStatistics
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.kept_survey import kept_survey
from lsd.train.datasets.npy import npy_dataset
from lsd.train.datasets.survey import survey
from lsd.train.save import json_bytes

BANDS = ("red", "desc_vv", "asc_dvh")


def pixels_of(n, seed=0):
    """float32 (n, 3, 64, 64): DN with large mean, dB with a swath edge, and a band that every third patch lacks."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((n, 3, 64, 64), np.float32)
    pixels[:, 0] = rng.gamma(4, 500, (n, 64, 64)).round()
    pixels[:, 1] = rng.normal(-12, 5, (n, 64, 64))
    pixels[:, 2] = rng.standard_t(3, (n, 64, 64))
    pixels[::2, 1, :, 40:] = np.nan
    pixels[::3, 2] = np.nan
    return pixels


def dataset_of(pixels, bands=BANDS, units="canonical", reader=None):
    n = len(pixels)
    labels = (np.arange(n) % 2).astype(np.int8)
    ids = tuple(f"P{i}" for i in range(n))
    return PatchDataset(ids, labels, bands, reader or (lambda i: pixels[i]), "memory", "0" * 64, units=units)


def check(statistics, pixels, bands, steps):
    for position, (band, resolution) in enumerate(zip(bands, steps, strict=True)):
        valid = pixels[:, position][~np.isnan(pixels[:, position])].astype(np.float64)
        assert statistics.valid[band] == valid.size
        assert statistics.mean[band] == pytest.approx(valid.mean(), rel=1e-13, abs=1e-13)
        assert statistics.std[band] == pytest.approx(valid.std(), rel=1e-12)
        assert (statistics.min[band], statistics.max[band]) == (valid.min(), valid.max())
        for name, share in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
            kept = np.clip(valid, resolution.low, resolution.high)
            exact = np.quantile(kept, share, method="inverted_cdf")
            assert getattr(statistics, name)[band] == pytest.approx(exact, abs=resolution.step * 0.51)


def test_the_statistics_are_numpys_on_all_pixels_together():
    pixels = pixels_of(30)
    counts = []
    found = survey(dataset_of(pixels), counts.append)
    assert counts == [1] * 30 and found.skipped == () and found.dataset.ids == tuple(f"P{i}" for i in range(30))
    check(found.statistics, pixels, BANDS, (DN, DECIBEL, DECIBEL))
    whole = np.quantile(pixels[:, 0], [0.05, 0.5, 0.95], method="inverted_cdf")
    assert [found.statistics.q05["red"], found.statistics.q50["red"], found.statistics.q95["red"]] == whole.tolist()


def test_relative_units_are_resolved_finer():
    pixels = (pixels_of(6)[:, :1] / 1900).astype(np.float32)
    found = survey(dataset_of(pixels, ("red",), "relative"))
    check(found.statistics, pixels, ("red",), (RELATIVE,))


def test_values_beyond_the_histogram_count_as_its_end():
    pixels = np.full((1, 2, 64, 64), 1e9, np.float32)
    pixels[0, 1] = -300
    statistics = survey(dataset_of(pixels, ("red", "desc_vv"))).statistics
    assert statistics.max["red"] == 1e9 and statistics.q50["red"] == DN.high
    assert statistics.min["desc_vv"] == -300 and statistics.q05["desc_vv"] == DECIBEL.low


@settings(max_examples=10)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=4))
def test_parts_that_are_merged_are_the_whole(cuts):
    pixels = pixels_of(30, seed=1)
    whole, merged = BandAccumulator(BANDS), BandAccumulator(BANDS)
    for patch in pixels:
        whole.add(patch)
    edges = [0, *sorted(cuts), 30]
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        part = BandAccumulator(BANDS)
        for patch in pixels[first:last]:
            part.add(patch)
        merged.merge(part)
    a, b = whole.result().to_json(), merged.result().to_json()
    for band in BANDS:
        assert a[band] == pytest.approx(b[band], rel=1e-12)


def test_the_variance_of_a_large_mean_is_not_lost():
    rng = np.random.default_rng(3)
    pixels = (rng.normal(0, 0.5, (40, 1, 64, 64)).astype(np.float64) + 20_000).astype(np.float32)
    statistics = survey(dataset_of(pixels, ("red",))).statistics
    assert statistics.std["red"] == pytest.approx(pixels.astype(np.float64).std(), rel=1e-10)


def test_a_band_without_a_valid_pixel_has_no_statistics_and_is_kept_through_json():
    pixels = pixels_of(4)
    pixels[:, 2] = np.nan
    statistics = survey(dataset_of(pixels)).statistics
    assert statistics.valid["asc_dvh"] == 0 and np.isnan(statistics.mean["asc_dvh"])
    stored = json.loads(json_bytes(statistics.to_json()))
    assert stored["asc_dvh"]["q05"] is None
    again = BandStatistics.from_json(stored)
    assert again.mean["red"] == statistics.mean["red"] and again.valid == statistics.valid
    assert np.isnan(again.q95["asc_dvh"])
    for broken in ([], {"red": 3}, {"red": {"mean": 1}}, {"red": {**stored["red"], "std": "wide"}}):
        with pytest.raises(RunFolderError, match="band statistics cannot be read"):
            BandStatistics.from_json(broken)


@pytest.fixture
def damaged(tmp_path):
    """Nine patches of which one is missing, one cut short, one misshaped, one of nodata alone."""
    rng = np.random.default_rng(0)
    for i in range(9):
        np.save(tmp_path / f"P{i}.npy", rng.normal(100, 5, (64, 64, 12)))
    (tmp_path / "P2.npy").unlink()
    (tmp_path / "P4.npy").write_bytes((tmp_path / "P4.npy").read_bytes()[:5000])
    np.save(tmp_path / "P5.npy", np.ones((32, 32, 12)))
    np.save(tmp_path / "P7.npy", np.zeros((64, 64, 12)))
    lines = [f"P{i},{i % 2},ground{i}" for i in range(9)]
    (tmp_path / "labels.csv").write_text("\n".join(["ID,label,group", *lines]) + "\n")
    return tmp_path


def test_samples_that_cannot_be_used_are_listed_with_the_reason(damaged):
    found = survey(npy_dataset(damaged))
    assert found.dataset.ids == ("P0", "P1", "P3", "P6", "P8")
    assert found.dataset.groups == ("ground0", "ground1", "ground3", "ground6", "ground8")
    assert found.dataset.labels.tolist() == [0, 1, 1, 0, 0]
    reasons = dict(found.skipped)
    assert list(reasons) == ["P2", "P4", "P5", "P7"]
    assert "P2.npy: cannot be read as a patch" in reasons["P2"] and "P4.npy: cannot be read" in reasons["P4"]
    assert "(32, 32, 12), expected numbers (64, 64, 12)" in reasons["P5"]
    assert reasons["P7"] == "P7: no pixel of any band is valid"
    kept = np.stack([np.load(damaged / f"{name}.npy")[..., 5] for name in found.dataset.ids]).astype(np.float32)
    assert found.statistics.mean["desc_vh"] == pytest.approx(kept.astype(np.float64).mean(), rel=1e-13)
    np.testing.assert_array_equal(found.dataset.read(2)[5], kept[2])


def test_strict_stops_at_the_first(damaged):
    seen = []
    with pytest.raises(PatchFileError, match=r"P2\.npy"):
        survey(npy_dataset(damaged), seen.append, strict=True)
    assert len(seen) == 2
    (damaged / "labels.csv").write_text("ID,label\nP0,0\nP7,1\n")
    with pytest.raises(PatchFileError, match="P7: no pixel of any band is valid"):
        survey(npy_dataset(damaged), strict=True)


def test_nothing_that_can_be_used_is_an_error(damaged):
    (damaged / "labels.csv").write_text("ID,label\nP2,0\nP7,1\n")
    with pytest.raises(PatchFileError, match=r"none of 2 samples can be used; the first: .*P2\.npy"):
        survey(npy_dataset(damaged))


def test_a_survey_is_kept_and_read_again_without_a_look_at_the_patches(damaged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    dataset = npy_dataset(damaged)
    first = kept_survey(dataset, folder, strict=False)
    assert (folder / "skipped.csv").read_text().splitlines()[0] == "ID,reason"
    for file in damaged.glob("*.npy"):
        file.unlink()
    second = kept_survey(dataset, folder, strict=False)
    assert second.skipped == first.skipped and second.dataset.ids == first.dataset.ids
    assert second.statistics == first.statistics


def test_memory_does_not_grow_with_the_number_of_patches():
    def reader(position):
        return np.random.default_rng(position).normal(1000, 50, (3, 64, 64)).astype(np.float32)

    def peak(n):
        dataset = dataset_of(range(n), reader=reader)
        tracemalloc.start()
        survey(dataset)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(3)
    assert peak(200) < few + 100_000
