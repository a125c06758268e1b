"""A folder of engines, a device and a TensorRT library, none of them real: the order of the backend's calls is seen."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
from cuda_bindings import FakeDevice

from lsd.runtime.backends import tensorrt as backend
from lsd.runtime.backends.base import EncoderGraph, SessionOptions
from lsd.runtime.backends.tensorrt_library import TensorRTLibrary
from lsd.runtime.engine_file import write_engine
from lsd.runtime.engine_key import EngineKey

BANDS = ("B02", "B03")
GRAPH = EncoderGraph("bundle: encoders/net.0.fp16.onnx", b"onnx", {}, "ab" * 32, BANDS, "fp16")


class Context:
    def __init__(self, engine):
        self.engine = engine
        self.addresses = {}

    def set_input_shape(self, name, shape):
        self.shape = shape
        return engine_takes(self.engine, shape)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        device = self.engine.device
        if self.engine.fails:
            return False

        def work():
            patches = device.memory[self.addresses["patches"]].view(np.float32)
            n = self.shape[0]
            patches = patches[: int(np.prod(self.shape))].reshape(self.shape)
            device.memory[self.addresses["logit"]][: 4 * n].view(np.float32)[:] = patches[:, 1].sum(axis=(1, 2))

        device.enqueue(work, "execute", stream)
        self.engine.cache_content = b"compiled"
        return True


def engine_takes(engine, shape):
    low, _, high = engine.profile
    return low <= shape[0] <= high


class Engine:
    """What `deserialize_cuda_engine` gives: two tensors, one profile, an inspector."""

    num_io_tensors = 2
    kind = "FP16"
    output = "logit"
    profile = (1, 8, 16)
    fails = False
    compiles = False  # as TensorRT-RTX does at the first run

    def __init__(self, device):
        self.device = device
        self.cache_content = b""
        if self.compiles:
            self.create_runtime_config = self._runtime_config

    def get_tensor_name(self, index):
        return ("patches", self.output)[index]

    def get_tensor_dtype(self, name):
        return "DataType.FLOAT"

    def get_tensor_shape(self, name):
        return (-1, 2, 64, 64) if name == "patches" else (-1,)

    def get_tensor_mode(self, name):
        return "input" if name == "patches" else "output"

    def get_tensor_profile_shape(self, name, profile):
        return [(n, 2, 64, 64) for n in self.profile]

    def create_execution_context(self, config=None):
        self.config = config
        return Context(self)

    def create_engine_inspector(self):
        layer = {"Name": "conv", "LayerType": "Convolution", "Inputs": [{"Format/Datatype": self.kind}]}
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": [layer]}))

    def _runtime_config(self):
        engine = self

        class Cache:
            loaded = None

            def deserialize(self, content):
                self.loaded = content
                return content != b"of another driver"

            def serialize(self):
                return engine.cache_content

        config = SimpleNamespace(create_runtime_cache=Cache)
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache)
        return config


class Bench:
    """A folder of engines, a device and a library that gives the engine."""

    def __init__(self, folder, monkeypatch, engine_kind=Engine, flavour="tensorrt", version="10.3.0"):
        self.folder = folder
        self.device = FakeDevice()
        self.engine_kind = engine_kind
        self.refuses = False
        module = SimpleNamespace(
            Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=self.deserialise),
            ILogger=type("ILogger", (), {}),
            TensorIOMode=SimpleNamespace(INPUT="input"),
            LayerInformationFormat=SimpleNamespace(JSON="json"),
            DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
        )
        self.library = TensorRTLibrary(module, flavour, version)
        monkeypatch.setattr(backend, "find_library", lambda: self.library)
        monkeypatch.setattr(backend, "open_device", lambda name: self.device)
        monkeypatch.setattr("lsd.runtime.backends.tensorrt_library.compute_capability", lambda: "sm87")

    def deserialise(self, plan):
        assert self.device.inside, "the engine would land in another context"
        assert plan == b"plan"
        self.engine = None if self.refuses else self.engine_kind(self.device)
        return self.engine

    def add(self, state="proven", **changed):
        stated = {"flavour": self.library.flavour, "version": self.library.version, "compute_capability": "sm87"}
        stated |= {"precision": "fp16", "profile": (1, 8, 16), "source_sha256": GRAPH.sha256}
        key = EngineKey(**{**stated, **changed})
        path = self.folder / key.file_name("net.0")
        report = {"schema_version": 1, "state": state, "shares": {"fp16": 1.0}, "evidence": "network", "layers": []}
        write_engine(path, b"plan", report)
        return path

    def open(self, **how):
        return backend.open_engine(GRAPH, SessionOptions(engines=self.folder), **{"cuda_graph": False, **how})
