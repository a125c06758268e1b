"""A loaded engine that answers patches: while the GPU works on a batch, the next is put into page-locked memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.backends.contract import INPUT, OUTPUT, checked_patches
from lsd.runtime.backends.tensorrt_cache import CompiledKernels, cache_path
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.devices.base import DeviceLibrary, DeviceMemory, Graph, PinnedArray, Stream
from lsd.runtime.engine_file import read_report
from lsd.runtime.errors import BackendError, UsageError

LANES = 2  # one is computed while the other is filled
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Buffers:
    """Memory for calls of one batch size, on both sides, and the captured work of such a call."""

    patches: PinnedArray
    logits: PinnedArray
    device_patches: DeviceMemory
    device_logits: DeviceMemory
    graph: Graph | None = None

    def all(self) -> tuple[Any, ...]:
        return tuple(one for one in vars(self).values() if one is not None)


class _Lane:
    """One stream with a context and buffers of its own. Buffers stay as long as the number of patches does."""

    def __init__(self, session: TensorRtSession, context: Any) -> None:
        self._session, self.context = session, context
        self._device = session.device
        self.stream: Stream = self._device.stream()
        self.buffers: _Buffers | None = None
        self.busy = False

    def start(self, values: NDArray[np.float32], n: int) -> None:
        """Queue a call of `n` patches, of which `values` are the first and the others zeros."""
        buffers = self._bound(n)
        buffers.patches.array[: len(values)] = values
        buffers.patches.array[len(values) :] = 0
        try:
            if buffers.graph is None:
                self._queue(buffers)
            else:
                self._device.launch(buffers.graph, self.stream)
        except BackendError:
            with suppress(BackendError):  # what was queued before may still read the buffers
                self._device.wait(self.stream)
            raise
        self.busy = True

    def finish(self, n: int) -> NDArray[np.float32]:
        """Wait for the call; logits float32 (n,)."""
        self.busy = False
        self._device.wait(self.stream)
        if self.buffers is None:
            raise BackendError(f"{self._session.plan.name}: the session was closed")
        return self.buffers.logits.array[:n].copy()

    def release(self) -> None:
        """Free the buffers."""
        if self.buffers is not None:
            self._device.free(*reversed(self.buffers.all()))
            self.buffers = None

    def _bound(self, n: int) -> _Buffers:
        """Buffers for n patches, their addresses told to the engine; the work captured where that was asked for."""
        if self.buffers is not None and len(self.buffers.patches.array) == n:
            return self.buffers
        self.release()
        device = self._device
        patches = device.pinned((n, *self._session.shape), np.float32)
        logits = device.pinned((n,), np.float32)
        memory = device.allocate(patches.array.nbytes), device.allocate(logits.array.nbytes)
        self.buffers = _Buffers(patches, logits, *memory)
        try:
            self.buffers = self._prepared(self.buffers)
        except BaseException:
            self.release()
            raise
        return self.buffers

    def _prepared(self, buffers: _Buffers) -> _Buffers:
        """Tell the engine of the buffers and call it once, for that compiles and allocates; capture the next call."""
        context, shape = self.context, buffers.patches.array.shape
        fits = context.set_input_shape(INPUT, shape)
        fits &= context.set_tensor_address(INPUT, buffers.device_patches.address)
        fits &= context.set_tensor_address(OUTPUT, buffers.device_logits.address)
        if not fits:
            raise BackendError(f"{self._session.plan.name}: {self._session.refusal(f'refuses {shape[0]} patches')}")
        buffers.patches.array[:] = 0
        self._queue(buffers)
        self._device.wait(self.stream)
        self._session.kernels.keep()
        if not self._session.cuda_graph:
            return buffers
        try:
            return replace(buffers, graph=self._device.capture(self.stream, lambda: self._queue(buffers)))
        except BackendError as error:
            _LOG.info("%s runs without a CUDA graph: %s", self._session.plan.name, error)
            self._session.cuda_graph = False
            return buffers

    def _queue(self, buffers: _Buffers) -> None:
        """Copy in, execute, copy out: queued, not waited for."""
        self._device.copy_in(buffers.device_patches, buffers.patches, self.stream)
        if not self.context.execute_async_v3(self.stream.address):
            raise BackendError(f"{self._session.plan.name}: {self._session.refusal('did not run')}")
        self._device.copy_out(buffers.logits, buffers.device_logits, self.stream)


class TensorRtSession:
    """A loaded engine; for one thread at a time.

    cuda_graph: whether a call is one captured graph; False also once the work could not be captured.
    """

    def __init__(
        self,
        graph: EncoderGraph,
        library: TensorRTLibrary,
        device: DeviceLibrary,
        engine: Any,
        plan: Path,
        log: LibraryLog,
        cuda_graph: bool,
    ) -> None:
        """Take a loaded engine; called with the device current."""
        self.graph, self.device, self.plan, self.cuda_graph = graph, device, plan, cuda_graph
        self.shape = (len(graph.bands), PATCH_SIZE_PX, PATCH_SIZE_PX)
        self._library = library
        self._log = log
        self._properties = device.properties()
        cache = cache_path(plan, self._properties.compute_capability)
        self.kernels = CompiledKernels(library.module, engine, cache)
        self._lanes = [_Lane(self, self.kernels.context())]
        low, _, high = (int(shape[0]) for shape in engine.get_tensor_profile_shape(INPUT, 0))
        self._least, self._most = low, high

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,); see `EncoderSession`. Fewer than the engine takes are filled up with zeros.

        Raises:
            UsageError: also for more patches than the engine takes.
            BackendError: the GPU or the library failed.
        """
        return self.start(patches)()

    def start(self, patches: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """Queue what `run` does; `patches` may be changed at once. Two calls may be under way.

        Returns:
            A function to be called once: waits, and gives the logits.
        Raises:
            BackendError: as `run`; and when two calls are under way already.
        """
        values = checked_patches(patches, self.graph)
        n = len(values)
        if n > self._most:
            raise UsageError(
                f"{self.plan.name} takes {self._least} to {self._most} patches a call, found {n}; use a smaller batch "
                f"or build it again: lsd-export engine BUNDLE --batch 1,{n},{n}"
            )
        if not self._lanes:
            raise BackendError(f"{self.plan.name}: the session was closed")
        with self.device.current():
            lane = self._free_lane()
            lane.start(values, max(n, self._least))

        def finish() -> NDArray[np.float32]:
            with self.device.current():
                return lane.finish(n)

        return finish

    def describe(self) -> dict[str, str]:
        """See `EncoderSession`; `layers` are the shares of precisions that the report of the plan states."""
        report = read_report(self.plan)
        told = ", ".join(f"{precision} {share:.0%}" for precision, share in report["shares"].items())
        return {
            "backend": "tensorrt",
            "version": self._library.title,
            "device": f"{self._properties.name} ({self._properties.compute_capability})",
            "precision": self.graph.precision,
            "layers": f"{told or 'not told'} ({report['state']}, {report['evidence']})",
            "engine": self.plan.name,
            "binding": f"{self.device.name} {self.device.version}",
            "cuda_graph": "yes" if self.cuda_graph else "no",
        }

    def close(self) -> None:
        """Keep what was compiled, free everything and let go of the GPU."""
        if not self._lanes:
            return
        with self.device.current():
            self.kernels.keep()
            for lane in self._lanes:
                if lane.busy:
                    self.device.wait(lane.stream)
                lane.release()
                lane.context = None  # before the engine that it belongs to
                self.device.free(lane.stream)
            self._lanes = []
            self.kernels.close()
        self.device.close()

    def refusal(self, what: str) -> str:
        """What the library did, with its reason."""
        return f"{self._library.title} {what}: {self._log.last_error()}"

    def _free_lane(self) -> _Lane:
        """The lane that is not under way; another one is made for the first call that meets a busy one."""
        for lane in self._lanes:
            if not lane.busy:
                return lane
        if len(self._lanes) == LANES:
            raise BackendError(f"{self.plan.name}: {LANES} calls are under way already")
        self._lanes.append(_Lane(self, self.kernels.context()))
        return self._lanes[-1]
