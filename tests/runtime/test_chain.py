from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patch_batches import batch, clear

from bundles import random_bundle, scores_equal
from lsd.export.adversarial import simulated_patches
from lsd.export.write import bundle_in_memory
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.calibration import Calibration
from lsd.runtime.chain import Chain
from lsd.runtime.combination import Combination
from lsd.runtime.errors import BundleError
from lsd.runtime.exits import Exit, held
from lsd.runtime.forest.native import NativeForest
from lsd.runtime.manifest import Part
from lsd.runtime.native.library import native_library
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import (
    LEFT_AT_FOREST,
    LOOK,
    LOOKS_LIKE_CLOUD,
    NO_CONFIGURATION,
    NO_SLIDE,
    NOT_SCORED,
    SCORED,
    SLIDE,
    TOO_FEW_VALID_PIXELS,
    WHOLE_ENSEMBLE,
    Scores,
    TileScores,
)
from lsd.runtime.sigmoid import sigmoid

CHAIN = Chain(random_bundle())
OPTICAL = of_modality("optical")


def test_the_valid_bands_choose_the_configuration():
    pixels = clear(4, 1)
    pixels[1, BAND_NAMES.index("asc_vh")] = np.nan  # a radar band away: optical answers
    pixels[2, BAND_NAMES.index("red")] = np.nan  # an optical band away: nothing answers
    pixels[3, 5, :4] = np.nan  # 6 % of one band away: still enough
    found = CHAIN.score(batch(pixels))
    assert found.configuration.tolist() == [1, 2, 0, 1]
    assert found.status.tolist() == [SCORED, SCORED, TOO_FEW_VALID_PIXELS, SCORED]
    assert found.decision[2] == NOT_SCORED and np.isnan(found.probability[2])
    assert found.valid_fraction.tolist() == pytest.approx([1, 1, 0, 60 / 64])


def test_forests_are_laid_out_beforehand():
    if native_library() is None:
        pytest.skip("no native library here")
    chain = Chain(random_bundle())
    assert not any("_built" in vars(forest) for forest in chain.forests.values())
    chain.lay_out_forests().join()
    assert all("_built" in vars(forest) for forest in chain.forests.values())
    pixels = clear(4, 1)
    assert scores_equal(chain.score(batch(pixels)), CHAIN.score(batch(pixels)))


def test_a_forest_that_cannot_be_laid_out_says_so_when_it_is_asked():
    if native_library() is None:
        pytest.skip("no native library here")
    chain = Chain(random_bundle())
    *others, last = chain.forests
    table = chain.forests[last].forest
    chain.forests[last] = NativeForest(replace(table, left=np.full_like(table.left, 30_000)))
    chain.lay_out_forests().join()  # an error in the thread would fail this test
    assert all("_built" in vars(chain.forests[member]) for member in others)
    with pytest.raises(BundleError, match="an index leaves its tree"):
        chain.forests[last].margins(np.zeros((1, table.n_features), np.float32))


def test_tables_need_no_laying_out():
    chain = Chain(random_bundle(), backend="table")
    chain.lay_out_forests().join()
    assert all(set(vars(forest)) == {"forest"} for forest in chain.forests.values())


def test_an_absent_modality_is_never_filled():
    """Optical alone gives the optical forest's answer, whatever else could have been put in the radar's place."""
    pixels = clear(6, 2)
    alone = CHAIN.score(batch(pixels[:, :4], OPTICAL))
    holed = pixels.copy()
    holed[:, 4:] = np.nan
    assert alone.configuration.tolist() == [2] * 6
    assert scores_equal(alone, CHAIN.score(batch(holed)))


def test_no_configuration_for_radar_alone():
    found = CHAIN.score(batch(simulated_patches(2, 3)[:, 4:], BAND_NAMES[4:]))
    assert found.status.tolist() == [NO_CONFIGURATION] * 2
    assert found.decision.tolist() == [NOT_SCORED] * 2


def test_the_limit_of_validity_is_nine_tenths_of_pixels_valid_in_all_bands():
    pixels = clear(2, 4)[:, :4]
    flat = pixels.reshape(2, 4, -1)
    flat[0, 0, :205], flat[0, 1, 205:409] = np.nan, np.nan  # together 409 of 4,096: 90.01 % valid
    flat[1, 0, :205], flat[1, 1, 205:410] = np.nan, np.nan  # one pixel more: 89.99 %
    assert CHAIN.score(batch(pixels, OPTICAL)).status.tolist() == [SCORED, TOO_FEW_VALID_PIXELS]


