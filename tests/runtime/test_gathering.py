"""Patches that wait for encoders: gathered over batches and tiles, asked in full batches, never for too long."""

from __future__ import annotations

import numpy as np
import pytest
from cascades import cascade_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from patch_batches import batch, clear

from bundles import scores_equal
from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain
from lsd.runtime.encoders import Encoder, EncoderOptions
from lsd.runtime.gathering import Gathering
from lsd.runtime.patches import PatchBatch
from lsd.runtime.pending import Pending, joined
from lsd.runtime.scores import Scores

pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="asks the encoders")

BUNDLE = cascade_bundle()
CHAIN = Chain(BUNDLE)
OFF = Chain(BUNDLE, exits="off")
NAMES = ("probability", "decision", "configuration", "valid_fraction", "status", "stage")


def asked(gathering, due):
    """Answers of what is due."""
    for pending in due:
        yield gathering.ask(pending)


def add(gathering, patches, tile=0):
    """Answers of what forests alone can, and of what is due then."""
    yield gathering.keep(gathering.chain.begin(patches, tile))
    yield from asked(gathering, gathering.due())


def rebatched(encoder, batch_size):
    """The same sessions; batches of the gathering and of the encoder then differ, and neither may matter."""
    return Encoder(encoder._sessions, encoder.bands, batch_size, encoder.served)


@settings(max_examples=15)
@given(st.integers(1, 23), st.integers(0, 1000), st.integers(1, 9), st.integers(1, 40))
def test_answers_do_not_depend_on_how_patches_are_gathered(cut, seed, encoder_batch, most):
    """All at once, or in parts gathered over several calls, or in another order: the same bytes for each patch."""
    options = EncoderOptions(batch_size=encoder_batch)
    chain = Chain(BUNDLE, encoders=options, opened={key: rebatched(one, 8) for key, one in CHAIN.encoders.items()})
    pixels = simulated_patches(24, seed)
    pixels[seed % 24, 6] = np.nan
    pixels[(seed + 5) % 24, 0] = np.nan
    pixels[(seed + 7) % 24, :3] = 9000  # haze
    together = chain.score(batch(pixels))
    order = np.random.default_rng(seed).permutation(24)
    found = {name: np.zeros_like(getattr(together, name)) for name in NAMES}
    gathering, times = Gathering(chain, most, 60.0), np.zeros(24, int)

    def put(answered):
        times[answered.columns] += 1
        for name in NAMES:
            found[name][answered.columns] = getattr(answered.scores, name)

    for part in (order[:cut], order[cut:]):
        for answered in add(gathering, PatchBatch(pixels[part], BAND_NAMES, part * 0, part)):
            put(answered)
        assert len(gathering) <= max(most, encoder_batch)
    for answered in asked(gathering, gathering.rest()):
        put(answered)
    assert times.tolist() == [1] * 24
    assert scores_equal(together, Scores(**found))


def test_encoders_are_asked_in_full_batches(monkeypatch):
    sizes = []
    original = Encoder.logits
    monkeypatch.setattr(Encoder, "logits", lambda self, p, b: (sizes.append(len(p)), original(self, p, b))[1])
    gathering = Gathering(OFF, 64, 60.0)
    pixels = clear(21, 4)
    for first in range(0, 21, 3):
        list(add(gathering, batch(pixels[first : first + 3])))
    assert sizes == [8, 8, 8, 8] and len(gathering) == 5  # two encoders, two batches
    list(asked(gathering, gathering.rest()))
    assert sizes[4:] == [5, 5] and len(gathering) == 0


def test_patches_of_several_configurations_do_not_pile_up():
    """Waiting patches are bounded over all configurations together."""
    gathering = Gathering(Chain(BUNDLE, encoders=EncoderOptions(batch_size=6), exits="off"), 7, 60.0)
    pixels = clear(40, 6)
    pixels[::2, BAND_NAMES.index("asc_vh")] = np.nan
    done = 0
    for first in range(0, 40, 4):
        done += sum(len(answered.rows) for answered in add(gathering, batch(pixels[first : first + 4])))
        assert len(gathering) <= 7
    assert done + sum(len(answered.rows) for answered in asked(gathering, gathering.rest())) == 40


def test_parts_of_what_waits_join_to_what_waited():
    waiting = OFF.begin(batch(clear(9, 7))).pending[0]
    again = joined([waiting.some(slice(4)), waiting.some(slice(4, None))])
    assert isinstance(again, Pending) and again.number == waiting.number == 1
    np.testing.assert_array_equal(again.batch.pixels, waiting.batch.pixels)
    np.testing.assert_array_equal(again.batch.columns, waiting.batch.columns)
    assert scores_equal(OFF.resume(again).scores, OFF.resume(waiting).scores)


def test_patches_of_several_tiles_are_asked_together_and_told_apart(monkeypatch):
    sizes = []
    original = Encoder.logits
    monkeypatch.setattr(Encoder, "logits", lambda self, p, b: (sizes.append(len(p)), original(self, p, b))[1])
    gathering = Gathering(OFF, 64, 60.0)
    pixels = clear(8, 3)
    found = [*add(gathering, batch(pixels[:5]), 7), *add(gathering, batch(pixels[5:]), 8)]
    assert sizes == [8, 8] and len(gathering) == 0
    answered = found[-1]
    assert answered.tiles.tolist() == [7] * 5 + [8] * 3
    assert answered.columns.tolist() == [*range(5), *range(3)]
    assert scores_equal(answered.scores, OFF.score(batch(pixels)))


def test_patches_of_which_less_is_known_are_not_joined():
    """One tile has a cloud layer, the other has none: they wait apart."""
    gathering = Gathering(OFF, 64, 60.0)
    pixels = clear(6, 3)
    clouds = PatchBatch(pixels[:3], BAND_NAMES, np.zeros(3, np.intp), np.arange(3), np.zeros(3, np.float32))
    list(add(gathering, clouds, 0))
    list(add(gathering, batch(pixels[3:]), 1))
    assert sorted(len(one) for one in gathering.rest()) == [3, 3]


def test_nobody_waits_longer_than_allowed():
    now_s = [0.0]
    gathering = Gathering(OFF, 64, 5.0, lambda: now_s[0])
    assert sum(len(one.rows) for one in add(gathering, batch(clear(3, 1)), 0)) == 0
    now_s[0] = 4.9
    assert sum(len(one.rows) for one in add(gathering, batch(clear(2, 2)), 1)) == 0 and len(gathering) == 5
    now_s[0] = 5.0
    answered = list(asked(gathering, gathering.due()))
    assert [one.tiles.tolist() for one in answered] == [[0, 0, 0, 1, 1]] and len(gathering) == 0


def test_what_waits_of_a_tile_can_be_dropped():
    gathering = Gathering(OFF, 64, 60.0)
    list(add(gathering, batch(clear(3, 1)), 0))
    list(add(gathering, batch(clear(2, 2)), 1))
    gathering.drop(0)
    (answered,) = asked(gathering, gathering.rest())
    assert answered.tiles.tolist() == [1, 1]
    gathering.drop(1)
    assert len(gathering) == 0
