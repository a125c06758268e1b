"""In which precision the layers of a TensorRT engine compute, and whether that is the precision that was asked for.

Only layers that compute count: convolutions and matrix products, alone or fused. Others move or scale what these made.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lsd.runtime.backends.base import Precision
from lsd.runtime.errors import BackendError, GateError

# Least share of the computing layers that must have the asked precision. fp32 means all. A mixed graph keeps sensitive
# layers (the final logit, a product that may overflow) in fp32, so half is enough; in an int8 graph the products of
# attention stay unquantised and fuse with their neighbours.
LEAST_SHARE: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.5, "bf16": 0.5, "int8": 0.25}
UNKNOWN = "unknown"
# As the inspector of TensorRT 10 and 11 and the builder of TensorRT-RTX 1.7 call such layers
_COMPUTES = re.compile(r"conv|correlation|gemm|matmul|matrix_?multiply|einsum|runtime_fusion|attention", re.IGNORECASE)
_FUSED_ATTENTION = "_mha_"  # in the name of a generated kernel
# bf16 first: "BFloat16" holds "float16", "Float" holds neither
_PRECISIONS = (("bf16|bfloat16", "bf16"), ("fp16|float16|half", "fp16"), ("int8", "int8"), ("fp8", "fp8"))
_TYPE_FIELDS = ("Datatype", "DataType", "Format/Datatype")  # TensorRT 11 and TensorRT-RTX; 10
_LISTED = re.compile(r"^Name: (.*?), LayerType: ([^,]*), Inputs: \[(?: \{.*?Datatype: (\w+))?", re.MULTILINE)


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine or network.

    kind: in the library's words. precision: of its first input, for a product of fp16 values is an fp16 product even if
    it is stored as fp32; `unknown`, `int64` and the like where that is none of ours.
    """

    name: str
    kind: str
    precision: str

    @property
    def computes(self) -> bool:
        """True for convolutions and matrix products, alone or fused."""
        return bool(_COMPUTES.search(self.kind)) or _FUSED_ATTENTION in self.name

    def to_json(self) -> dict[str, str]:
        """For the report."""
        return asdict(self)


def layers_of_inspector(information: str) -> list[EngineLayer]:
    """Layers of the engine inspector's JSON.

    Raises:
        BackendError: it is not that JSON, or the engine was built without layer details.
    """
    try:
        layers: list[Any] = json.loads(information)["Layers"]
        return [
            EngineLayer(layer["Name"], layer["LayerType"], _first_precision(layer.get("Inputs", [])))
            for layer in layers
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(
            f"the engine inspector gave no layer types ({type(error).__name__}: {error}); build the engine again with "
            "lsd-export engine BUNDLE --overwrite"
        ) from error


def layers_of_listing(listing: str) -> list[EngineLayer]:
    """Layers of the builder's own listing (`LibraryLog.listing`); empty where the library gives none."""
    return [EngineLayer(name, kind, precision_of(data)) for name, kind, data in _LISTED.findall(listing)]


def precision_of(text: str) -> str:
    """Precision in a library's words, e.g. `Half`, `DataType.FLOAT` or `Row major linear FP16 format`."""
    for pattern, precision in _PRECISIONS:
        if re.search(pattern, text, re.IGNORECASE):
            return precision
    if re.search("float|fp32", text, re.IGNORECASE):
        return "fp32"
    return text.rpartition(".")[2].lower() if re.fullmatch(r"[\w.]+", text) else UNKNOWN


def shares(layers: Iterable[EngineLayer]) -> dict[str, float]:
    """Precision -> share among the computing layers of known precision, most frequent first; empty without any."""
    counted = Counter(layer.precision for layer in layers if layer.computes and layer.precision != UNKNOWN)
    return {precision: count / counted.total() for precision, count in counted.most_common()}


def require_precision(layers: Sequence[EngineLayer], asked: Precision, name: str) -> None:
    """Raise GateError unless enough computing layers of `name` have the precision that was asked for."""
    found = shares(layers)
    least = LEAST_SHARE[asked]
    if found.get(asked, 0.0) >= least:
        return
    listed = ", ".join(f"{share:.0%} {precision}" for precision, share in found.items()) or "none that computes"
    raise GateError(
        f"{name}: asked for {asked}, found {listed} among its computing layers (expected at least {least:.0%}); "
        f"precision lives in the ONNX graph: make it with lsd-export build --precision {asked}"
    )


def _first_precision(tensors: list[dict[str, Any]]) -> str:
    for tensor in tensors[:1]:
        for field in _TYPE_FIELDS:
            if field in tensor:
                return precision_of(str(tensor[field]))
    return UNKNOWN
