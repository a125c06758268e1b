from __future__ import annotations

import builtins
import importlib
import subprocess
import sys

import pytest

from lsd.runtime.backends import registry
from lsd.runtime.backends.base import PRECISIONS, EncoderGraph, SessionOptions
from lsd.runtime.backends.packages import required
from lsd.runtime.errors import BackendError, UsageError

GRAPH = EncoderGraph("bundle: encoders/none.onnx", b"", {}, "0" * 64, ("B02",), "fp32")


def test_every_backend_has_open_session():
    assert list(registry.BACKENDS) == ["onnxruntime", "openvino", "tensorrt"]
    for module in registry.BACKENDS.values():
        assert callable(importlib.import_module(module).open_session)


def test_an_unknown_backend_names_the_nearest():
    with pytest.raises(UsageError, match="unknown backend 'onnx_runtime', did you mean 'onnxruntime'"):
        registry.open_session("onnx_runtime", GRAPH)
    with pytest.raises(UsageError, match="known: onnxruntime, openvino, tensorrt"):
        registry.open_session("zzz", GRAPH)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_missing_package_says_what_to_install(monkeypatch, backend):
    monkeypatch.delitem(sys.modules, backend, raising=False)
    monkeypatch.setattr(importlib, "import_module", without(backend))
    monkeypatch.setattr("lsd.runtime.backends.packages.importlib.import_module", without(backend))
    with pytest.raises(BackendError, match=rf'{backend} is not installed: pip install "lsd-edge\[{backend}\]"'):
        registry.open_session(backend, GRAPH)


def test_tensorrt_needs_its_engines():
    with pytest.raises(UsageError, match="--engines FOLDER"):
        registry.open_session("tensorrt", GRAPH, SessionOptions())


def test_a_package_that_does_not_load_tells_why(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("raise ImportError('libbroken.so.1: cannot open shared object file')")
    (tmp_path / "needing_library.py").write_text("import needed_but_absent")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"installed but does not load \(libbroken.so.1"):
        required("broken_library", "extra")
    with pytest.raises(
        BackendError, match=r'needing_library is installed but needs needed_but_absent: pip .*\[extra\]"'
    ):
        required("needing_library", "extra")


def test_no_library_is_imported_with_the_modules():
    names = [*registry.BACKENDS.values(), "lsd.runtime.encoders", "lsd.runtime.devices.choose"]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda", "pycuda", "onnx", "torch"}


def test_precisions_are_named_once():
    assert PRECISIONS == ("fp32", "fp16", "bf16", "int8")


def without(package):
    """`import_module` of a machine on which the package is not installed."""
    original = importlib.import_module

    def import_module(name, *arguments):
        if name.split(".")[0] == package:
            raise builtins.ModuleNotFoundError(f"No module named {package!r}", name=package)
        return original(name, *arguments)

    return import_module
