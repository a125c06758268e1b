from __future__ import annotations

import re
import sys
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from cuda_bindings import CudaRuntime, ErrorCode, PyCudaDriver

from lsd.runtime.devices import choose, cuda_python, pycuda
from lsd.runtime.errors import BackendError, UsageError


def with_cuda_python(monkeypatch, runtime):
    modules = {"cuda.bindings.runtime": runtime, "cuda.bindings": SimpleNamespace(__version__="13.4.4")}
    monkeypatch.setattr(cuda_python, "required", lambda name, extra: modules[name])
    return runtime


def with_pycuda(monkeypatch, driver):
    package = ModuleType("pycuda")
    package.VERSION_TEXT = "2026.1"
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def without_pycuda(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)


@pytest.fixture(params=["cuda-python", "pycuda"])
def device(request, monkeypatch):
    if request.param == "cuda-python":
        with_cuda_python(monkeypatch, CudaRuntime())
    else:
        with_pycuda(monkeypatch, PyCudaDriver())
    return choose.open_device(request.param)


def test_a_round_trip_through_device_memory(device):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    with device.current():
        source, target = device.pinned((3, 4)), device.pinned((3, 4), np.float32)
        memory, stream = device.allocate(values.nbytes), device.stream()
        source.array[:] = values
        target.array[:] = 0
        device.copy_in(memory, source, stream)
        device.copy_out(target, memory, stream)
        device.wait(stream)
        np.testing.assert_array_equal(target.array, values)
        assert (memory.size_bytes, stream.address) == (48, 7)
        device.free(memory, source, target, stream)
    device.close()


def test_facts_about_the_gpu(device):
    with device.current():
        found = device.properties()
    assert (found.name, found.compute_capability, found.total_memory_mb) == ("Test GPU", "sm87", 8192)


def test_events_take_the_time(device):
    with device.current():
        stream, start, end = device.stream(), device.event(), device.event()
        device.record(start, stream)
        device.record(end, stream)
        assert device.elapsed_ms(start, end) == 1.5
        device.free(start, end)


def test_captured_work_is_launched(device):
    done = []
    with device.current():
        stream = device.stream()
        graph = device.capture(stream, lambda: done.append(1))
        device.launch(graph, stream)
        device.free(graph)
    assert done == [1]


def test_a_failed_capture_is_ended(monkeypatch):
    runtime = with_cuda_python(monkeypatch, CudaRuntime())
    driver = with_pycuda(monkeypatch, PyCudaDriver())
    for name, calls, ended in (
        ("cuda-python", runtime.calls, "cudaStreamEndCapture"),
        ("pycuda", driver.calls, "end_capture"),
    ):
        device = choose.open_device(name)
        with device.current(), pytest.raises(ZeroDivisionError):
            device.capture(device.stream(), lambda: 1 / 0)
        assert ended in calls


def test_the_primary_context_is_retained_and_given_back(monkeypatch):
    driver = with_pycuda(monkeypatch, PyCudaDriver())
    device = choose.open_device("pycuda")
    with pytest.raises(KeyError), device.current():
        raise KeyError
    device.close()
    assert driver.calls == ["init", "retain_primary_context", "push", "pop", "detach"]


def test_every_error_of_cuda_python_is_looked_at(monkeypatch):
    with_cuda_python(monkeypatch, CudaRuntime({"cudaMalloc": ErrorCode.cudaErrorMemoryAllocation}))
    device = choose.open_device("cuda-python")
    with (
        device.current(),
        pytest.raises(BackendError, match="cudaMalloc failed with cudaErrorMemoryAllocation 2: in words"),
    ):
        device.allocate(1 << 40)


def test_errors_of_pycuda_are_one_line(monkeypatch):
    with_pycuda(monkeypatch, PyCudaDriver(fails=["mem_alloc"]))
    device = choose.open_device("pycuda")
    with device.current(), pytest.raises(BackendError, match=r"cannot allocate 1,024 bytes \(mem_alloc failed: out of"):
        device.allocate(1024)


