"""The order of calls of the TensorRT backend, with stand-ins for GPU and library: a GPU is not needed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tensorrt_bench import GRAPH, Bench, Engine

from lsd.runtime.backends import tensorrt as backend
from lsd.runtime.backends.base import SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.engine_file import read_report
from lsd.runtime.errors import BackendError, BundleError, BundleHashError, GateError, UsageError

ONE_CALL = ["copy in", "execute", "copy out", "wait"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def numbered(n):
    return np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 64, 64), np.float32)


def test_copy_execute_copy_back_wait(bench):
    bench.add()
    session = bench.open()
    np.testing.assert_array_equal(session.run(numbered(4)), 4096 * np.arange(4))
    bench.device.calls.clear()
    np.testing.assert_array_equal(session.run(numbered(4)[::-1]), 4096 * np.arange(4)[::-1])
    assert bench.device.calls == ONE_CALL


def test_buffers_are_made_once_for_a_batch_size(bench):
    bench.add()
    session = bench.open()
    for _ in range(3):
        session.run(numbered(4))
    assert (bench.device.calls.count("pinned"), bench.device.calls.count("allocate")) == (2, 2)
    np.testing.assert_array_equal(session.run(numbered(6)), 4096 * np.arange(6))
    assert (bench.device.calls.count("pinned"), bench.device.calls.count("allocate")) == (4, 4)


def test_a_result_is_not_overwritten_by_the_next_call(bench):
    bench.add()
    session = bench.open()
    first = session.run(numbered(4))
    session.run(numbered(4) * 0)
    np.testing.assert_array_equal(first, 4096 * np.arange(4))


def test_fewer_than_the_engine_takes_are_filled_up(bench):
    bench.engine_kind = type("Fixed", (Engine,), {"profile": (8, 8, 8)})
    bench.add(profile=(8, 8, 8))
    session = bench.open()
    session.run(numbered(8))
    assert session.run(numbered(3)).tolist() == [0, 4096, 8192]
    assert bench.device.calls.count("pinned") == 2  # one shape
    assert not session._lanes[0].buffers.patches.array[3:].any()


def test_more_than_the_engine_takes_are_refused(bench):
    bench.add()
    with pytest.raises(
        UsageError, match=r"takes 1 to 16 patches a call, found 17; .*lsd-export engine BUNDLE --batch 1,17,17"
    ):
        bench.open().run(numbered(17))


def test_a_captured_graph_is_replayed(bench):
    bench.add()
    session = bench.open(cuda_graph=True)
    np.testing.assert_array_equal(session.run(numbered(4)), 4096 * np.arange(4))
    assert bench.device.calls.index("execute") < bench.device.calls.index("capture")  # the first call allocates
    bench.device.calls.clear()
    np.testing.assert_array_equal(session.run(numbered(4) * 2), 8192 * np.arange(4))
    assert bench.device.calls == ["launch", "wait"]
    assert session.describe()["cuda_graph"] == "yes"


def test_a_graph_is_captured_unless_told_otherwise(bench):
    bench.add()
    session = open_session("tensorrt", GRAPH, SessionOptions(engines=bench.folder))
    session.run(numbered(4))
    assert bench.device.calls.count("capture") == 1


def test_work_that_cannot_be_captured_is_queued_each_time(bench):
    bench.add()
    bench.device.captures_nothing = True
    session = bench.open(cuda_graph=True)
    for _ in range(2):
        np.testing.assert_array_equal(session.run(numbered(4)), 4096 * np.arange(4))
    assert session.describe()["cuda_graph"] == "no"
    session.close()
    assert bench.device.live == []


def test_the_next_call_is_queued_while_one_is_under_way(bench):
    bench.add()
    session = bench.open()
    patches = numbered(4)
    first = session.start(patches)
    patches[:] = 9
    second = session.start(patches)
    assert bench.device.calls.count("wait") == 2  # of the two that prepared the buffers
    with pytest.raises(BackendError, match="2 calls are under way already"):
        session.start(patches)
    np.testing.assert_array_equal(first(), 4096 * np.arange(4))
    third = session.start(numbered(4) * 2)
    np.testing.assert_array_equal(second(), np.full(4, 9 * 4096))
    np.testing.assert_array_equal(third(), 8192 * np.arange(4))
    session.close()
    assert bench.device.live == []


def test_close_frees_everything_once(bench):
    bench.add()
    session = bench.open(cuda_graph=True)
    session.run(numbered(4))
    session.close()
    session.close()
    assert bench.device.live == []
    assert bench.device.calls[-2:] == ["free Stream", "close"]
    with pytest.raises(BackendError, match="the session was closed"):
        session.run(numbered(4))


def test_description(bench):
    path = bench.add()
    told = bench.open().describe()
    assert told["device"] == "Fake GPU (sm87)"
    assert told["engine"] == path.name
    assert (told["backend"], told["version"], told["binding"]) == ("tensorrt", "TensorRT 10.3.0", "fake 1.0")
    assert told["layers"] == "fp16 100% (proven, network)"


def test_the_first_load_on_a_gpu_proves_the_engine(bench):
    path = bench.add(state="unproven")
    session = bench.open()
    assert read_report(path)["state"] == "proven"
    assert session.describe()["layers"] == "fp16 100% (proven, inspector)"


def test_an_fp32_engine_under_the_name_fp16_is_refused(bench):
    path = bench.add(state="unproven")
    bench.engine_kind = type("Fp32", (Engine,), {"kind": "Float"})
    with pytest.raises(GateError, match="asked for fp16, found 100% fp32"):
        bench.open()
    assert read_report(path)["state"] == "unproven"
    assert bench.device.closed


def test_an_engine_of_another_gpu_says_built_for_found_and_rebuild(bench):
    bench.add(compute_capability="sm90")
    with pytest.raises(
        BackendError,
        match=r"built for TensorRT 10.3.0, sm90.*here is TensorRT 10.3.0, sm87.*Rebuild: lsd-export engine",
    ):
        bench.open()
    assert bench.device.closed


def test_the_nearest_of_several_is_named(bench):
    bench.add(precision="fp32")
    bench.add(version="10.2.0")
    with pytest.raises(BackendError, match=r"built for TensorRT 10.2.0, sm87, fp16"):
        bench.open()


def test_of_those_that_fit_the_largest_is_taken(bench):
    bench.add(profile=(1, 1, 1))
    large = bench.add()
    bench.add(precision="fp32", profile=(1, 8, 64))
    (bench.folder / "renamed.plan").touch()
    assert bench.open().describe()["engine"] == large.name


def test_no_engine_of_this_graph_says_how_to_build_it(bench):
    bench.add(source_sha256="cd" * 32)
    with pytest.raises(
        BackendError, match=r"holds no engine of this graph for TensorRT 10.3.0.*lsd-export engine BUNDLE"
    ):
        bench.open()


def test_a_plan_that_the_library_refuses_is_one_line_with_the_command(bench):
    path = bench.add()
    bench.refuses = True
    with pytest.raises(
        BackendError, match=rf"{re.escape(str(path))}: TensorRT 10.3.0 cannot load .*Rebuild: lsd-export"
    ):
        bench.open()
    assert bench.device.closed


def test_a_changed_plan_is_not_loaded(bench):
    bench.add().write_bytes(b"other")
    with pytest.raises(BundleHashError, match="was changed since it was built"):
        bench.open()


def test_an_engine_of_another_contract_is_refused(bench):
    bench.add()
    bench.engine_kind = type("Other", (Engine,), {"output": "score"})
    with pytest.raises(BundleError, match=r"expected .*logit float32 \(n\), found .*score float32 \(n\)"):
        bench.open()


def test_a_run_that_fails_is_an_error_and_frees_its_buffers(bench):
    bench.add()
    bench.engine_kind = type("Failing", (Engine,), {"fails": True})
    session = bench.open()
    for _ in range(2):
        with pytest.raises(BackendError, match="did not run"):
            session.run(numbered(2))
    session.close()
    assert bench.device.live == []


@pytest.fixture
def rtx(tmp_path, monkeypatch):
    kind = type("Compiling", (Engine,), {"compiles": True})
    bench = Bench(tmp_path, monkeypatch, kind, flavour="tensorrt-rtx", version="1.7.1.116")
    return bench, bench.add(compute_capability="any")


def test_compiled_kernels_are_kept_beside_the_plan(rtx):
    bench, path = rtx
    cache = path.with_name(path.name + ".sm87.cache")
    bench.open().run(numbered(2))
    assert cache.read_bytes() == b"compiled"
    bench.open()
    assert bench.engine.config.cache.loaded == b"compiled"
    assert bench.engine.config.dynamic_shapes_kernel_specialization_strategy == "eager"


def test_a_cache_of_another_driver_is_replaced(rtx):
    bench, path = rtx
    cache = path.with_name(path.name + ".sm87.cache")
    cache.write_bytes(b"of another driver")
    bench.open().run(numbered(2))
    assert cache.read_bytes() == b"compiled"


def test_a_library_that_does_not_compile_keeps_nothing(bench):
    bench.add()
    bench.open().run(numbered(2))
    assert not list(bench.folder.glob("*.cache"))


def test_no_driver_is_one_line_with_every_reason(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    bench.add()
    reason = "no GPU can be used: pycuda: not installed; cuda-python: no CUDA driver here"

    def refuse(name):
        raise BackendError(reason)

    monkeypatch.setattr(backend, "open_device", refuse)
    with pytest.raises(BackendError, match="cuda-python: no CUDA driver here"):
        open_session("tensorrt", GRAPH, SessionOptions(engines=tmp_path))


def test_the_real_tensorrt_rtx_has_what_is_called():
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX, which loads without a driver")
    calls = {
        trt.ICudaEngine: "create_runtime_config create_execution_context get_tensor_profile_shape num_io_tensors "
        "get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape",
        trt.IExecutionContext: "set_input_shape set_tensor_address execute_async_v3",
        trt.IRuntimeConfig: "create_runtime_cache set_runtime_cache dynamic_shapes_kernel_specialization_strategy",
        trt.IRuntimeCache: "deserialize serialize",
        trt.DynamicShapesKernelSpecializationStrategy: "EAGER",
        trt.TensorIOMode: "INPUT",
    }
    assert [(kind, name) for kind, names in calls.items() for name in names.split() if not hasattr(kind, name)] == []
    assert str(trt.DataType.FLOAT) == "DataType.FLOAT"
