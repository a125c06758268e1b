"""Early exits: who leaves and with what, that neighbours do not matter, and what a bundle without exits does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from cascades import MEASURED, cascade_bundle, with_configurations
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from patch_batches import batch, clear
from tiles import L2A_NEW, optical, radar, write_band_folder

from bundles import random_bundle, scores_equal, write
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.bundle import GOLDEN_NAME, open_bundle
from lsd.runtime.calibration import Calibration
from lsd.runtime.chain import Chain
from lsd.runtime.cli.exit_options import exit_option, exits_of
from lsd.runtime.encoders import Encoder
from lsd.runtime.errors import BundleError, ConfigurationError, GateError, UsageError
from lsd.runtime.exits import Exit, describe_exits, held
from lsd.runtime.manifest import manifest_from_bytes
from lsd.runtime.npz import npz_bytes
from lsd.runtime.parity import check_golden, require
from lsd.runtime.scores import LEFT_AT_FOREST, LOOKS_LIKE_CLOUD, NO_SLIDE, NO_STAGE, SLIDE, WHOLE_ENSEMBLE
from lsd.runtime.scoring import ScoringOptions, score_tile
from lsd.runtime.sources import tiles_of
from lsd.runtime.stopwatch import Stopwatch

pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="asks the encoders")

BUNDLE = cascade_bundle()
PLAIN = with_configurations(BUNDLE, tuple(replace(one, exit=None) for one in BUNDLE.manifest.configurations))
CHAIN = Chain(BUNDLE)
OFF = Chain(BUNDLE, exits="off")
OPTICAL = of_modality("optical")
NAMES = ("probability", "decision", "configuration", "valid_fraction", "status", "stage")


def first_of(chain, configuration, pixels, bands=BAND_NAMES):
    features = chain.features(configuration, pixels, bands)
    margins = {member: chain.forests[member].margins(rows) for member, rows in features.items()}
    return chain.first_probability(configuration, configuration.exit, margins)


def test_who_is_sure_leaves_and_the_others_get_the_whole_ensemble():
    pixels = clear(40, 1)
    configuration = BUNDLE.manifest.configurations[0]
    exit, first = configuration.exit, first_of(CHAIN, configuration, pixels)
    low, high = first < exit.low, first > exit.high
    assert low.any() and high.any() and not (low | high).all()
    found, whole = CHAIN.score(batch(pixels)), OFF.score(batch(pixels))
    np.testing.assert_array_equal(found.stage, np.where(low | high, LEFT_AT_FOREST, WHOLE_ENSEMBLE))
    assert set(found.decision[low]) == {NO_SLIDE} and set(found.decision[high]) == {SLIDE}
    left = low | high
    np.testing.assert_array_equal(found.probability[left], exit.calibration.apply(first[left]).astype(np.float32))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name)[~left], getattr(whole, name)[~left])
    assert (whole.stage == WHOLE_ENSEMBLE).all()
    assert (whole.probability[left] != found.probability[left]).any()


def test_who_leaves_is_not_asked_again(monkeypatch):
    """Encoders see exactly the patches that go on."""
    seen = []
    original = Encoder.logits
    monkeypatch.setattr(Encoder, "logits", lambda self, p, b: (seen.append(len(p)), original(self, p, b))[1])
    pixels = clear(40, 1)
    found = CHAIN.score(batch(pixels))
    assert seen == [int((found.stage == WHOLE_ENSEMBLE).sum())] * 2  # of `net` and of `wide`


def test_a_patch_exactly_at_a_limit_goes_on():
    exit = Exit("forest", 0.2, 0.9, Calibration(), {})
    p = np.array([np.nextafter(0.2, 0), 0.2, 0.9, np.nextafter(0.9, 1), np.nan])
    assert exit.leaves(p).tolist() == [True, False, False, True, False]
    closed = Exit("forest", 0.0, 1.0, Calibration(), {})
    assert not closed.leaves(np.array([0.0, 1.0])).any()


def test_the_chosen_configuration_has_its_own_exit():
    pixels = clear(40, 2)
    pixels[:, BAND_NAMES.index("asc_vh")] = np.nan
    configuration = BUNDLE.manifest.configurations[1]
    found = CHAIN.score(batch(pixels))
    assert set(found.configuration) == {2}
    first = first_of(CHAIN, configuration, pixels[:, :4], OPTICAL)
    np.testing.assert_array_equal(found.stage == LEFT_AT_FOREST, configuration.exit.leaves(first))


def test_no_patch_leaves_as_free_of_slides_under_haze():
    """What the forest says of haze is no "no slide"; a detection stands, and leaves."""
    pixels = clear(40, 3)[:, :4]
    pixels[:, BAND_NAMES.index("blue")] = np.maximum(pixels[:, BAND_NAMES.index("blue")], 4000)
    configuration = BUNDLE.manifest.configurations[1]
    first = first_of(CHAIN, configuration, pixels, OPTICAL)
    exit, found = configuration.exit, CHAIN.score(batch(pixels, OPTICAL))
    low, high = first < exit.low, first > exit.high
    assert low.any() and high.any()
    assert set(found.status[low]) == {LOOKS_LIKE_CLOUD} and set(found.stage[low]) == {NO_STAGE}
    assert set(found.decision[high]) == {SLIDE} and set(found.stage[high]) == {LEFT_AT_FOREST}


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """All 12 bands, 330 x 260 px, with a hole in one orbit, so that two configurations answer."""
    folder = tmp_path_factory.mktemp("hard") / L2A_NEW
    rng = np.random.default_rng(0)
    dn = optical(260, 330)
    dn[:, :, 200:] = (dn[:, :, 200:] * rng.uniform(0.6, 1.2, (4, 1, 1))).astype(dn.dtype)
    write_band_folder(folder, dict(zip(("B02", "B03", "B04", "B08"), dn, strict=True)))
    for seed, name in enumerate(BAND_NAMES[4:]):
        db = radar(260, 330, seed=seed + 2)[0]
        if name.startswith("asc"):
            db[:90, :120] = 0
        write_band_folder(folder, {name: db}, nodata=0)
    return folder.parent


@pytest.fixture(scope="module")
def expected(hard):
    (tile,) = tiles_of([hard])
    cut = ScoringOptions(32, batch_size=4096, window_rows=100, window_columns=100, waiting=4096)
    return score_tile(tile, CHAIN, cut, Stopwatch())[0]


def test_the_hard_tile_is_hard(expected):
    counts = expected.counts()
    assert set(np.unique(expected.configuration)) >= {1, 2}
    assert 0 < counts["exited"] < counts["patches"] - counts["not_scored"]
    assert set(np.unique(expected.stage)) >= {LEFT_AT_FOREST, WHOLE_ENSEMBLE}


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 6), st.integers(1, 40))
def test_a_tile_does_not_depend_on_windows_batches_or_waiting(
    hard, expected, batch_size, window_rows, window_columns, waiting
):
    (tile,) = tiles_of([hard])
    options = ScoringOptions(32, batch_size, window_rows, window_columns, waiting)
    watch = Stopwatch()
    found, _ = score_tile(tile, CHAIN, options, watch)
    for name in NAMES:
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
    assert {"read", "score", "encode"} <= watch.seconds.keys()


def test_without_exits_nothing_is_gathered_and_nothing_changes():
    """A bundle of forests only: every patch is done at once, with the scores of the members themselves."""
    chain = Chain(random_bundle())
    pixels = clear(12, 8)
    answered = chain.begin(batch(pixels))
    assert answered.pending == () and len(answered.rows) == 12
    assert scores_equal(answered.scores, chain.score(batch(pixels)))
    assert chain.exits == {} and (answered.scores.stage == WHOLE_ENSEMBLE).all()
    document = json.loads(chain.manifest.to_bytes())
    assert all("exit" not in one for one in document["configurations"])


# --- what the user asks for ------------------------------------------------------------------------------------------


def test_exits_of_the_bundle_are_the_default_and_can_be_put_off():
    assert set(CHAIN.exits) == {"all", "optical"} and OFF.exits == {}
    assert Chain(BUNDLE, exits="certified").exits == CHAIN.exits
    assert describe_exits(CHAIN.exits)["all"]["certified"] is True


def test_exits_by_hand_are_not_certified_and_keep_their_side():
    pixels = clear(40, 1)
    chain = Chain(PLAIN, exits=(0.45, 0.55))
    assert {name: one["certified"] for name, one in describe_exits(chain.exits).items()} == dict.fromkeys(
        ("all", "optical"), False
    )
    found = chain.score(batch(pixels))
    configuration = chain.manifest.configurations[0]
    exit = chain.exits["all"]
    features = chain.features(configuration, pixels, BAND_NAMES)
    margins = {member: chain.forests[member].margins(rows) for member, rows in features.items()}
    first = chain.first_probability(configuration, exit, margins)
    assert (first < 0.45).any() and (first > 0.55).any()
    assert set(found.decision[first < 0.45]) == {NO_SLIDE} and set(found.decision[first > 0.55]) == {SLIDE}


def test_what_cannot_be_asked_for_is_said():
    with pytest.raises(UsageError, match="'random networks' holds no exits"):
        Chain(PLAIN, exits="certified")
    with pytest.raises(UsageError, match="no configuration of bundle 'random' has a forest and something beside it"):
        Chain(random_bundle(), exits=(0.1, 0.9))
    chosen = tuple(
        replace(one, exit=replace(one.exit, measured={"policy": "exit-85"})) for one in BUNDLE.manifest.configurations
    )
    other = with_configurations(BUNDLE, chosen)
    with pytest.raises(UsageError, match="all by policy exit-85"):
        Chain(other, exits="certified")
    assert not any(one["certified"] for one in describe_exits(Chain(other).exits).values())


@pytest.mark.parametrize(
    ("text", "found"),
    [(None, None), ("off", "off"), ("certified", "certified"), ("0.02,0.98", (0.02, 0.98)), ("0,1", (0.0, 1.0))],
)
def test_the_option_says(text, found):
    import click

    @click.command()
    @exit_option
    def command(exit):
        click.echo(repr(exits_of(exit)))

    words = [] if text is None else ["--exit", text]
    assert CliRunner().invoke(command, words).output == f"{found!r}\n"


@pytest.mark.parametrize("text", ["on", "0.9,0.1", "0.1", "0.1,0.2,0.3", "-0.1,0.5", "0.1,1.1", "nan,0.5", "a,b", ""])
def test_other_words_are_refused(text):
    with pytest.raises(ConfigurationError, match="exit must be off, certified or LO,HI"):
        exits_of(text)


# --- calibration -----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@example(0.5, 0.25, 0.453125, 0.0, Calibration())  # coarse knots were off here
@given(
    st.floats(0.001, 0.6), st.floats(0.001, 0.39), st.floats(0.0, 0.5), st.floats(0.0, 0.5),
    st.sampled_from([Calibration(), Calibration("platt", (0.3, 1.5)), Calibration("platt", (4.0, -3.0)),
                     Calibration("isotonic", (0.0, 0.4, 1.0, 0.45))]),
)  # fmt: skip
def test_a_held_calibration_keeps_every_exit_on_its_side(low, gap, look, above, calibration):
    high, threshold = low + gap, min(look + above, 0.999)
    found, changed = held(calibration, (low, high), look, threshold)
    below, over = np.linspace(0, low, 400, endpoint=False), np.linspace(1, high, 400, endpoint=False)
    assert (found.apply(below) <= look).all() and (found.apply(over) > threshold).all()
    if not changed:
        assert found is calibration
    free = calibration.apply(below) < look * 0.99  # where nothing had to be held it is the same map
    np.testing.assert_allclose(found.apply(below)[free], calibration.apply(below)[free], atol=0.02)


# --- the manifest ----------------------------------------------------------------------------------------------------


def document():
    return json.loads(BUNDLE.manifest.to_bytes())


def test_exits_survive_the_manifest():
    again = manifest_from_bytes(BUNDLE.manifest.to_bytes(), "here")
    assert again.configurations == BUNDLE.manifest.configurations
    assert again.configurations[0].exit.measured == MEASURED


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda exit: exit.update(spare=1), "unknown key 'spare'"),
        (lambda exit: exit.pop("measured"), "lacks measured"),
        (lambda exit: exit.update(part="net"), "asks 'net' first"),
        (lambda exit: exit.update(part="gone"), "asks 'gone' first"),
        (lambda exit: exit.update(low=0.9, high=0.1), "expected 0 <= low <= high <= 1"),
        (lambda exit: exit.update(low=None), "malformed"),
        (lambda exit: exit.update(calibration={"method": "isotonic", "parameters": [0.0, 0.6, 1.0, 0.7]}), "across"),
    ],
)
def test_an_exit_that_does_not_fit_is_refused(change, says):
    stored = document()
    change(stored["configurations"][0]["exit"])
    with pytest.raises(BundleError, match=says):
        manifest_from_bytes(json.dumps(stored).encode(), "here")


def test_an_exit_of_a_forest_alone_is_refused():
    stored = json.loads(random_bundle().manifest.to_bytes())
    stored["configurations"][0]["exit"] = document()["configurations"][0]["exit"]
    with pytest.raises(BundleError, match="one of two parts or more"):
        manifest_from_bytes(json.dumps(stored).encode(), "here")


# --- the self-test ---------------------------------------------------------------------------------------------------


def test_golden_patches_prove_the_whole_ensemble_and_the_exits(tmp_path):
    opened = open_bundle(write(BUNDLE, tmp_path / "bundle"))
    chain = Chain(opened)
    results = check_golden(opened, chain)
    require(results, "here")
    exits = [result for result in results if result.stage == "exit"]
    assert [result.configuration for result in exits] == ["all", "optical"]
    assert all(result.max_error == 0 and result.values > 0 for result in exits)
    assert not [one for one in check_golden(opened, Chain(opened, exits="off")) if one.stage == "exit"]
    assert len(results) == len(check_golden(opened, Chain(opened, exits="off"))) + 2


def test_a_patch_that_leaves_here_and_not_there_fails_the_self_test():
    """Reference margins of one golden patch are moved over the exit: the whole ensemble alone would still pass."""
    golden = dict(BUNDLE.golden())
    configuration = BUNDLE.manifest.configurations[0]
    members = [m for m in configuration.members if m in BUNDLE.manifest.members]
    first = CHAIN.first_probability(configuration, configuration.exit, {m: golden[f"all/{m}/margins"] for m in members})
    at = int(np.flatnonzero(~configuration.exit.leaves(first))[0])
    for member in members:
        changed = golden[f"all/{member}/margins"].copy()
        changed[at] = 30
        golden[f"all/{member}/margins"] = changed
    contents = {**BUNDLE.contents, GOLDEN_NAME: npz_bytes(golden)}
    broken = replace(BUNDLE, contents=contents)
    failed = {result.stage for result in check_golden(broken, CHAIN) if not result.passed}
    assert "exit" in failed
    with pytest.raises(GateError, match="stages differ from the reference"):
        require(check_golden(broken, CHAIN), "here")
