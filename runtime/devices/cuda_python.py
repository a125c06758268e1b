"""The device through cuda-python (`cuda.bindings.runtime`).

Each of its functions returns an error code first, which nothing but the caller looks at: here every one is checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lsd.runtime.backends.packages import required
from lsd.runtime.devices.base import DeviceMemory, DeviceProperties, Event, Graph, PinnedArray, Stream
from lsd.runtime.errors import BackendError

FIRST = 0  # CUDA_VISIBLE_DEVICES chooses another GPU


def open_device() -> CudaPython:
    """The first GPU.

    Raises:
        BackendError: cuda-python is absent, or there is no driver, one too old for it, or no GPU.
    """
    runtime: Any = required("cuda.bindings.runtime", extra="tensorrt")
    version = str(required("cuda.bindings", extra="tensorrt").__version__)
    error, count = runtime.cudaGetDeviceCount()
    if error == runtime.cudaError_t.cudaErrorInsufficientDriver:
        driver, built_for = (
            _release(asked()) for asked in (runtime.cudaDriverGetVersion, runtime.cudaRuntimeGetVersion)
        )
        if driver == "0.0":
            raise BackendError(f"no CUDA driver here ({_name(runtime, error)}); install the NVIDIA driver")
        raise BackendError(
            f"the driver supports CUDA {driver}, cuda-python {version} was built for CUDA {built_for} "
            f'({_name(runtime, error)}); update the driver, or pip install "cuda-python=={driver}.*"'
        )
    if error != runtime.cudaError_t.cudaSuccess or count == 0:
        raise BackendError(f"no CUDA device here ({_name(runtime, error)}); check nvidia-smi and CUDA_VISIBLE_DEVICES")
    return CudaPython(runtime, version)


class CudaPython:
    """See `DeviceLibrary`. The CUDA runtime keeps the primary context; a thread only has to name the device."""

    name = "cuda-python"

    def __init__(self, runtime: Any, version: str) -> None:
        self.version = version
        self._cuda = runtime

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current in this thread."""
        self._do("cudaSetDevice", FIRST)
        yield

    def properties(self) -> DeviceProperties:
        """Facts about the GPU."""
        found = self._do("cudaGetDeviceProperties", FIRST)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return DeviceProperties(name.rstrip("\0"), f"sm{found.major}{found.minor}", int(found.totalGlobalMem) >> 20)

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Device memory, not initialised."""
        address = int(self._do("cudaMalloc", size_bytes))
        return DeviceMemory(address, size_bytes, address)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> PinnedArray:
        """Page-locked host memory, not initialised."""
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._do("cudaMallocHost", size_bytes))
        view = memoryview((ctypes.c_byte * size_bytes).from_address(address)).cast("B")
        return PinnedArray(np.frombuffer(view, dtype).reshape(shape), address)

    def stream(self) -> Stream:
        """A stream that does not wait for the default one."""
        handle = self._do("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        return Stream(int(handle), handle)

    def event(self) -> Event:
        """An event that takes the time."""
        return Event(self._do("cudaEventCreate"))

    def copy_in(self, memory: DeviceMemory, source: PinnedArray, stream: Stream) -> None:
        """Queue a copy to the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", memory.address, source.handle, source.array.nbytes, kind, stream.handle)

    def copy_out(self, target: PinnedArray, memory: DeviceMemory, stream: Stream) -> None:
        """Queue a copy from the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", target.handle, memory.address, target.array.nbytes, kind, stream.handle)

    def record(self, event: Event, stream: Stream) -> None:
        """Queue the event."""
        self._do("cudaEventRecord", event.handle, stream.handle)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two recorded events."""
        self._do("cudaEventSynchronize", end.handle)
        return float(self._do("cudaEventElapsedTime", start.handle, end.handle))

    def wait(self, stream: Stream) -> None:
        """Block until the stream is done."""
        self._do("cudaStreamSynchronize", stream.handle)

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what `work` queues; a failure ends the capture, so that the stream can be used again."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do("cudaStreamBeginCapture", stream.handle, mode)
        try:
            work()
        except BaseException:
            self._cuda.cudaStreamEndCapture(stream.handle)
            raise
        captured = self._do("cudaStreamEndCapture", stream.handle)
        try:
            return Graph(self._do("cudaGraphInstantiateWithFlags", captured, 0))
        finally:
            self._do("cudaGraphDestroy", captured)

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Queue captured work."""
        self._do("cudaGraphLaunch", graph.handle, stream.handle)

    def free(self, *things: DeviceMemory | PinnedArray | Stream | Event | Graph) -> None:
        """Release in the given order."""
        release = {
            DeviceMemory: "cudaFree",
            PinnedArray: "cudaFreeHost",
            Stream: "cudaStreamDestroy",
            Event: "cudaEventDestroy",
            Graph: "cudaGraphExecDestroy",
        }
        for thing in things:
            self._do(release[type(thing)], thing.handle)

    def close(self) -> None:
        """Nothing to let go of: the runtime keeps the primary context until the process ends."""

    def _do(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime and take the error code off its result."""
        error, *values = getattr(self._cuda, function)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise BackendError(f"CUDA: {function} failed with {_name(self._cuda, error)}")
        return values[0] if values else None


def _name(runtime: Any, error: Any) -> str:
    """`cudaErrorInsufficientDriver 35: CUDA driver version is insufficient for CUDA runtime version`."""
    _, text = runtime.cudaGetErrorString(error)
    return f"{error.name} {int(error)}: {text.decode() if isinstance(text, bytes) else text}"


def _release(result: tuple[Any, int]) -> str:
    """`13.4` of 13040, as CUDA counts; `0.0` where it does not know."""
    number = result[1] or 0
    return f"{number // 1000}.{number % 1000 // 10}"
