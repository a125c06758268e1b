"""Encoders as TensorRT engines, on the GPU: plans that `lsd-export engine` built here, found by what they are for.

It was not run on a GPU yet; the order of its calls is tested with stand-ins for the device and the library.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph, EncoderSession, SessionOptions
from lsd.runtime.backends.contract import INPUT, OUTPUT, checked_patches, described, require_contract
from lsd.runtime.backends.tensorrt_cache import Execution, cache_path
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary, find_library
from lsd.runtime.backends.tensorrt_plans import find_plan
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.devices.base import DeviceLibrary, DeviceMemory, Graph, PinnedArray, Stream
from lsd.runtime.devices.choose import AUTO, open_device
from lsd.runtime.engine_file import PROVEN, read_plan, read_report, record_proof
from lsd.runtime.engine_layers import layers_of_inspector, precision_of, require_precision, shares
from lsd.runtime.errors import BackendError, UsageError


def open_session(graph: EncoderGraph, options: SessionOptions) -> EncoderSession:
    """Open the plan of a graph on the first GPU; see `open_engine`."""
    return open_engine(graph, options)


def open_engine(
    graph: EncoderGraph, options: SessionOptions, device: str = AUTO, cuda_graph: bool = False
) -> TensorRtSession:
    """Load the plan of a graph; at its first load on a GPU its layers are inspected and the proof is kept beside it.

    Args:
        device: CUDA binding, see `choose.open_device`.
        cuda_graph: replay one captured graph a call, which saves the launches of small batches.
    Raises:
        UsageError: no engine folder is given.
        BackendError: no library, no GPU, no plan for them, or the library refuses the plan.
        BundleHashError: the plan was changed since it was built.
        GateError: the engine does not compute in the precision of its name.
    """
    if options.engines is None:
        raise UsageError("the backend tensorrt needs the folder of the engines: --engines FOLDER")
    library = find_library()
    gpu = open_device(device)
    try:
        path, key = find_plan(options.engines, graph, library)
        log = LibraryLog()
        with gpu.current():
            try:
                engine = library.load(read_plan(path), log, key.version.endswith("+"))
            except BackendError as error:
                raise BackendError(f"{path}: {error}. Rebuild: lsd-export engine BUNDLE --overwrite") from error
            require_contract(graph, *_ends(library.module, engine))
            _prove(library, engine, path, graph)
            return TensorRtSession(graph, library, gpu, engine, path, log, cuda_graph)
    except BaseException:
        gpu.close()
        raise


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


class TensorRtSession:
    """A loaded engine with its own stream; for one thread at a time.

    Buffers are made at the first call and kept as long as the number of patches stays the same.
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
        self.graph = graph
        self._library = library
        self._device = device
        self._engine = engine
        self._plan = plan
        self._log = log
        self._cuda_graph = cuda_graph
        self._properties = device.properties()
        self._execution: Execution | None = Execution(
            library.module, engine, cache_path(plan, self._properties.compute_capability)
        )
        self._stream: Stream = device.stream()
        self._buffers: _Buffers | None = None
        low, _, high = (int(shape[0]) for shape in engine.get_tensor_profile_shape(INPUT, 0))
        self._least, self._most = low, high

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,); see `EncoderSession`. Fewer than the engine takes are filled up with zeros.

        Raises:
            UsageError: also for more patches than the engine takes.
            BackendError: the GPU or the library failed.
        """
        values = checked_patches(patches, self.graph)
        n = len(values)
        if n > self._most:
            raise UsageError(
                f"{self._plan.name} takes {self._least} to {self._most} patches a call, found {n}; use a smaller batch "
                f"or build it again: lsd-export engine BUNDLE --batch 1,{n},{n}"
            )
        with self._device.current():
            buffers = self._bound(max(n, self._least))
            buffers.patches.array[:n] = values
            buffers.patches.array[n:] = 0
            if buffers.graph is None:
                self._queue(buffers)
            else:
                self._device.launch(buffers.graph, self._stream)
            self._device.wait(self._stream)
            logits: NDArray[np.float32] = buffers.logits.array[:n].copy()
        return logits

    def describe(self) -> dict[str, str]:
        """See `EncoderSession`; `layers` are the shares of precisions that the report of the plan states."""
        report = read_report(self._plan)
        told = ", ".join(f"{precision} {share:.0%}" for precision, share in report["shares"].items())
        return {
            "backend": "tensorrt",
            "version": self._library.title,
            "device": f"{self._properties.name} ({self._properties.compute_capability})",
            "precision": self.graph.precision,
            "layers": f"{told or 'not told'} ({report['state']}, {report['evidence']})",
            "engine": self._plan.name,
            "binding": f"{self._device.name} {self._device.version}",
            "cuda_graph": "yes" if self._cuda_graph else "no",
        }

    def close(self) -> None:
        """Keep what was compiled, free everything and let go of the GPU."""
        if self._execution is None:
            return
        with self._device.current():
            self._execution.keep()
            self._release()
            self._execution = None  # before the engine that it belongs to
            self._engine = None
            self._device.free(self._stream)
        self._device.close()

    def _bound(self, n: int) -> _Buffers:
        """Buffers for n patches, their addresses told to the engine; the work captured where that was asked for."""
        if self._buffers is not None and len(self._buffers.patches.array) == n:
            return self._buffers
        self._release()
        device = self._device
        patches = device.pinned((n, *self._shape()), np.float32)
        logits = device.pinned((n,), np.float32)
        memory = device.allocate(patches.array.nbytes), device.allocate(logits.array.nbytes)
        self._buffers = _Buffers(patches, logits, *memory)
        try:
            self._buffers = self._prepared(self._buffers)
        except BaseException:
            self._release()
            raise
        return self._buffers

    def _prepared(self, buffers: _Buffers) -> _Buffers:
        """Tell the engine of the buffers and call it once, for that compiles and allocates; capture the next call."""
        context, shape = self._context(), buffers.patches.array.shape
        fits = context.set_input_shape(INPUT, shape)
        fits &= context.set_tensor_address(INPUT, buffers.device_patches.address)
        fits &= context.set_tensor_address(OUTPUT, buffers.device_logits.address)
        if not fits:
            raise BackendError(
                f"{self._plan.name}: {self._library.title} refuses {shape[0]} patches: {self._log.last_error()}"
            )
        buffers.patches.array[:] = 0
        self._queue(buffers)
        self._device.wait(self._stream)
        self._open().keep()
        if not self._cuda_graph:
            return buffers
        return replace(buffers, graph=self._device.capture(self._stream, lambda: self._queue(buffers)))

    def _queue(self, buffers: _Buffers) -> None:
        """Copy in, execute, copy out: queued, not waited for."""
        self._device.copy_in(buffers.device_patches, buffers.patches, self._stream)
        if not self._context().execute_async_v3(self._stream.address):
            raise BackendError(f"{self._plan.name}: {self._library.title} did not run: {self._log.last_error()}")
        self._device.copy_out(buffers.logits, buffers.device_logits, self._stream)

    def _open(self) -> Execution:
        if self._execution is None:
            raise BackendError(f"{self._plan.name}: the session was closed")
        return self._execution

    def _context(self) -> Any:
        return self._open().context

    def _shape(self) -> tuple[int, int, int]:
        return (len(self.graph.bands), PATCH_SIZE_PX, PATCH_SIZE_PX)

    def _release(self) -> None:
        if self._buffers is not None:
            self._device.free(*reversed(self._buffers.all()))
            self._buffers = None


def _prove(library: TensorRTLibrary, engine: Any, path: Path, graph: EncoderGraph) -> None:
    """Inspect an engine that was built without a GPU, once; the report beside it then says that it is proven."""
    report = read_report(path)
    if report.get("state") == PROVEN:
        return
    layers = layers_of_inspector(library.layer_information(engine))
    if not shares(layers):
        logging.getLogger(__name__).warning("%s stays unproven: the inspector names no types", path.name)
        return
    require_precision(layers, graph.precision, path.name)
    with suppress(OSError):  # a folder that is read only: it is inspected again next time
        record_proof(path, layers)


def _ends(trt: Any, engine: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs: name -> type and shape."""
    ends: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = precision_of(str(engine.get_tensor_dtype(name))).replace("fp", "float")
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ends[0 if is_input else 1][name] = described(kind, tuple(engine.get_tensor_shape(name)))
    return ends
