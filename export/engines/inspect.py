"""Evidence for the precision of an engine: its layers on a GPU, else the builder's list of them, else the network.

The network is strongly typed, so its tensor types bind the builder; still they are no look into the plan. An engine is
`proven` only after it was loaded and inspected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lsd.runtime.backends.base import Precision
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary, compute_capability
from lsd.runtime.engine_file import PROVEN, UNPROVEN
from lsd.runtime.engine_layers import (
    EngineLayer,
    layers_of_inspector,
    layers_of_listing,
    precision_of,
    require_precision,
    shares,
)
from lsd.runtime.errors import BackendError


@dataclass(frozen=True)
class Inspection:
    """What is known about the layers of a plan.

    state: `proven` or `unproven`. evidence: `inspector` (the loaded engine), `builder listing` (the engine as its
    builder lists it) or `network` (types of the parsed network). reason: why it is unproven, else empty. layers: of the
    engine, or the computing ones of the network.
    """

    state: str
    evidence: Literal["inspector", "builder listing", "network"]
    reason: str
    layers: Sequence[EngineLayer]


def layers_of_network(network: Any) -> list[EngineLayer]:
    """The computing layers of a parsed network with the type of their first input; int8 where that was quantised."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    dequantised = {layer.get_output(0).name for layer in layers if layer.type.name == "DEQUANTIZE"}
    found = []
    for layer in layers:
        tensor = layer.get_input(0) if layer.num_inputs else None
        if tensor is not None:
            precision = "int8" if tensor.name in dequantised else precision_of(str(tensor.dtype))
            found.append(EngineLayer(layer.name, layer.type.name, precision))
    return [layer for layer in found if layer.computes]


def inspect_plan(
    library: TensorRTLibrary,
    plan: bytes,
    network: Sequence[EngineLayer],
    log: LibraryLog,
    asked: Precision,
    name: str,
    version_compatible: bool = False,
) -> Inspection:
    """Look into a plan as far as this machine allows.

    Args:
        network: layers of the parsed network, the weakest evidence.
        log: of the build; it holds the builder's listing where the library gives one.
    Raises:
        BackendError: there is a GPU, and the library cannot load the plan.
        GateError: the asked precision is not there.
    """
    if compute_capability() is None:
        reason = _without_gpu(library, plan, version_compatible)
        listed = layers_of_listing(log.listing)
        inspection = Inspection(UNPROVEN, "network", reason, network)
        if shares(listed):
            inspection = Inspection(UNPROVEN, "builder listing", reason, listed)
    else:
        engine = library.load(plan, log, version_compatible)
        inspected = layers_of_inspector(library.layer_information(engine))
        inspection = Inspection(PROVEN, "inspector", "", inspected)
        if not shares(inspected):
            reason = "the inspector names no computing layer with its type"
            inspection = Inspection(UNPROVEN, "network", reason, network)
    require_precision(inspection.layers, asked, name)
    return inspection


def _without_gpu(library: TensorRTLibrary, plan: bytes, version_compatible: bool) -> str:
    """Why the plan could not be loaded, in the library's words."""
    try:
        library.load(plan, LibraryLog(), version_compatible)
    except BackendError as error:
        return f"no GPU here: {error}"
    return "no GPU here that the driver shows"
