"""From networks to one ONNX graph: `patches` float32 (n, band, 64, 64) in, `logit` float32 (n,) out, n free.

Everything between is inside: invalid pixels, scaling, indices, resize or folded stem, encoders, head, and where asked
for the means over flips and folds. BatchNormalization is folded into the layer before it by the exporter's optimizer;
that none is left behind a convolution or linear layer is checked.

Metadata of the model: `lsd_bands` (names along axis 1, comma separated), `lsd_precision` (fp32), `lsd_recipe`,
`lsd_stem` (`folded`, `resize` or `native`), `lsd_flips` (1 or 4), `lsd_folds` (averaged in the graph). The same
networks give the same bytes; nothing of the exporting machine is in them but the version of torch.
"""

from __future__ import annotations

import ast
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import nn

from lsd.export.encoders.external_data import EXTERNAL_ABOVE_BYTES, move_weights
from lsd.export.encoders.means import FLIPS, MeanOverFlips, MeanOverFolds
from lsd.export.encoders.prepare import prepared, stem_of
from lsd.runtime.backends.contract import INPUT, OUTPUT
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import RecipeError, UsageError
from lsd.train.encoders.network import Network

if TYPE_CHECKING:
    import onnx_ir

# The parser of TensorRT 10.0 reads opsets 9 to 20, that of 9.2 up to 19 (onnx/onnx-tensorrt, docs/operators.md). 18 is
# what torch's exporter writes without converting (torch.onnx, TORCHLIB_OPSET), and it spells GELU out with Erf; from
# 20 on that is an operator of its own, which older parsers and converters do not know.
OPSET = 18
IR_VERSION = 8  # of ONNX 1.13, which brought opset 18 (onnx, docs/Versioning.md); the exporter would write 10
FOLDED_INTO = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class OnnxFile:
    """content: of the .onnx file. external: file name -> content of what must lie beside it; empty below 2 GB."""

    content: bytes = field(repr=False)
    external: dict[str, bytes] = field(repr=False, default_factory=dict)


def onnx_of_networks(
    networks: Sequence[Network],
    recipe_name: str,
    *,
    fold_stem: bool | None = None,
    flips: bool = False,
    external_name: str = "weights.bin",
    external_above_bytes: int = EXTERNAL_ABOVE_BYTES,
) -> OnnxFile:
    """The graph of one network, or of the mean probability of several; the networks stay as they are.

    Not for two threads at once: torch's exporter keeps state of its own.

    Args:
        networks: one, or the folds of one run, whose probabilities are averaged inside.
        recipe_name: for the metadata and for messages.
        fold_stem: whether the enlargement is folded into the patch embeddings; None where it can be.
        flips: average the logits of each network over four flips.
        external_name: of the file that takes the weights if they are more than `external_above_bytes`.
    Raises:
        RecipeError: the stem must be folded and cannot be, or torch cannot export a backbone.
        UsageError: no network, or networks of other bands.
    """
    if not networks:
        raise UsageError(f"{recipe_name}: expected at least one network to export, found none")
    bands = networks[0].bands
    for network in networks:
        if network.bands != bands:
            raise UsageError(
                f"{recipe_name}: expected networks of the same bands to average, found {', '.join(bands)} and "
                f"{', '.join(network.bands)}"
            )
    ready = [prepared(network, fold_stem) for network in networks]
    members: list[nn.Module] = [MeanOverFlips(network) if flips else network for network in ready]
    whole = members[0] if len(members) == 1 else MeanOverFolds(members)
    model = _exported(whole.eval(), len(bands), recipe_name)
    metadata = {
        "lsd_bands": ",".join(bands),
        "lsd_precision": "fp32",
        "lsd_recipe": recipe_name,
        "lsd_stem": stem_of(ready[0]),
        "lsd_flips": str(FLIPS if flips else 1),
        "lsd_folds": str(len(ready)),
    }
    onnx.helper.set_model_props(model, metadata)
    _require_folded(model, recipe_name)
    external = move_weights(model, external_name, external_above_bytes)
    content = model.SerializeToString(deterministic=True)
    _check(content, external)
    return OnnxFile(content, external)


@torch.no_grad()
def _exported(whole: nn.Module, n_bands: int, recipe_name: str) -> onnx.ModelProto:
    example = torch.zeros(2, n_bands, PATCH_SIZE_PX, PATCH_SIZE_PX)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about torch
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n", min=1, max=2**16)},),
                verbose=False,
            )
    except Exception as error:  # exporters fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RecipeError(
            f"{recipe_name}: torch cannot write its network as ONNX ({reason}); choose another backbone"
        ) from error
    assert program is not None
    return _plain(program.model)


def _plain(model: onnx_ir.Model) -> onnx.ModelProto:
    """The model without what the exporter notes about it (stack traces, paths); nodes are named after their module."""
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    seen: Counter[str] = Counter()
    for node in model.graph:
        name = f"{_module_of(node)}/{node.op_type}"
        node.name = f"{name}_{seen[name]}"
        seen[name] += 1
    ClearMetadataAndDocStringPass()(model)
    model.ir_version = IR_VERSION
    proto = onnx_ir.to_proto(model)
    for one in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        one.ClearField("metadata_props")
    del proto.graph.value_info[:]  # shapes in between, which every reader infers itself
    return proto


def _module_of(node: onnx_ir.Node) -> str:
    """Dotted name of the module that a node belongs to; `graph` for the outermost, and for what the optimizer added."""
    scopes: list[Any] = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
    return (str(scopes[-2]) if len(scopes) > 1 else "") or "graph"


def _require_folded(model: onnx.ModelProto, recipe_name: str) -> None:
    """Refuse a BatchNormalization that has a convolution or linear layer for itself: it belongs into that one.

    Where the layer's output is used elsewhere too (MaxViT's shortcuts) it stays.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    layers = {node.output[0] for node in model.graph.node if node.op_type in FOLDED_INTO and uses[node.output[0]] == 1}
    left = [node.name for node in model.graph.node if node.op_type == "BatchNormalization" and node.input[0] in layers]
    if left:
        raise RecipeError(
            f"{recipe_name}: expected every BatchNormalization right behind a convolution or linear layer to be folded "
            f"into it, found {len(left)} that are not ({left[0]}); update onnxscript"
        )


def _check(content: bytes, external: dict[str, bytes]) -> None:
    """onnx's own checker; it wants external data as files."""
    if not external:
        onnx.checker.check_model(content, full_check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, data in {**external, "graph.onnx": content}.items():
            (Path(folder) / name).write_bytes(data)
        onnx.checker.check_model(str(Path(folder) / "graph.onnx"), full_check=True)
