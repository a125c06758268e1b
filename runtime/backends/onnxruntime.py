"""Encoders on ONNX Runtime: the CPU provider everywhere, CUDA and TensorRT where its GPU build is installed.

The provider asked for is the one used, or opening fails: ONNX Runtime on its own only warns and goes on with the CPU.
CUDA calls are captured as CUDA graphs where the session can be. The TensorRT provider was not run on a GPU yet.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph, EncoderSession, SessionOptions
from lsd.runtime.backends.contract import INPUT, OUTPUT, checked_patches, described, require_contract
from lsd.runtime.backends.onnxruntime_captured import OPTION, CapturedCalls
from lsd.runtime.backends.packages import required
from lsd.runtime.errors import BackendError, UsageError
from lsd.runtime.nearest import did_you_mean

_LOG = logging.getLogger(__name__)
FATAL = 4  # log severity: whatever matters comes as an exception, and stderr belongs to the command

# Each provider with those it may leave small nodes (shape arithmetic) to, and its options. TF32 would shorten the
# factors of float32 products to 10 bits; the exhaustive search picks an algorithm by the stopwatch, so that two runs
# need not agree. TensorRT keeps the types of the graph as long as no precision flag is set.
PROVIDERS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    "cuda": [
        ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
        ("CPUExecutionProvider", {}),
    ],
    "tensorrt": [
        ("TensorrtExecutionProvider", {}),
        ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
        ("CPUExecutionProvider", {}),
    ],
}
INSTALL = {
    "cpu": 'pip install "lsd-edge[onnxruntime]"',
    "cuda": "install onnxruntime-gpu instead of onnxruntime, in the version that fits this machine's CUDA and cuDNN",
    "tensorrt": "install onnxruntime-gpu instead of onnxruntime, and the TensorRT version that it was built for",
}
# The work of an encoder; other nodes, such as arithmetic on shapes, may run elsewhere
HEAVY = ("Conv", "Gemm", "MatMul", "Attention")


def open_session(graph: EncoderGraph, options: SessionOptions, cuda_graph: bool = True) -> EncoderSession:
    """Open a graph on the provider asked for.

    Args:
        graph: of the bundle.
        options: threads and provider.
        cuda_graph: on CUDA, capture a call and replay it, where ONNX Runtime can; the logits are the same.
    Raises:
        UsageError: an unknown provider.
        BackendError: onnxruntime or the provider is absent, or would leave a layer to another provider; or the graph is
            bf16, which may be stored as float32, so that it would run as that unnoticed.
        BundleError: the graph does not have the input and output of the contract.
    """
    if options.provider not in PROVIDERS:
        hint = did_you_mean(options.provider, PROVIDERS) or f" (known: {', '.join(PROVIDERS)})"
        raise UsageError(f"unknown provider {options.provider!r}{hint}")
    if graph.precision == "bf16":
        raise BackendError(f"{graph.name}: ONNX Runtime does not compute in bf16; use the backend openvino, or fp32")
    ort = required("onnxruntime", extra="onnxruntime")
    wanted = PROVIDERS[options.provider]
    if options.provider != "cpu":
        _load_cuda(ort)
    _require_available(graph, options.provider, wanted[0][0], ort.get_available_providers())
    captured, session = cuda_graph and options.provider == "cuda", None
    if captured:
        try:
            session = _session(ort, graph, options, captured)
        except BackendError as error:
            _LOG.info("%s runs without a CUDA graph: %s", graph.name, error)
            captured = False
    session = session or _session(ort, graph, options)
    _require_used(graph, options.provider, wanted[0][0], session.get_providers())
    require_contract(graph, _ends(session.get_inputs()), _ends(session.get_outputs()))
    nodes = _nodes(session) if options.provider != "cpu" else {}
    _require_assigned(graph, options.provider, wanted[0][0], nodes)
    opened = OnnxRuntimeSession(graph, session, _description(ort, graph, options, nodes))
    if captured:
        opened.capture(CapturedCalls(ort, session), lambda: _session(ort, graph, options))
    return opened


class OnnxRuntimeSession:
    """An opened graph; threads may share it unless its calls are captured."""

    def __init__(self, graph: EncoderGraph, session: Any, description: dict[str, str]) -> None:
        self.graph = graph
        self._session = session
        self._description = description
        self._captured: CapturedCalls | None = None
        self._without: Callable[[], Any] | None = None

    def capture(self, calls: CapturedCalls, without: Callable[[], Any]) -> None:
        """Go through captured calls from now on, and should one fail, through the session that `without` opens."""
        self._captured, self._without = calls, without

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,); see `EncoderSession`."""
        values = checked_patches(patches, self.graph)
        if self._captured is not None:
            try:
                return self._captured(values)
            except Exception as error:
                _LOG.info("%s goes on without a CUDA graph: %s", self.graph.name, _line(error))
            self._end_capture()
        try:
            logits: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: values})[0]
        except Exception as error:
            raise BackendError(f"{self.graph.name}: ONNX Runtime failed ({_line(error)})") from error
        return logits

    def start(self, patches: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """See `EncoderSession`; the logits are there when this returns."""
        logits = self.run(patches)
        return lambda: logits

    def describe(self) -> dict[str, str]:
        """See `EncoderSession`; `layers` counts nodes per provider where another than the CPU was asked for."""
        if self._description["device"] != "cuda":
            return dict(self._description)
        return {**self._description, "cuda_graph": "no" if self._captured is None else "yes"}

    def close(self) -> None:
        """Release the session."""
        self._captured = self._without = self._session = None

    def _end_capture(self) -> None:
        """A session that captures cannot be asked in another way, so another one is opened."""
        without = self._without
        self.close()
        if without is not None:
            self._session = without()


def _session(ort: Any, graph: EncoderGraph, options: SessionOptions, captured: bool = False) -> Any:
    """An InferenceSession on the provider asked for, which captures its calls where that is asked.

    Raises:
        BackendError: it does not open.
    """
    (provider, settings), *others = PROVIDERS[options.provider]
    providers = [(provider, {**settings, **({OPTION: "1"} if captured else {})}), *others]
    try:
        session = ort.InferenceSession(
            graph.content, _settings(ort, graph, options), providers=providers, enable_fallback=0
        )
    except Exception as error:  # its classes share no root but Exception
        raise BackendError(
            f"{graph.name}: ONNX Runtime {ort.__version__} cannot open it on {options.provider} ({_line(error)})"
        ) from error
    session.disable_fallback()
    return session


def _load_cuda(ort: Any) -> None:
    """Load the CUDA libraries of NVIDIA's Python packages, where those are installed; what is wrong goes to stderr.

    Without it ONNX Runtime finds only what the system's loader knows (onnxruntime.ai, "CUDA Execution Provider").
    """
    ort.set_default_logger_severity(FATAL)  # cuDNN plans that are not there for a layer are told as errors
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(sys.stderr):  # it prints
            ort.preload_dlls()


def _settings(ort: Any, graph: EncoderGraph, options: SessionOptions) -> Any:
    settings = ort.SessionOptions()
    settings.log_severity_level = FATAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.use_deterministic_compute = True
    if options.threads is not None:
        settings.intra_op_num_threads = options.threads
    # x86 without VNNI adds pairs of int8 products in 16 bits that saturate; this takes the exact way there
    # (onnxruntime_session_options_config_keys.h, kOrtSessionOptionsAvx2PrecisionMode)
    settings.add_session_config_entry("session.x64quantprecision", "1")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if graph.external:
        names, contents = list(graph.external), list(graph.external.values())
        if not hasattr(settings, "add_external_initializers_from_files_in_memory"):
            raise BackendError(
                f"{graph.name}: has external data, which onnxruntime {ort.__version__} cannot take; update it"
            )
        settings.add_external_initializers_from_files_in_memory(names, contents, [len(one) for one in contents])
    return settings


def _require_available(graph: EncoderGraph, asked: str, provider: str, available: list[str]) -> None:
    if provider not in available:
        raise BackendError(
            f"{graph.name}: this onnxruntime has no {provider} (it has {', '.join(available)}); {INSTALL[asked]}"
        )


def _require_used(graph: EncoderGraph, asked: str, provider: str, used: list[str]) -> None:
    if used[:1] != [provider]:
        raise BackendError(
            f"{graph.name}: {provider} did not start, the session would run on {', '.join(used)}; check the driver of "
            f"the GPU, and {INSTALL[asked]}"
        )


def _nodes(session: Any) -> dict[str, Counter[str]]:
    """Provider -> how many nodes of each operator it was given; empty where this version does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    given: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        given.setdefault(subgraph.ep_name, Counter()).update(node.op_type for node in subgraph.get_nodes())
    return given


def _require_assigned(graph: EncoderGraph, asked: str, provider: str, nodes: dict[str, Counter[str]]) -> None:
    """Refuse a session that was given the provider but leaves layers of weight to another one."""
    if asked == "cpu" or not nodes:
        return
    elsewhere = {
        f"{operator} on {other}"
        for other, operators in nodes.items()
        for operator in operators
        if other != provider and any(part in operator for part in HEAVY)
    }
    if elsewhere or not nodes.get(provider):
        raise BackendError(
            f"{graph.name}: {provider} does not run all of it ({', '.join(sorted(elsewhere)) or 'it got no node'}); "
            "use another provider or another precision"
        )


def _description(
    ort: Any, graph: EncoderGraph, options: SessionOptions, nodes: dict[str, Counter[str]]
) -> dict[str, str]:
    told = {name: str(sum(operators.values())) for name, operators in nodes.items()}
    return {
        "backend": "onnxruntime",
        "version": str(ort.__version__),
        "device": options.provider,
        "precision": graph.precision,
        "arithmetic": _arithmetic(graph, options),
        "threads": "default" if options.threads is None else str(options.threads),
        **(
            {"layers": ", ".join(f"{name} {count}" for name, count in told.items()) or "not told by this version"}
            if options.provider != "cpu"
            else {}
        ),
    }


def _arithmetic(graph: EncoderGraph, options: SessionOptions) -> str:
    """What the precision of the graph means on this provider."""
    if graph.precision == "fp16" and options.provider == "cpu":
        return "float32 between float16 roundings wherever the CPU has no float16 kernel"
    if graph.precision == "fp32" and options.provider == "tensorrt" and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        return "TF32 products where the GPU has them; NVIDIA_TF32_OVERRIDE=0 forbids them"
    return "as in the graph"


def _ends(values: list[Any]) -> dict[str, str]:
    types = {"tensor(float)": "float32", "tensor(float16)": "float16"}
    return {value.name: described(types.get(value.type, value.type), value.shape) for value in values}


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
