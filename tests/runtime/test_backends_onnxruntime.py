from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import encoder_graphs
import numpy as np
import pytest

pytest.importorskip("onnx", reason="makes the graphs")
ort = pytest.importorskip("onnxruntime", reason="the backend under test")

from lsd.runtime.backends import onnxruntime as backend  # noqa: E402
from lsd.runtime.backends.base import EncoderGraph, SessionOptions  # noqa: E402
from lsd.runtime.errors import BackendError, BundleError, UsageError  # noqa: E402

ONE = SessionOptions(threads=1)


@pytest.fixture(scope="module")
def patches():
    return encoder_graphs.raw_patches(6)


def opened(precision="fp32", options=ONE, **how):
    return backend.open_session(encoder_graphs.encoder_graph(precision, **how), options)


# logits spread over tens of units; fp16 rounds pixels and weights to 11 bits, int8 to 7
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.05), ("int8", 1.5)])
def test_logits_are_those_of_the_network_in_numpy(patches, precision, tolerance):
    logits = opened(precision).run(patches)
    expected = encoder_graphs.reference_logits(patches)
    assert logits.dtype == np.float32
    assert logits.shape == (6,)
    assert np.ptp(expected) > 10
    np.testing.assert_allclose(logits, expected, atol=tolerance)


def test_each_precision_has_its_own_logits(patches):
    found = [opened(precision).run(patches).tobytes() for precision in ("fp32", "fp16", "int8")]
    assert len(set(found)) == 3


def test_a_single_patch_is_a_batch(patches):
    assert opened().run(patches[:1]).shape == (1,)


def test_repeats_bit_for_bit(patches):
    session = opened()
    assert session.run(patches).tobytes() == session.run(patches).tobytes() == opened().run(patches).tobytes()


def test_external_data_comes_from_memory(patches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nothing to find here
    graph = encoder_graphs.encoder_graph(external="small.data")
    assert graph.external
    assert len(graph.content) < len(encoder_graphs.encoder_graph().content)
    assert backend.open_session(graph, ONE).run(patches).tobytes() == opened().run(patches).tobytes()


def test_description_says_what_is_used():
    told = opened("fp16").describe()
    assert told["backend"] == "onnxruntime"
    assert told["version"] == ort.__version__
    assert (told["device"], told["precision"], told["threads"]) == ("cpu", "fp16", "1")
    assert "float32" in told["arithmetic"]  # the CPU has few float16 kernels; that must not be hidden


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 3, 64, 64), np.float32),
        np.zeros((2, 4, 32, 64), np.float32),
        np.zeros((4, 64, 64), np.float32),
        np.zeros((0, 4, 64, 64), np.float32),
        np.zeros((2, 4, 64, 64), np.float64),
    ],
)
def test_other_input_is_one_clear_line(wrong):
    with pytest.raises(
        UsageError, match=r"expected patches float32 \(n, 4, 64, 64\).*B02, B03, B04, B08, found"
    ) as told:
        opened().run(wrong)
    assert str(wrong.shape) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_an_absent_provider_is_an_error_and_not_the_cpu(provider):
    if len(ort.get_available_providers()) > 2:
        pytest.skip("this onnxruntime has a GPU provider")
    with pytest.raises(
        BackendError, match=r"has no \w+ExecutionProvider \(it has .*CPUExecutionProvider.*onnxruntime-gpu"
    ):
        opened(options=SessionOptions(provider=provider))


def test_an_unknown_provider_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cuda'"):
        opened(options=SessionOptions(provider="cudo"))


def test_bf16_is_refused_for_it_would_run_as_float32():
    with pytest.raises(BackendError, match="does not compute in bf16"):
        opened("bf16")


def test_a_graph_of_another_contract_is_refused():
    with pytest.raises(BundleError, match=r"expected the input patches float32 \(n, 4, 64, 64\).*found.*score"):
        opened(output="score")
    graph = encoder_graphs.encoder_graph()
    fewer = EncoderGraph(graph.name, graph.content, {}, graph.sha256, ("B02", "B03"), "fp32")
    with pytest.raises(BundleError, match=r"\(n, 2, 64, 64\)"):
        backend.open_session(fewer, ONE)


