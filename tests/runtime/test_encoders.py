from __future__ import annotations

import encoder_graphs
import numpy as np
import pytest

from lsd.runtime import encoders
from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.encoders import Encoder, EncoderOptions, open_encoder
from lsd.runtime.errors import BackendError, BandError, BundleError, UsageError

BANDS = encoder_graphs.BANDS


class Session:
    """Logit: `factor` times the first pixel of the second band; it keeps what it was given."""

    def __init__(self, factor=1.0):
        self.factor = factor
        self.given = []
        self.steps = []
        self.closed = False

    def run(self, patches):
        assert not self.closed
        self.given.append(patches.copy())
        return (self.factor * patches[:, 1, 0, 0]).astype(np.float32)

    def start(self, patches):
        logits = self.run(patches)
        self.steps.append("start")

        def finish():
            self.steps.append("finish")
            return logits

        return finish

    def describe(self):
        return {"backend": "session"}

    def close(self):
        self.closed = True


def numbered(n, bands=BANDS):
    """Patches whose pixels are 10 times the patch plus the place of the band, divided by 100."""
    patches = np.zeros((n, len(bands), 64, 64), np.float32)
    patches += (10 * np.arange(n)[:, None] + np.arange(len(bands)))[:, :, None, None] / np.float32(100)
    return patches


def test_probability_is_the_mean_of_the_folds_sigmoids():
    encoder = Encoder([Session(1), Session(-3)], BANDS, batch_size=4)
    patches = numbered(6)
    logits = patches[:, 1, 0, 0].astype(np.float64)
    expected = (1 / (1 + np.exp(-logits)) + 1 / (1 + np.exp(3 * logits))) / 2
    found = encoder.probabilities(patches, BANDS)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert encoder.logits(patches, BANDS).shape == (2, 6)
    assert encoder.describe() == {"backend": "session", "folds": "2", "batch_size": "4"}


def test_the_next_batch_is_begun_before_the_one_under_way_is_awaited():
    session = Session()
    found = Encoder([session, Session()], BANDS, batch_size=2).logits(numbered(6), BANDS)
    assert session.steps == ["start", "start", "finish", "start", "finish", "finish"]
    np.testing.assert_array_equal(found[0], numbered(6)[:, 1, 0, 0])
    np.testing.assert_array_equal(found[1], numbered(6)[:, 1, 0, 0])


def test_what_is_under_way_is_awaited_where_a_session_fails():
    class Failing(Session):
        def start(self, patches):
            if len(self.given) == 1:
                raise BackendError("out of memory")
            return super().start(patches)

    first = Session()
    with pytest.raises(BackendError, match="out of memory"):
        Encoder([first, Failing()], BANDS, batch_size=2).logits(numbered(6), BANDS)
    assert first.steps == ["start", "start", "finish", "finish"]


def test_every_call_has_the_same_shape_and_the_rest_is_cut_off():
    session = Session()
    found = Encoder([session], BANDS, batch_size=4).logits(numbered(6), BANDS)
    assert [given.shape for given in session.given] == [(4, 4, 64, 64)] * 2
    assert not session.given[1][2:].any()
    np.testing.assert_array_equal(found[0], numbered(6)[:, 1, 0, 0])


def test_no_patch_is_no_call():
    session = Session()
    assert Encoder([session], BANDS).probabilities(numbered(0), BANDS).shape == (0,)
    assert session.given == []


def test_bands_are_taken_by_name():
    session = Session()
    given = ("VV", "B08", "B03", "B02", "B04")
    Encoder([session], BANDS, batch_size=2).logits(numbered(2, given), given)
    assert session.given[0][0, :, 0, 0].tolist() == pytest.approx([0.03, 0.02, 0.04, 0.01])


