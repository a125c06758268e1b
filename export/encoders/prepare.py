"""A network made ready to be a graph: a copy on the CPU, in evaluation mode, with plain attention and a folded stem."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any, Literal

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import RecipeError
from lsd.train.encoders.network import Encoder, Network
from lsd.train.encoders.stem import FoldedPatchEmbed

Stem = Literal["folded", "resize", "native"]

_log = logging.getLogger(__name__)


def prepared(network: Network, fold_stem: bool | None = None) -> Network:
    """A copy that gives the same logits but for rounding; the network itself stays as it is.

    Args:
        fold_stem: whether the enlargement is folded into the patch embedding of each encoder; None where it can be.
    Raises:
        RecipeError: it must be folded, but an encoder cannot.
    """
    copied = deepcopy(network).cpu().eval()
    # timm's layers ask this attribute in each call. Fused attention does not export with a free batch size (MaxViT),
    # and what it decomposes to is larger (TOOLCHAIN, section 2).
    layer: Any
    for layer in copied.modules():
        if getattr(layer, "fused_attn", False):
            layer.fused_attn = False
    if fold_stem is not False:
        for encoder in copied.encoders:
            assert isinstance(encoder, Encoder)
            _fold(encoder, must=fold_stem is True)
    return copied


def stem_of(network: Network) -> Stem:
    """`resize` if an encoder sees an enlarged patch, else `folded` if an enlargement is folded in, else `native`."""
    if any(encoder.input_px != PATCH_SIZE_PX for encoder in network.encoders):
        return "resize"
    return "folded" if any(isinstance(module, FoldedPatchEmbed) for module in network.modules()) else "native"


def _fold(encoder: Encoder, must: bool) -> None:
    try:
        encoder.fold_stem()
    except RecipeError as error:
        if must:
            raise
        _log.info("the enlargement stays a resize: %s", error)
