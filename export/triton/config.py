"""The text of config.pbtxt: what Triton must know of a model.

The fields are those of Triton's `ModelConfig` (triton-inference-server/common, protobuf/model_config.proto); tests
parse every file written here with its published schema. Not run in a server here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from lsd.runtime.backends.contract import INPUT, OUTPUT
from lsd.runtime.bands import PATCH_SIZE_PX

Device = Literal["cpu", "gpu"]
Backend = Literal["onnxruntime", "tensorrt"]
MODEL_FILE: dict[Backend, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}  # the names Triton looks for
CHAIN_OUTPUTS = {  # name -> type, each (n,), as in lsd.runtime.scores
    "probability": "TYPE_FP32",
    "decision": "TYPE_UINT8",
    "configuration": "TYPE_UINT8",
    "status": "TYPE_UINT8",
}
# The CUDA provider would shorten the factors of float32 products to 10 bits (TF32) and choose convolutions by the
# stopwatch, so that two loads need not agree. 1 is HEURISTIC (onnxruntime_backend, README, "Deprecated Parameters": the
# new place of this setting is overruled as long as a model has any parameters).
_CUDA = """optimization {
  execution_accelerators {
    gpu_execution_accelerator [
      {
        name: "cuda"
        parameters { key: "use_tf32" value: "0" }
      }
    ]
  }
}
"""
_CUDA_PARAMETERS = {"cudnn_conv_algo_search": "1"}


def encoder_config(
    name: str, backend: Backend, bands: tuple[str, ...], max_batch_size: int, device: Device, source_sha256: str
) -> str:
    """Of one graph or plan: `patches` float32 (n, band, 64, 64) in, `logit` float32 (n, 1) out.

    Triton wants an axis beside the batch where the graph has none, hence the reshape. Small requests are joined; one of
    `max_batch_size` patches, as the chain sends them, never is, so that its shape and with it its answer stay the same.

    Args:
        bands: along axis 1. source_sha256: of the ONNX file in the bundle.
    """
    parameters = {"bands": ",".join(bands), "source_sha256": source_sha256}
    cuda = backend == "onnxruntime" and device == "gpu"
    return (
        _head(name, backend, max_batch_size)
        + _tensors("input", [(INPUT, "TYPE_FP32", (len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX), "")])
        + _tensors("output", [(OUTPUT, "TYPE_FP32", (1,), "reshape { shape: [ ] }")])
        + _instances(device)
        + f"dynamic_batching {{\n  preferred_batch_size: [ {max_batch_size} ]\n}}\n"
        + (_CUDA if cuda else "")
        + _parameters(parameters | (_CUDA_PARAMETERS if cuda else {}))
    )


def chain_config(name: str, bands: tuple[str, ...], parameters: Mapping[str, str]) -> str:
    """Of the chain: `patches` float32 (n, band, 64, 64) in, `CHAIN_OUTPUTS` out; any n, which Triton does not split."""
    return (
        _head(name, "python", 0)
        + _tensors("input", [(INPUT, "TYPE_FP32", (-1, len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX), "")])
        + _tensors("output", [(output, kind, (-1,), "") for output, kind in CHAIN_OUTPUTS.items()])
        + _instances("cpu")
        + _parameters({"bands": ",".join(bands), **parameters})
    )


def _head(name: str, backend: str, max_batch_size: int) -> str:
    return f"name: {_quoted(name)}\nbackend: {_quoted(backend)}\nmax_batch_size: {max_batch_size}\n"


def _tensors(field: str, tensors: Iterable[tuple[str, str, tuple[int, ...], str]]) -> str:
    """A list of inputs or outputs: (name, type, dims, more)."""
    listed = [
        f"  {{\n    name: {_quoted(name)}\n    data_type: {kind}\n    dims: [ {', '.join(map(str, dims))} ]\n"
        + (f"    {more}\n" if more else "")
        + "  }"
        for name, kind, dims, more in tensors
    ]
    return f"{field} [\n" + ",\n".join(listed) + "\n]\n"


def _instances(device: Device) -> str:
    return f"instance_group [\n  {{\n    count: 1\n    kind: KIND_{device.upper()}\n  }}\n]\n"


def _parameters(parameters: Mapping[str, str]) -> str:
    return "".join(
        f"parameters {{\n  key: {_quoted(key)}\n  value {{ string_value: {_quoted(value)} }}\n}}\n"
        for key, value in parameters.items()
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
