"""Stand-ins for a GPU: `cuda.bindings.runtime`, `pycuda.driver`, a device library; each keeps the order of its calls.

Device memory is host memory here, and queued work runs when the stream is waited for, as it would on a GPU.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from enum import IntEnum
from types import SimpleNamespace

import numpy as np

from lsd.runtime.devices.base import DeviceMemory, DeviceProperties, Graph, PinnedArray, Stream
from lsd.runtime.errors import BackendError

ErrorCode = IntEnum(
    "cudaError_t",
    {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2, "cudaErrorInsufficientDriver": 35, "cudaErrorNoDevice": 100},
)
_NAMES = {
    "cudaError_t": ErrorCode,
    "cudaStreamNonBlocking": 1,
    "cudaMemcpyKind": SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out"),
    "cudaStreamCaptureMode": SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread"),
}


class CudaRuntime:
    """`cuda.bindings.runtime` with one GPU; `errors`: function name -> error it returns. Calls run at once."""

    def __init__(self, errors=None, driver=13000, count=1):
        self.errors = errors or {}
        self.driver, self.count = driver, count
        self.calls = []
        self.memory = {}

    def __getattr__(self, name):
        if name in _NAMES:
            return _NAMES[name]
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            if name in self.errors:
                return (self.errors[name], None)
            return (ErrorCode.cudaSuccess, *self._done(name, arguments))

        return call

    def _done(self, name, arguments):
        if name == "cudaGetDeviceCount":
            return (self.count,)
        if name in ("cudaDriverGetVersion", "cudaRuntimeGetVersion"):
            return (self.driver if name.startswith("cudaDriver") else 13040,)
        if name == "cudaGetErrorString":
            return (b"in words",)
        if name == "cudaGetDeviceProperties":
            return (SimpleNamespace(name=b"Test GPU", major=8, minor=7, totalGlobalMem=8 << 30),)
        if name in ("cudaMalloc", "cudaMallocHost"):
            block = ctypes.create_string_buffer(arguments[0])
            self.memory[ctypes.addressof(block)] = block
            return (ctypes.addressof(block),)
        if name in ("cudaFree", "cudaFreeHost"):
            del self.memory[arguments[0]]
        if name == "cudaMemcpyAsync":
            ctypes.memmove(arguments[0], arguments[1], arguments[2])
        made = {"cudaStreamCreateWithFlags": 7, "cudaStreamEndCapture": "captured", "cudaEventElapsedTime": 1.5}
        made |= {"cudaEventCreate": "event", "cudaGraphInstantiateWithFlags": "graph"}
        return (made[name],) if name in made else ()


class PyCudaDriver:
    """`pycuda.driver` with one GPU; `fails`: names of functions that raise its error."""

    class Error(Exception):
        pass

    def __init__(self, fails=(), count=1, graphs=True):
        self.fails, self.calls = fails, []
        driver = self

        def step(name):
            driver.calls.append(name)
            if name in driver.fails:
                raise driver.Error(f"{name} failed: out of memory")

        class Context:
            def push(self):
                step("push")

            @staticmethod
            def pop():
                step("pop")

            def detach(self):
                step("detach")

        class Device:
            def __init__(self, number):
                assert number == 0

            @staticmethod
            def count():
                return count

            def retain_primary_context(self):
                step("retain_primary_context")
                return Context()

            def make_context(self):
                raise AssertionError("a context of its own is out of TensorRT's reach")

            def compute_capability(self):
                return (8, 7)

            def name(self):
                return "Test GPU"

            def total_memory(self):
                return 8 << 30

        class Allocation:
            def __init__(self, size_bytes):
                self.block = ctypes.create_string_buffer(size_bytes)

            def __int__(self):
                return ctypes.addressof(self.block)

            def free(self):
                step("free")

        class Pinned(np.ndarray):
            def free(self):
                step("free pinned")

        class PyStream:
            handle = 7

            def synchronize(self):
                step("synchronize")

            if graphs:

                def begin_capture(self):
                    step("begin_capture")

                def end_capture(self):
                    step("end_capture")
                    return SimpleNamespace(instantiate=lambda: SimpleNamespace(launch=lambda stream: step("launch")))

        class Event:
            def record(self, stream):
                step("record")

            def synchronize(self):
                step("synchronize event")

            def time_since(self, start):
                return 1.5

        def mem_alloc(size_bytes):
            step("mem_alloc")
            return Allocation(size_bytes)

        def copy_in(address, array, stream):
            step("copy in")
            ctypes.memmove(address, array.ctypes.data, array.nbytes)

        def copy_out(array, address, stream):
            step("copy out")
            ctypes.memmove(array.ctypes.data, address, array.nbytes)

        self.Context, self.Device, self.Stream, self.Event = Context, Device, PyStream, Event
        self.init = lambda: step("init")
        self.mem_alloc = mem_alloc
        self.pagelocked_empty = lambda shape, dtype: np.empty(shape, dtype).view(Pinned)[...]
        self.memcpy_htod_async, self.memcpy_dtoh_async = copy_in, copy_out


class FakeDevice:
    """A `DeviceLibrary`. Work is queued and runs in `wait`, so that a forgotten wait shows as old results."""

    name, version = "fake", "1.0"
    captures_nothing = False

    def __init__(self, compute_capability="sm87"):
        self.calls = []
        self.queues = {}  # of each stream
        self.memory = {}
        self.live = []
        self.inside = 0
        self.capturing = None
        self.compute_capability = compute_capability
        self.closed = False

    def step(self, name):
        assert self.inside or name == "close", f"{name} outside of current()"
        self.calls.append(name)

    @contextmanager
    def current(self):
        self.inside += 1
        yield
        self.inside -= 1

    def properties(self):
        self.step("properties")
        return DeviceProperties("Fake GPU", self.compute_capability, 8192)

    def allocate(self, size_bytes):
        self.step("allocate")
        address = 4096 * (len(self.memory) + 1)
        self.memory[address] = np.zeros(size_bytes, np.uint8)
        return self._made(DeviceMemory(address, size_bytes, address))

    def pinned(self, shape, dtype=np.float32):
        self.step("pinned")
        return self._made(PinnedArray(np.full(shape, np.nan, dtype), object()))

    def stream(self):
        self.step("stream")
        address = 7 + len(self.queues)
        self.queues[address] = []
        return self._made(Stream(address, object()))

    def copy_in(self, memory, source, stream):
        assert source.array.nbytes <= memory.size_bytes
        self.enqueue(
            lambda: self._bytes(memory.address, source.array).__setitem__(slice(None), source.array),
            "copy in",
            stream.address,
        )

    def copy_out(self, target, memory, stream):
        self.enqueue(
            lambda: target.array.__setitem__(slice(None), self._bytes(memory.address, target.array)),
            "copy out",
            stream.address,
        )

    def enqueue(self, work, name, stream):
        self.step(name)
        (self.queues[stream] if self.capturing is None else self.capturing).append(work)

    def wait(self, stream):
        self.step("wait")
        queue = self.queues[stream.address]
        while queue:
            queue.pop(0)()

    def capture(self, stream, work):
        assert not self.queues[stream.address], "work is still queued"
        if self.captures_nothing:
            raise BackendError("operation not permitted when stream is capturing")
        self.step("capture")
        self.capturing = []
        try:
            work()
            return self._made(Graph(self.capturing))
        finally:
            self.capturing = None

    def launch(self, graph, stream):
        self.step("launch")
        self.queues[stream.address] += graph.handle

    def free(self, *things):
        for thing in things:
            self.step(f"free {type(thing).__name__}")
            self.live.remove(id(thing))

    def close(self):
        self.step("close")
        self.closed = True

    def _made(self, thing):
        self.live.append(id(thing))
        self.kept = [*getattr(self, "kept", []), thing]
        return thing

    def _bytes(self, address, like):
        return self.memory[address][: like.nbytes].view(like.dtype).reshape(like.shape)