def test_a_missing_band_is_an_error_unless_it_was_trained_without():
    with pytest.raises(BandError, match="trained with B02, B03, B04, B08; given: B02, B03, B04; missing: B08"):
        Encoder([Session()], BANDS).logits(numbered(2, BANDS[:3]), BANDS[:3])
    session = Session()
    encoder = Encoder([session], BANDS, batch_size=2, served=[BANDS, ("B02", "B03", "B04")])
    encoder.logits(numbered(2, BANDS[:3]), BANDS[:3])
    assert np.isnan(session.given[0][:, 3]).all()
    assert not np.isnan(session.given[0][:, :3]).any()
    with pytest.raises(BandError, match="missing: B04, B08"):
        encoder.logits(numbered(2, BANDS[:2]), BANDS[:2])


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 4, 64, 63), np.float32), np.zeros((2, 4, 64, 64)), np.zeros((4, 64, 64), np.float32)]
)
def test_other_patches_are_refused(wrong):
    with pytest.raises(UsageError, match=r"expected patches float32 \(n, 4, 64, 64\), found"):
        Encoder([Session()], BANDS).logits(wrong, BANDS)


@pytest.mark.parametrize(
    ("sessions", "batch_size", "served"), [([], 8, None), ([Session()], 0, None), ([Session()], 8, [("VV",)])]
)
def test_an_encoder_of_nothing_is_refused(sessions, batch_size, served):
    with pytest.raises(UsageError, match="an encoder needs 1 session or more"):
        Encoder(sessions, BANDS, batch_size, served)


def test_folds_opened_before_a_failure_are_closed(monkeypatch):
    opened = []

    def open_session(backend, graph, options):
        if len(opened) == 2:
            raise BackendError("no memory")
        opened.append(Session())
        return opened[-1]

    monkeypatch.setattr(encoders, "open_session", open_session)
    graph = EncoderGraph("bundle: one.onnx", b"", {}, "", BANDS, "fp32")
    with pytest.raises(BackendError, match="no memory"):
        open_encoder([graph] * 3, EncoderOptions())
    assert [session.closed for session in opened] == [True, True]


@pytest.mark.parametrize("other", [EncoderGraph("b: 1.onnx", b"", {}, "", BANDS[:3], "fp32"), None])
def test_folds_that_differ_are_refused(other):
    graphs = [EncoderGraph("b: 0.onnx", b"", {}, "", BANDS, "fp32"), other] if other else []
    with pytest.raises(BundleError, match="expected folds of the same bands and precision"):
        open_encoder(graphs, EncoderOptions())


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def encoder(request):
    pytest.importorskip("onnx", reason="makes the graphs")
    pytest.importorskip("onnxruntime", reason="the backend under test")
    return open_encoder([encoder_graphs.encoder_graph(request.param, seed) for seed in (0, 1)], EncoderOptions())


@pytest.fixture(scope="module")
def patches():
    return encoder_graphs.raw_patches(19)


def test_a_patch_does_not_depend_on_its_neighbours(encoder, patches):
    whole = encoder.logits(patches, BANDS)
    shuffled = np.random.default_rng(0).permutation(len(patches))
    assert encoder.logits(patches[shuffled], BANDS).tobytes() == whole[:, shuffled].tobytes()
    strange = patches.copy()
    strange[1::2] = np.nan
    strange[3::4] = 20_944
    assert encoder.logits(strange, BANDS)[:, ::2].tobytes() == whole[:, ::2].tobytes()


def test_a_patch_does_not_depend_on_how_many_come_with_it(encoder, patches):
    whole = encoder.logits(patches, BANDS)
    for n in (1, 2, 7, 8, 9, 18):
        assert encoder.logits(patches[:n], BANDS).tobytes() == whole[:, :n].tobytes()
    alone = np.concatenate([encoder.logits(patches[i : i + 1], BANDS) for i in range(len(patches))], axis=1)
    assert alone.tobytes() == whole.tobytes()


def test_the_order_of_the_given_bands_does_not_matter(encoder, patches):
    order = [2, 0, 3, 1]
    turned = encoder.probabilities(np.ascontiguousarray(patches[:, order]), tuple(BANDS[i] for i in order))
    assert turned.tobytes() == encoder.probabilities(patches, BANDS).tobytes()
