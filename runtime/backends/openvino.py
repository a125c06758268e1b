"""Encoders on OpenVINO: CPUs, with bf16 where the CPU has it.

Left alone OpenVINO computes in bf16 wherever the CPU can, whatever the graph says; here the precision of the graph is
asked for by name, read back, and looked for in the compiled layers.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph, EncoderSession, Precision, SessionOptions
from lsd.runtime.backends.contract import checked_patches, described, require_contract
from lsd.runtime.backends.openvino_front import split
from lsd.runtime.backends.packages import required
from lsd.runtime.errors import BackendError, UsageError

DEVICE = "CPU"
# precision -> (INFERENCE_PRECISION_HINT, what OPTIMIZATION_CAPABILITIES must list, `runtimePrecision` of layers of
# weight). What an int8 graph does not quantise stays float32. No fp16: with that hint OpenVINO 2026.4 rounds the parts
# too that a mixed graph keeps in float32, and a ratio of bands overflows.
PRECISIONS: dict[Precision, tuple[str, str, frozenset[str]]] = {
    "fp32": ("f32", "FP32", frozenset({"f32"})),
    "bf16": ("bf16", "BF16", frozenset({"bf16"})),
    "int8": ("f32", "INT8", frozenset({"i8", "u8"})),
}
LAYERS_OF_WEIGHT = ("Convolution", "FullyConnected", "MatMul", "ScaledDotProductAttention")


def open_session(graph: EncoderGraph, options: SessionOptions) -> EncoderSession:
    """Compile a graph for the CPU, in the precision that `graph.precision` states.

    Raises:
        UsageError: a provider other than the CPU is asked for.
        BackendError: openvino is absent, the CPU or OpenVINO lacks the precision, or another one was compiled.
        BundleError: the graph does not have the input and output of the contract.
    """
    if options.provider != "cpu":
        raise UsageError(f"the backend openvino runs on the CPU, found the provider {options.provider!r}")
    if graph.precision not in PRECISIONS:
        raise BackendError(
            f"{graph.name}: OpenVINO rounds all of a mixed {graph.precision} graph to {graph.precision}; use "
            f"{', '.join(PRECISIONS)}, or the backend onnxruntime"
        )
    with _no_telemetry():
        openvino = required("openvino", extra="openvino")
    core = openvino.Core()
    hint, capability, _ = PRECISIONS[graph.precision]
    found = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    if capability not in found:
        raise BackendError(f"{graph.name}: this CPU has no {capability} (OpenVINO finds {', '.join(found)}); use fp32")
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": ""}
    if options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        model = _model(core, graph)
        require_contract(graph, _ends(model.inputs), _ends(model.outputs))
        parts = split(openvino, model) if graph.precision == "bf16" else (model,)
        hints = ("f32", hint)[-len(parts) :]
        compiled = [
            core.compile_model(part, DEVICE, {**settings, "INFERENCE_PRECISION_HINT": one})
            for part, one in zip(parts, hints, strict=True)
        ]
    except RuntimeError as error:  # whatever the cause
        raise BackendError(f"{graph.name}: OpenVINO cannot compile it ({_line(error)})") from error
    used = tuple(one.get_property("INFERENCE_PRECISION_HINT").to_string() for one in compiled)
    layers = _layers_of_weight(compiled[-1])
    _require_precision(graph, hints, used, layers)
    description = {
        "backend": "openvino",
        "version": openvino.get_version(),
        "device": str(core.get_property(DEVICE, "FULL_DEVICE_NAME")),
        "precision": graph.precision,
        "layers": ", ".join(f"{kind} {count}" for kind, count in sorted(layers.items())),
        "threads": str(compiled[-1].get_property("INFERENCE_NUM_THREADS")),
    }
    return OpenVinoSession(graph, compiled, description)


class OpenVinoSession:
    """A compiled graph, one part or two, with one inference request each: for one thread at a time."""

    def __init__(self, graph: EncoderGraph, parts: list[Any], description: dict[str, str]) -> None:
        self.graph = graph
        self._requests = [part.create_infer_request() for part in parts]
        self._description = description

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,); see `EncoderSession`."""
        values = [checked_patches(patches, self.graph)]
        try:
            for request in self._requests:
                values = list(request.infer(values, share_inputs=True).values())
        except RuntimeError as error:
            raise BackendError(f"{self.graph.name}: OpenVINO failed ({_line(error)})") from error
        return values[0]

    def start(self, patches: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """See `EncoderSession`; the logits are there when this returns."""
        logits = self.run(patches)
        return lambda: logits

    def describe(self) -> dict[str, str]:
        """See `EncoderSession`; `layers` counts those of weight by the precision that OpenVINO says it runs them in."""
        return dict(self._description)

    def close(self) -> None:
        """Release the compiled graph."""
        self._requests = []


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Import OpenVINO without its telemetry: the import alone leaves an id in the home folder and reports the start.

    OpenVINO takes a stub of its own where the package `openvino_telemetry` is absent, as it is here during the import.
    """
    hidden = "openvino_telemetry"
    if hidden in sys.modules:
        yield
        return
    sys.modules[hidden] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[hidden]


def _model(core: Any, graph: EncoderGraph) -> Any:
    """Read from memory; external data can only be given as files, which are read whole and removed again."""
    if not graph.external:
        return core.read_model(graph.content)
    with tempfile.TemporaryDirectory(prefix="lsd-") as folder:
        for name, content in graph.external.items():
            if Path(name).name != name:
                raise BackendError(f"{graph.name}: external data must lie beside the graph, found {name!r}")
            (Path(folder) / name).write_bytes(content)
        (Path(folder) / "graph.onnx").write_bytes(graph.content)
        core.set_property({"ENABLE_MMAP": False})
        return core.read_model(Path(folder) / "graph.onnx")


def _layers_of_weight(compiled: Any) -> Counter[str]:
    """Precision -> number of convolutions and matrix products, as the compiled layers' `runtimePrecision` says."""
    kinds: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ops():
        told = layer.get_rt_info()
        if "layerType" in told and told["layerType"].astype(str) in LAYERS_OF_WEIGHT:
            kinds[told["runtimePrecision"].astype(str).lower()] += 1
    return kinds


def _require_precision(
    graph: EncoderGraph, hints: tuple[str, ...], used: tuple[str, ...], layers: Counter[str]
) -> None:
    """Refuse what was compiled unless every layer has the precision asked for; of an int8 graph, one at least."""
    wanted = PRECISIONS[graph.precision][2]
    fits = bool(set(layers) & wanted) if graph.precision == "int8" else set(layers) <= wanted
    if used != hints or not fits:
        found = ", ".join(f"{kind} {count}" for kind, count in sorted(layers.items())) or "none"
        raise BackendError(
            f"{graph.name}: asked OpenVINO for {graph.precision} (hint {hints[-1]}), it compiled hint {used[-1]} and "
            f"layers {found}; use another precision on this CPU"
        )


def _ends(ports: list[Any]) -> dict[str, str]:
    """Name -> type and shape."""
    ends = {}
    for port in ports:
        kind = port.get_element_type().to_string()
        shape = tuple(axis.to_string() for axis in port.get_partial_shape())
        ends[port.get_any_name()] = described(kind.replace("f32", "float32").replace("f16", "float16"), shape)
    return ends


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
