"""The device through PyCUDA.

The primary context is retained, not a new one made: TensorRT and everything else that speaks the CUDA runtime lives in
that one, and memory of another context would be out of its reach.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lsd.runtime.devices.base import DeviceMemory, DeviceProperties, Event, Graph, PinnedArray, Stream
from lsd.runtime.errors import BackendError

FIRST = 0  # CUDA_VISIBLE_DEVICES chooses another GPU
INSTALL = "pip install pycuda, with the CUDA toolkit at hand to compile it"


def open_device() -> PyCuda:
    """The first GPU.

    Raises:
        BackendError: PyCUDA is absent or does not load (it does not without a driver), or there is no GPU.
    """
    try:
        driver: Any = importlib.import_module("pycuda.driver")
        version = str(importlib.import_module("pycuda").VERSION_TEXT)
    except ModuleNotFoundError as error:
        raise BackendError(f"pycuda is not installed: {INSTALL}") from error
    except ImportError as error:  # libcuda.so.1 comes with the driver
        raise BackendError(
            f"pycuda does not load ({error}); install the NVIDIA driver, or compile pycuda here"
        ) from error
    with _errors(driver, "start"):
        driver.init()
        if driver.Device.count() == 0:
            raise BackendError("no CUDA device here; check nvidia-smi and CUDA_VISIBLE_DEVICES")
        device = driver.Device(FIRST)
        return PyCuda(driver, device, device.retain_primary_context(), version)


class PyCuda:
    """See `DeviceLibrary`."""

    name = "pycuda"

    def __init__(self, driver: Any, device: Any, context: Any, version: str) -> None:
        self.version = version
        self._driver = driver
        self._device = device
        self._context = context

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current in this thread, and the one before it afterwards."""
        with _errors(self._driver, "make the context current"):
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def properties(self) -> DeviceProperties:
        """Facts about the GPU."""
        with _errors(self._driver, "ask the device"):
            major, minor = self._device.compute_capability()
            return DeviceProperties(self._device.name(), f"sm{major}{minor}", int(self._device.total_memory()) >> 20)

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Device memory, not initialised."""
        with _errors(self._driver, f"allocate {size_bytes:,} bytes"):
            handle = self._driver.mem_alloc(size_bytes)
        return DeviceMemory(int(handle), size_bytes, handle)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> PinnedArray:
        """Page-locked host memory, not initialised."""
        with _errors(self._driver, "allocate page-locked memory"):
            array = self._driver.pagelocked_empty(shape, dtype)
        return PinnedArray(array, array.base)

    def stream(self) -> Stream:
        """A stream of its own."""
        with _errors(self._driver, "make a stream"):
            stream = self._driver.Stream()
        return Stream(int(stream.handle), [stream])

    def event(self) -> Event:
        """An event that takes the time."""
        with _errors(self._driver, "make an event"):
            return Event([self._driver.Event()])

    def copy_in(self, memory: DeviceMemory, source: PinnedArray, stream: Stream) -> None:
        """Queue a copy to the device."""
        with _errors(self._driver, "copy to the device"):
            self._driver.memcpy_htod_async(memory.address, source.array, stream.handle[0])

    def copy_out(self, target: PinnedArray, memory: DeviceMemory, stream: Stream) -> None:
        """Queue a copy from the device."""
        with _errors(self._driver, "copy from the device"):
            self._driver.memcpy_dtoh_async(target.array, memory.address, stream.handle[0])

    def record(self, event: Event, stream: Stream) -> None:
        """Queue the event."""
        with _errors(self._driver, "record an event"):
            event.handle[0].record(stream.handle[0])

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two recorded events."""
        with _errors(self._driver, "read an event"):
            end.handle[0].synchronize()
            return float(end.handle[0].time_since(start.handle[0]))

    def wait(self, stream: Stream) -> None:
        """Block until the stream is done; what failed in it comes to light here."""
        with _errors(self._driver, "run the queued work"):
            stream.handle[0].synchronize()

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what `work` queues; a failure ends the capture, so that the stream can be used again."""
        if not hasattr(stream.handle[0], "begin_capture"):
            raise BackendError(f"pycuda {self.version} knows no CUDA graphs; use cuda-python, or do without graphs")
        with _errors(self._driver, "begin a capture"):
            stream.handle[0].begin_capture()
        try:
            work()
        except BaseException:
            with suppress(self._driver.Error):  # the work's own error says more
                stream.handle[0].end_capture()
            raise
        with _errors(self._driver, "capture a graph"):
            return Graph([stream.handle[0].end_capture().instantiate()])

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Queue captured work."""
        with _errors(self._driver, "launch a graph"):
            graph.handle[0].launch(stream.handle[0])

    def free(self, *things: DeviceMemory | PinnedArray | Stream | Event | Graph) -> None:
        """Release in the given order. PyCUDA ends streams, events and graphs with their last reference, which has to go
        while the context is current: the handles of these are lists of one, emptied here."""
        with _errors(self._driver, "free memory"):
            for thing in things:
                if isinstance(thing, DeviceMemory | PinnedArray):
                    thing.handle.free()
                else:
                    thing.handle.clear()

    def close(self) -> None:
        """Let go of the primary context."""
        with _errors(self._driver, "let go of the context"):
            self._context.detach()


@contextmanager
def _errors(driver: Any, action: str) -> Iterator[None]:
    """Turn the errors of PyCUDA into one line."""
    try:
        yield
    except driver.Error as error:
        raise BackendError(f"CUDA: cannot {action} ({' '.join(str(error).split())})") from error