def test_no_detection_under_haze_is_not_scored_and_a_detection_stands():
    pixels = clear(12, 6)[:, :4]
    red, blue = BAND_NAMES.index("red"), BAND_NAMES.index("blue")
    pixels[:, red] = np.minimum(pixels[:, red], 2000)
    pixels[4:, blue, :7] = 4000  # 7 of 64 rows hazy: 89.1 % clear
    pixels[2, blue, :6] = 4000  # 6 rows: 90.6 % clear
    configuration = CHAIN.manifest.configurations[1]
    features = CHAIN.features(configuration, pixels, OPTICAL)
    p = CHAIN.probabilities(
        configuration, {member: CHAIN.forests[member].margins(rows) for member, rows in features.items()}
    )
    called = p > configuration.threshold
    assert 0 < called[4:].sum() < 8
    found = CHAIN.score(batch(pixels, OPTICAL))
    hazy = np.arange(12) >= 4
    np.testing.assert_array_equal(found.status, np.where(hazy & ~called, LOOKS_LIKE_CLOUD, SCORED))
    np.testing.assert_array_equal(found.decision, np.where(called, SLIDE, np.where(hazy, NOT_SCORED, NO_SLIDE)))
    np.testing.assert_array_equal(np.isnan(found.probability), hazy & ~called)


def test_positive_is_above_the_threshold_not_at_it():
    pixels = clear(8, 5)
    p = CHAIN.score(batch(pixels)).probability
    configuration = CHAIN.manifest.configurations[0]
    features = CHAIN.features(configuration, pixels, BAND_NAMES)
    margins = {member: CHAIN.forests[member].margins(rows) for member, rows in features.items()}
    exact = CHAIN.probabilities(configuration, margins)
    np.testing.assert_array_equal(exact.astype(np.float32), p)
    try:
        for threshold, expected in ((exact[3], NO_SLIDE), (np.nextafter(exact[3], 0), SLIDE)):
            object.__setattr__(configuration, "threshold", threshold)
            object.__setattr__(configuration, "look_threshold", threshold)
            assert CHAIN.score(batch(pixels)).decision[3] == expected
    finally:
        object.__setattr__(configuration, "threshold", 0.5)
        object.__setattr__(configuration, "look_threshold", 0.5)


def test_between_the_look_threshold_and_the_threshold_is_a_look_and_prevalence_moves_no_decision():
    pixels = clear(8, 5)
    configuration = CHAIN.manifest.configurations[0]
    p = CHAIN.score(batch(pixels)).probability.astype(np.float64)
    ordered = np.sort(p)
    low, high = (ordered[2] + ordered[3]) / 2, (ordered[5] + ordered[6]) / 2
    rare = Chain(random_bundle(), prevalence=0.001)
    try:
        for one in (configuration, rare.manifest.configurations[0]):
            object.__setattr__(one, "look_threshold", low)
            object.__setattr__(one, "threshold", high)
        usual, shifted = CHAIN.score(batch(pixels)), rare.score(batch(pixels))
    finally:
        object.__setattr__(configuration, "threshold", 0.5)
        object.__setattr__(configuration, "look_threshold", 0.5)
    expected = np.where(p > high, SLIDE, np.where(p > low, LOOK, NO_SLIDE))
    assert {SLIDE, LOOK, NO_SLIDE} == set(expected.tolist())
    np.testing.assert_array_equal(usual.decision, expected)
    np.testing.assert_array_equal(shifted.decision, expected)
    odds = p / (1 - p) * (0.001 / 0.999) / (0.2 / 0.8)  # random_bundle states a prevalence of .2
    np.testing.assert_allclose(shifted.probability, odds / (1 + odds), rtol=1e-5)


@settings(max_examples=15)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_answers_do_not_depend_on_batch_size_or_band_order(cut, seed):
    pixels = simulated_patches(12, seed)
    pixels[seed % 12, 6] = np.nan
    together = CHAIN.score(batch(pixels))
    parts = [CHAIN.score(batch(part)) for part in (pixels[:cut], pixels[cut:]) if len(part)]
    joined = Scores(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(together)))
    assert scores_equal(together, joined)
    assert scores_equal(together, CHAIN.score(batch(pixels[:, ::-1].copy(), BAND_NAMES[::-1])))


