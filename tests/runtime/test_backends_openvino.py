from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import encoder_graphs
import numpy as np
import pytest

pytest.importorskip("onnx", reason="makes the graphs")
with pytest.MonkeyPatch.context() as hidden:
    hidden.setitem(sys.modules, "openvino_telemetry", None)
    pytest.importorskip("openvino", reason="the backend under test")

from lsd.runtime.backends import openvino as backend
from lsd.runtime.backends.base import SessionOptions
from lsd.runtime.errors import BackendError, BundleError, UsageError

ONE = SessionOptions(threads=1)


def capabilities():
    import openvino

    return openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


needs_bf16 = pytest.mark.skipif("BF16" not in capabilities(), reason="this CPU has no bf16")


@pytest.fixture(scope="module")
def patches():
    return encoder_graphs.raw_patches(6)


def opened(precision="fp32", options=ONE, **how):
    return backend.open_session(encoder_graphs.encoder_graph(precision, **how), options)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("fp32", 1e-4), pytest.param("bf16", 0.4, marks=needs_bf16), ("int8", 1.5)],
)
def test_logits_are_those_of_the_network_in_numpy(patches, precision, tolerance):
    logits = opened(precision).run(patches)
    expected = encoder_graphs.reference_logits(patches)
    assert logits.dtype == np.float32
    assert logits.shape == (6,)
    np.testing.assert_allclose(logits, expected, atol=tolerance)


@needs_bf16
def test_fp32_is_fp32_also_where_the_default_would_be_bf16(patches):
    exact, short = opened("fp32"), opened("bf16")  # the same tensors: the name decides
    assert exact.describe()["layers"] == "f32 2"
    assert short.describe()["layers"] == "bf16 2"
    expected = encoder_graphs.reference_logits(patches)
    errors = [np.abs(session.run(patches) - expected).max() for session in (exact, short)]
    assert errors[0] < 1e-4 < 1e-3 < errors[1]


def test_int8_layers_are_found():
    assert "8 1" in opened("int8").describe()["layers"]


def test_fp16_is_refused_for_all_of_it_would_be_fp16():
    with pytest.raises(BackendError, match="rounds all of a mixed fp16 graph"):
        opened("fp16")


def test_a_cpu_without_bf16_says_so(monkeypatch):
    monkeypatch.setitem(backend.PRECISIONS, "bf16", ("bf16", "BF16_OF_ANOTHER_CPU", frozenset({"bf16"})))
    with pytest.raises(
        BackendError, match=r"this CPU has no BF16_OF_ANOTHER_CPU \(OpenVINO finds .*FP32.*\); use fp32"
    ):
        opened("bf16")


def test_another_precision_than_asked_for_is_refused(monkeypatch):
    # as if OpenVINO had compiled float32 layers for a graph that is called bf16
    monkeypatch.setitem(backend.PRECISIONS, "fp32", ("f32", "FP32", frozenset({"bf16"})))
    with pytest.raises(BackendError, match="it compiled hint f32 and layers f32 2"):
        opened("fp32")


def test_external_data_is_read_from_memory(patches):
    graph = encoder_graphs.encoder_graph(external="small.data")
    assert backend.open_session(graph, ONE).run(patches).tobytes() == opened().run(patches).tobytes()


def test_external_data_stays_beside_the_graph():
    with pytest.raises(BackendError, match="must lie beside the graph"):
        opened(external="../small.data")


def test_repeats_bit_for_bit(patches):
    session = opened()
    first = session.run(patches).copy()
    session.run(patches[::-1].copy())
    assert first.tobytes() == session.run(patches).tobytes()


def test_a_result_is_not_overwritten_by_the_next_call(patches):
    session = opened()
    first = session.run(patches)
    kept = first.copy()
    session.run(patches[::-1].copy())
    assert first.tobytes() == kept.tobytes()


def test_threads_are_as_asked():
    assert opened(options=SessionOptions(threads=1)).describe()["threads"] == "1"


def test_wrong_use_is_one_line():
    with pytest.raises(UsageError, match="runs on the CPU, found the provider 'cuda'"):
        opened(options=SessionOptions(provider="cuda"))
    with pytest.raises(UsageError, match=r"expected patches float32 \(n, 4, 64, 64\)"):
        opened().run(np.zeros((1, 3, 64, 64), np.float32))
    with pytest.raises(BundleError, match="score"):
        opened(output="score")


def test_no_telemetry_and_nothing_left_behind(tmp_path):
    code = (
        "import sys, encoder_graphs as e; from lsd.runtime.backends import openvino as b\n"
        "from lsd.runtime.backends.base import SessionOptions\n"
        "b.open_session(e.encoder_graph(), SessionOptions()).run(e.raw_patches(2))\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
    )
    folder = str(Path(encoder_graphs.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{code}"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@needs_bf16
def test_index_arithmetic_stays_float32_in_bf16():
    """The difference of two bands of nearly the same value: bf16 would round both first and lose it."""
    graph, reference = encoder_graphs.index_graph("bf16")
    patches = np.ones((4, 4, 64, 64), np.float32) * np.array([1801, 2003, 2207, 2999], np.float32)[:, None, None, None]
    patches[:, 1] *= np.float32(1.001)
    logits = backend.open_session(graph, ONE).run(patches)
    np.testing.assert_allclose(logits, reference(patches), rtol=0.01)
