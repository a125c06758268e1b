"""A stand-in for a Triton server: enough of its Python module to run the chain's model and the graphs it asks.

It does with a model repository what the documentation of Triton's python backend says; no server was ever seen by it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tensor:
    """A named array; the server hands out copies that must not be written to."""

    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        array = self.array.copy()
        array.flags.writeable = False
        return array


@dataclass(frozen=True)
class TritonError:
    text: str

    def message(self) -> str:
        return self.text


@dataclass(frozen=True)
class InferenceResponse:
    output_tensors: list[Tensor]
    error_: TritonError | None = None

    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        object.__setattr__(self, "output_tensors", output_tensors)
        object.__setattr__(self, "error_", error)

    def has_error(self) -> bool:
        return self.error_ is not None

    def error(self) -> TritonError | None:
        return self.error_


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    inputs: list[Tensor]


@dataclass
class Server:
    """The models of a repository. asked: (model, number of patches) of every request between models."""

    repository: Path
    asked: list[tuple[str, int]] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def exec(self, model: str, outputs: list[str], inputs: list[Tensor]) -> InferenceResponse:
        import onnxruntime

        (patches,) = inputs
        self.asked.append((model, len(patches.array)))
        config = (self.repository / model / "config.pbtxt").read_text()
        most = int(re.search(r"max_batch_size: (\d+)", config)[1])
        if model in self.down or len(patches.array) > most:
            return InferenceResponse([], TritonError(f"{model} is not ready, or takes {most} patches"))
        path = self.repository / model / "1" / "model.onnx"  # from the file, as Triton does: external data lies beside
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        logit = session.run(outputs, {patches.name: patches.array})[0]
        assert "reshape { shape: [ ] }" in config
        return InferenceResponse([Tensor(outputs[0], logit.reshape(-1, 1))])

    def module(self) -> ModuleType:
        """`triton_python_backend_utils` of this server."""
        server = self

        class InferenceRequest:
            def __init__(self, model_name: str, requested_output_names: list[str], inputs: list[Tensor], **rest: Any):
                assert rest == {"preferred_memory": ("cpu", 0)}  # else a GPU's answer could not be read as numpy
                self.sent = model_name, requested_output_names, inputs

            def exec(self) -> InferenceResponse:
                return server.exec(*self.sent)

        made = ModuleType("triton_python_backend_utils")
        made.Tensor, made.TritonError, made.InferenceResponse = Tensor, TritonError, InferenceResponse
        made.InferenceRequest = InferenceRequest
        made.TRITONSERVER_MEMORY_CPU = "cpu"
        made.PreferredMemory = lambda kind, device: (kind, device)
        made.get_input_tensor_by_name = lambda request, name: _named(request.inputs, name)
        made.get_output_tensor_by_name = lambda response, name: _named(response.output_tensors, name)
        return made

    def load(self, model: str, monkeypatch: Any) -> Any:
        """The python model of that name, initialised."""
        monkeypatch.setitem(sys.modules, "triton_python_backend_utils", self.module())
        folder = self.repository / model
        spec = importlib.util.spec_from_file_location("model", folder / "1" / "model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded = module.TritonPythonModel()
        config = {"parameters": {k: {"string_value": v} for k, v in parameters(folder / "config.pbtxt").items()}}
        where = {"model_repository": str(folder), "model_version": "1"}
        loaded.initialize({"model_config": json.dumps(config), **where})
        return loaded


def parameters(config: Path) -> dict[str, str]:
    """The parameters of a config.pbtxt."""
    found = re.findall(r'key: "(\w+)"\n  value \{ string_value: "(.*)" \}', config.read_text())
    return {key: json.loads(f'"{value}"') for key, value in found}


def _named(tensors: list[Tensor], name: str) -> Tensor:
    return next(one for one in tensors if one.name == name)