def test_sigmoid_does_not_overflow():
    np.testing.assert_allclose(
        sigmoid(np.array([-800.0, -2, 0, 2, 800])), [0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1]
    )


def test_calibration_is_monotone_keeps_nan_and_survives_json():
    p = np.array([0.0, 0.2, 0.5, 0.9, 1.0, np.nan])
    for one in (
        Calibration("none"),
        Calibration("platt", (1.5, -0.3)),
        Calibration("isotonic", (0.1, 0.0, 0.4, 0.3, 0.8, 1.0)),
    ):
        found = one.apply(p)
        assert (np.diff(found[:5]) >= 0).all() and np.isnan(found[5])
        assert ((found[:5] >= 0) & (found[:5] <= 1)).all()
        assert Calibration.from_json(one.to_json()) == one
    assert Calibration("platt", (1.0, 0.0)).apply(p[:5]) == pytest.approx(p[:5], abs=1e-9)
    assert Calibration("isotonic", (0.1, 0.0, 0.5, 0.4)).apply(np.array([0.3]))[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("magic", ()), ("platt", (1.0,)), ("platt", (-1.0, 0.0)), ("isotonic", (0.1, 0.5, 0.2, 0.4)), ("none", (1.0,))],
)
def test_calibration_that_is_no_monotone_map_is_refused(method, parameters):
    with pytest.raises(BundleError, match="is not a monotone map"):
        Calibration(method, parameters)


def test_a_forest_may_be_asked_before_another_forest(monkeypatch):
    """Two parts of one forest each, no network: the second is walked for those that go on, and for no other."""
    plain = random_bundle()
    one = plain.manifest.configurations[0]
    parts = tuple(Part(name, (f"all-{name}",), (1.0,)) for name in ("lightgbm", "xgboost"))
    calibration, _ = held(Calibration(), (0.4, 0.6), one.look_threshold, one.threshold)
    exit = Exit("lightgbm", 0.4, 0.6, calibration, {"policy": "certified"})
    cascade = replace(one, parts=parts, combination=Combination("probability", (0.5, 0.5)), exit=exit)
    bundle = bundle_in_memory(replace(plain.manifest, configurations=(cascade,)), plain.contents)
    chain, whole = Chain(bundle), Chain(bundle, exits="off")
    walked = []
    monkeypatch.setattr(chain, "forests", {name: Spy(forest, walked) for name, forest in chain.forests.items()})
    pixels = clear(40, 9)
    found, without = chain.score(batch(pixels)), whole.score(batch(pixels))
    on = found.stage == WHOLE_ENSEMBLE
    assert 0 < on.sum() < 40 and walked == [40, int(on.sum())]
    np.testing.assert_array_equal(found.stage[~on], LEFT_AT_FOREST)
    for name in ("probability", "decision"):
        np.testing.assert_array_equal(getattr(found, name)[on], getattr(without, name)[on])
    answered = chain.begin(batch(pixels))  # nothing is gathered without a network
    assert answered.pending == () and scores_equal(answered.scores, found)
    assert (without.stage == WHOLE_ENSEMBLE).all()


class Spy:
    """A forest that keeps how many rows it was asked about."""

    def __init__(self, forest, walked):
        self.forest, self.walked = forest, walked

    def margins(self, rows):
        self.walked.append(len(rows))
        return self.forest.margins(rows)


def test_a_tile_counts_who_left_early():
    tile = TileScores(PatchGrid(64 * 8, 64))
    assert tile.counts()["exited"] == 0 and not tile.stage.any()
    found = CHAIN.score(batch(clear(8, 1)))
    tile.put(np.zeros(8, np.intp), np.arange(8), found)
    assert tile.counts()["exited"] == 0 and (tile.stage == WHOLE_ENSEMBLE).all()
    tile.put(np.zeros(1, np.intp), np.array([3]), Scores(*(values[:1] for values in (
        found.probability, found.decision, found.configuration, found.valid_fraction, found.status,
        np.array([LEFT_AT_FOREST], np.uint8),
    ))))  # fmt: skip
    assert tile.counts()["exited"] == 1
