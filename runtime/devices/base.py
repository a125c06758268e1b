"""What a CUDA binding offers to the rest of the runtime, and the small values that it hands out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class DeviceProperties:
    """A GPU. compute_capability: such as `sm87`."""

    name: str
    compute_capability: str
    total_memory_mb: int


@dataclass(frozen=True)
class DeviceMemory:
    """Linear device memory. handle: the binding's own object."""

    address: int
    size_bytes: int
    handle: Any = field(repr=False)


@dataclass(frozen=True)
class PinnedArray:
    """Page-locked host memory, which the GPU copies from and to by itself. array: a view that is valid until freed."""

    array: NDArray[Any]
    handle: Any = field(repr=False)


@dataclass(frozen=True)
class Stream:
    """A queue of device work. address: what other libraries take as a CUDA stream."""

    address: int
    handle: Any = field(repr=False)


@dataclass(frozen=True)
class Event:
    """A mark in a stream that takes the time."""

    handle: Any = field(repr=False)


@dataclass(frozen=True)
class Graph:
    """Captured device work, ready to launch again."""

    handle: Any = field(repr=False)


class DeviceLibrary(Protocol):
    """One GPU through one CUDA binding. All but `current` and `close` are to be called inside `with device.current():`.

    Every method raises BackendError with the CUDA error's name where the device refuses. Threads may share it if each
    enters `current` itself.
    """

    name: str  # of the binding, such as cuda-python
    version: str  # of the binding

    def current(self) -> AbstractContextManager[None]:
        """Make the device's primary context current in this thread."""
        ...

    def properties(self) -> DeviceProperties:
        """Facts about the GPU."""
        ...

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Device memory, not initialised."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> PinnedArray:
        """Page-locked host memory, not initialised."""
        ...

    def stream(self) -> Stream:
        """A stream of its own, not the default one."""
        ...

    def event(self) -> Event:
        """An event that takes the time."""
        ...

    def copy_in(self, memory: DeviceMemory, source: PinnedArray, stream: Stream) -> None:
        """Queue a copy to the device; `source` must not change until the stream was waited for."""
        ...

    def copy_out(self, target: PinnedArray, memory: DeviceMemory, stream: Stream) -> None:
        """Queue a copy from the device; `target` is valid once the stream was waited for."""
        ...

    def record(self, event: Event, stream: Stream) -> None:
        """Queue the event."""
        ...

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two recorded events; waits for the second."""
        ...

    def wait(self, stream: Stream) -> None:
        """Block until all work queued in the stream is done."""
        ...

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what `work` queues in the stream, without running it.

        Raises:
            BackendError: the binding knows no graphs, or the work cannot be captured.
        """
        ...

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Queue captured work."""
        ...

    def free(self, *things: DeviceMemory | PinnedArray | Stream | Event | Graph) -> None:
        """Release what this library handed out, in the given order."""
        ...

    def close(self) -> None:
        """Let go of the context, after everything was freed."""
        ...