def test_pycuda_ends_what_is_freed_while_the_context_is_current(monkeypatch):
    with_pycuda(monkeypatch, PyCudaDriver())
    device = choose.open_device("pycuda")
    with device.current():
        stream, event = device.stream(), device.event()
        kept = [weakref.ref(stream.handle[0]), weakref.ref(event.handle[0])]
        device.free(event, stream)
        assert [one() for one in kept] == [None, None]


def test_pycuda_without_graphs_says_so(monkeypatch):
    with_pycuda(monkeypatch, PyCudaDriver(graphs=False))
    device = choose.open_device("pycuda")
    with device.current(), pytest.raises(BackendError, match=r"pycuda 2026.1 knows no CUDA graphs; use cuda-python"):
        device.capture(device.stream(), lambda: None)


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        (CudaRuntime({"cudaGetDeviceCount": ErrorCode.cudaErrorInsufficientDriver}, driver=0), "no CUDA driver here"),
        (
            CudaRuntime({"cudaGetDeviceCount": ErrorCode.cudaErrorInsufficientDriver}, driver=12020),
            r"driver supports CUDA 12.2, cuda-python 13.4.4 was built for CUDA 13.4 .* \"cuda-python==12.2.\*\"",
        ),
        (CudaRuntime({"cudaGetDeviceCount": ErrorCode.cudaErrorNoDevice}), "no CUDA device .*cudaErrorNoDevice 100"),
        (CudaRuntime(count=0), "no CUDA device here"),
    ],
)
def test_no_gpu_is_one_clear_line(monkeypatch, runtime, message):
    with_cuda_python(monkeypatch, runtime)
    with pytest.raises(BackendError, match=message) as told:
        choose.open_device("cuda-python")
    assert "\n" not in str(told.value)


def test_pycuda_comes_first(monkeypatch):
    with_cuda_python(monkeypatch, CudaRuntime())
    with_pycuda(monkeypatch, PyCudaDriver())
    assert choose.open_device().name == "pycuda"
    without_pycuda(monkeypatch)
    assert choose.open_device().name == "cuda-python"


def test_the_reason_of_each_refusal_is_kept(monkeypatch):
    without_pycuda(monkeypatch)
    with_cuda_python(monkeypatch, CudaRuntime(count=0))
    with pytest.raises(
        BackendError, match=r"no GPU can be used: pycuda: .*not installed.*; cuda-python: no CUDA device"
    ):
        choose.open_device()


def test_what_was_asked_for_is_not_replaced(monkeypatch):
    without_pycuda(monkeypatch)
    with_cuda_python(monkeypatch, CudaRuntime())
    with pytest.raises(BackendError, match="pycuda"):
        choose.open_device("pycuda")


def test_a_pycuda_that_does_not_load_tells_why(tmp_path, monkeypatch):
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(BackendError, match=r"pycuda does not load \(libcuda.so.1"):
        pycuda.open_device()
    for name in ("pycuda", "pycuda.driver"):
        sys.modules.pop(name, None)


def test_an_unknown_binding_names_the_nearest():
    with pytest.raises(UsageError, match="unknown CUDA binding 'pycuda2', did you mean 'pycuda'"):
        choose.open_device("pycuda2")


def test_the_real_cuda_python_without_a_driver():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python, which loads without a driver")
    if runtime.cudaGetDeviceCount()[0] == 0:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match=r"no CUDA d.*cudaError|the driver supports CUDA"):
        cuda_python.open_device()


def test_the_real_cuda_python_has_what_is_called():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python, which loads without a driver")
    source = Path(cuda_python.__file__).read_text(encoding="utf-8")
    called = set(re.findall(r"cuda[A-Z]\w+", source)) - {"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"}
    called -= {"cudaStreamCaptureModeThreadLocal", "cudaSuccess", "cudaErrorInsufficientDriver"}
    assert len(called) > 20
    assert [name for name in sorted(called) if not hasattr(runtime, name)] == []
    assert runtime.cudaError_t.cudaErrorInsufficientDriver == 35
    assert runtime.cudaMemcpyKind.cudaMemcpyHostToDevice != runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert hasattr(runtime.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal")
