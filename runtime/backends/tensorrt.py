"""Encoders as TensorRT engines, on the GPU: plans that `lsd-export engine` built here, found by what they are for."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from lsd.runtime.backends.base import EncoderGraph, EncoderSession, SessionOptions
from lsd.runtime.backends.contract import described, require_contract
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary, find_library
from lsd.runtime.backends.tensorrt_plans import find_plan
from lsd.runtime.backends.tensorrt_session import TensorRtSession
from lsd.runtime.devices.choose import AUTO, open_device
from lsd.runtime.engine_file import PROVEN, read_plan, read_report, record_proof
from lsd.runtime.engine_layers import layers_of_inspector, precision_of, require_precision, shares
from lsd.runtime.errors import BackendError, UsageError


def open_session(graph: EncoderGraph, options: SessionOptions) -> EncoderSession:
    """Open the plan of a graph on the first GPU; see `open_engine`."""
    return open_engine(graph, options)


def open_engine(
    graph: EncoderGraph, options: SessionOptions, device: str = AUTO, cuda_graph: bool = True
) -> TensorRtSession:
    """Load the plan of a graph; at its first load on a GPU its layers are inspected and the proof is kept beside it.

    Args:
        device: CUDA binding, see `choose.open_device`.
        cuda_graph: replay one captured graph a call, which saves the launches; without, where the work cannot be
            captured.
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