def test_what_is_no_graph_is_one_line():
    graph = EncoderGraph("bundle: encoders/broken.onnx", b"not a graph", {}, "0" * 64, ("B02",), "fp32")
    with pytest.raises(
        BackendError, match=r"bundle: encoders/broken.onnx: ONNX Runtime .* cannot open it on cpu"
    ) as told:
        backend.open_session(graph, ONE)
    assert "\n" not in str(told.value)


def test_nothing_is_printed():
    code = (
        "import encoder_graphs as e; from lsd.runtime.backends import onnxruntime as b\n"
        "from lsd.runtime.backends.base import EncoderGraph, SessionOptions\n"
        "b.open_session(e.encoder_graph('fp16'), SessionOptions()).run(e.raw_patches(2))\n"
        "try: b.open_session(EncoderGraph('x', b'x', {}, '', ('B02',), 'fp32'), SessionOptions())\n"
        "except b.BackendError: pass\n"
    )
    folder = str(Path(encoder_graphs.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{code}"], capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


class GpuSession:
    """What ONNX Runtime's GPU build would say of a session."""

    def __init__(self, used, nodes):
        self.used, self.nodes = used, nodes

    def disable_fallback(self):
        self.fallback = False

    def get_providers(self):
        return self.used

    def get_provider_graph_assignment_info(self):
        class Told:
            pass

        for name, operators in self.nodes.items():
            subgraph = Told()
            subgraph.ep_name = name
            subgraph.get_nodes = lambda operators=operators: [type("Node", (), {"op_type": one}) for one in operators]
            yield subgraph

    def get_inputs(self):
        return [type("End", (), {"name": "patches", "type": "tensor(float)", "shape": ["n", 4, 64, 64]})]

    def get_outputs(self):
        return [type("End", (), {"name": "logit", "type": "tensor(float)", "shape": ["n"]})]


CUDA, CPU, TENSORRT = "CUDAExecutionProvider", "CPUExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("provider", "used", "nodes", "refused"),
    [
        ("cuda", [CUDA, CPU], {CUDA: ["Conv", "Relu"], CPU: ["Shape", "Gather"]}, None),
        ("cuda", [CPU], {CPU: ["Conv"]}, "CUDAExecutionProvider did not start, the session would run on CPUExec"),
        ("cuda", [CUDA, CPU], {CUDA: ["Relu"], CPU: ["Conv"]}, "Conv on CPUExecutionProvider"),
        ("cuda", [CUDA, CPU], {CPU: ["Relu"]}, "it got no node"),
        ("tensorrt", [TENSORRT, CUDA, CPU], {TENSORRT: ["Conv", "Gemm"], CUDA: ["Relu"]}, None),
        ("tensorrt", [CUDA, CPU], {CUDA: ["Conv"]}, "TensorrtExecutionProvider did not start"),
        ("tensorrt", [TENSORRT, CUDA, CPU], {TENSORRT: ["Conv"], CUDA: ["MatMul"]}, "MatMul on CUDAExecutionProvider"),
    ],
)
def test_the_provider_must_run_what_has_weight(monkeypatch, provider, used, nodes, refused):
    asked = {}

    def session(content, settings, providers, enable_fallback):
        asked.update(providers=providers, enable_fallback=enable_fallback)
        return GpuSession(used, nodes)

    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", session)
    if refused:
        with pytest.raises(BackendError, match=refused):
            opened(options=SessionOptions(provider=provider))
    else:
        told = opened(options=SessionOptions(provider=provider)).describe()
        assert told["device"] == provider
        assert "2" in told["layers"]
    assert asked["enable_fallback"] == 0
    assert dict(asked["providers"])[CUDA]["use_tf32"] == "0"
