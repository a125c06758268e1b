"""Captured calls: the binding is the real one, on the CPU, whose provider does not capture; the rest are stand-ins.

tests/gpu runs them on a GPU.
"""

from __future__ import annotations

import encoder_graphs
import numpy as np
import pytest

pytest.importorskip("onnx", reason="makes the graphs")
ort = pytest.importorskip("onnxruntime", reason="the backend under test")

from lsd.runtime.backends import onnxruntime as backend  # noqa: E402
from lsd.runtime.backends.base import SessionOptions  # noqa: E402
from lsd.runtime.backends.onnxruntime_captured import MOST_GRAPHS, OPTION, CapturedCalls  # noqa: E402
from lsd.runtime.errors import BackendError  # noqa: E402

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
InferenceSession = ort.InferenceSession


@pytest.fixture(scope="module")
def patches():
    return encoder_graphs.raw_patches(12)


@pytest.fixture(scope="module")
def plain():
    return InferenceSession(encoder_graphs.encoder_graph().content, providers=[CPU])


@pytest.fixture
def cuda(monkeypatch):
    """Sessions "on CUDA" that are the CPU's; `failing` makes opening or captured calls fail. Lists what was opened."""

    class Machine:
        failing = ""
        opened: list[bool]

    machine = Machine()
    machine.opened = []

    class Session(InferenceSession):
        def __init__(self, content, settings, providers, enable_fallback):
            self.captures = dict(providers)[CUDA].get(OPTION) == "1"
            machine.opened.append(self.captures)
            if self.captures and machine.failing == "opening":
                raise RuntimeError("has control flow nodes")
            super().__init__(content, settings, providers=[CPU])

        def get_providers(self):
            return [CUDA, CPU]

        def run_with_iobinding(self, binding, options):
            if machine.failing == "calls":
                raise RuntimeError("operation not permitted when stream is capturing")
            super().run_with_iobinding(binding, options)

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(backend, "_load_cuda", lambda ort: None)
    monkeypatch.setattr(backend, "_require_assigned", lambda *nodes: None)
    monkeypatch.setattr(backend, "CapturedCalls", lambda ort, session: CapturedCalls(ort, session, "cpu"))
    return machine


def opened(**how):
    return backend.open_session(encoder_graphs.encoder_graph(), SessionOptions(provider="cuda"), **how)


def test_calls_of_any_size_give_what_the_session_gives(plain, patches):
    calls = CapturedCalls(ort, plain, "cpu")
    for some in (patches[:8], patches[4:], patches[:1], patches[8:9], patches, patches[:8]):
        np.testing.assert_array_equal(calls(some), plain.run(None, {"patches": some})[0])


def test_answers_are_not_overwritten_by_the_next_call(plain, patches):
    calls = CapturedCalls(ort, plain, "cpu")
    first = calls(patches[:4])
    kept = first.copy()
    calls(patches[4:8])
    np.testing.assert_array_equal(first, kept)


def test_each_size_has_a_graph_of_its_own_and_too_many_have_none(plain, patches):
    calls = CapturedCalls(ort, plain, "cpu")
    for n in range(1, MOST_GRAPHS + 2):
        calls(patches[:n])
    graphs = [one.run_options.get_run_config_entry("gpu_graph_id") for one in calls._bound.values()]
    assert graphs == [str(n) for n in range(1, MOST_GRAPHS + 1)] + ["-1"]


def test_cuda_is_captured_unless_it_is_forbidden(cuda, plain, patches):
    session = opened()
    np.testing.assert_array_equal(session.run(patches), plain.run(None, {"patches": patches})[0])
    assert session.describe()["cuda_graph"] == "yes"
    assert opened(cuda_graph=False).describe()["cuda_graph"] == "no"
    assert cuda.opened == [True, False]
    session.close()


def test_what_cannot_be_captured_runs_without(cuda, plain, patches):
    cuda.failing = "opening"
    session = opened()
    np.testing.assert_array_equal(session.run(patches), plain.run(None, {"patches": patches})[0])
    assert session.describe()["cuda_graph"] == "no"
    assert cuda.opened == [True, False]


def test_a_call_that_fails_is_asked_again_of_a_session_that_does_not_capture(cuda, plain, patches):
    session = opened()
    cuda.failing = "calls"
    for _ in range(2):
        np.testing.assert_array_equal(session.run(patches), plain.run(None, {"patches": patches})[0])
    assert session.describe()["cuda_graph"] == "no"
    assert cuda.opened == [True, False]


def test_bad_patches_do_not_end_the_capture(cuda, patches):
    session = opened()
    with pytest.raises(Exception, match="float32"):
        session.run(patches.astype(np.float64))
    assert session.describe()["cuda_graph"] == "yes"


def test_a_gpu_that_is_gone_is_an_error(cuda, patches, monkeypatch):
    session = opened()
    cuda.failing = "calls"
    monkeypatch.setattr(InferenceSession, "run", lambda *how: (_ for _ in ()).throw(RuntimeError("CUDA failure 999")))
    with pytest.raises(BackendError, match="CUDA failure 999"):
        session.run(patches)
