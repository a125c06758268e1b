"""One encoder's backbone: any classification network of timm, or Galileo-nano."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import LsdError, RecipeError, UsageError
from lsd.runtime.nearest import did_you_mean
from lsd.train.encoders.recipe import GALILEO, EncoderSettings, NetworkSettings
from lsd.train.encoders.stem import fold_stem
from lsd.train.encoders.torchvision import import_timm
from lsd.train.encoders.weights import Pretrained, load_weights, weights_file

_log = logging.getLogger(__name__)


def create_backbone(
    settings: EncoderSettings, network: NetworkSettings, outputs: int, pretrained: Pretrained
) -> tuple[nn.Module, str]:
    """A backbone, and where its weights come from, in words for the run folder.

    It takes float32 (n, channel, y, x), scaled, of 64 px if the stem is folded, else of network.input_px, and gives (n,
    outputs). Random weights come from torch's global generator.

    Raises:
        RecipeError: timm has no such network, or it does not take these arguments or this size.
        UsageError: the pretrained weights cannot be had or do not fit.
    """
    if settings.backbone == GALILEO:
        backbone, origin = _galileo(settings, outputs, pretrained)
    else:
        backbone, origin = _of_timm(settings, outputs, pretrained)
    if network.stem == "folded":
        fold_stem(backbone, network.input_px // PATCH_SIZE_PX)
    _try(backbone, settings, outputs, PATCH_SIZE_PX if network.stem == "folded" else network.input_px)
    _log.info("%s: weights: %s", settings.backbone, origin)
    return backbone, origin


def _galileo(settings: EncoderSettings, outputs: int, pretrained: Pretrained) -> tuple[nn.Module, str]:
    from lsd.train.encoders.galileo import GalileoBackbone

    if pretrained.source == "hub":
        raise UsageError(f"the weights of {GALILEO} are no part of timm's hub; give --pretrained with their folder")
    try:
        backbone = GalileoBackbone(settings.channels, outputs, pretrained.path, **settings.arguments)
    except TypeError as error:
        raise RecipeError(f"{GALILEO} does not take the recipe's arguments ({error})") from error
    return backbone, backbone.origin


def _of_timm(settings: EncoderSettings, outputs: int, pretrained: Pretrained) -> tuple[nn.Module, str]:
    timm = import_timm()
    if not timm.is_model(settings.backbone):
        hint = did_you_mean(settings.backbone.partition(".")[0], timm.list_models())
        raise RecipeError(f"timm {timm.__version__} has no network {settings.backbone!r}{hint}")
    from_hub = pretrained.source == "hub"
    try:
        backbone = timm.create_model(
            settings.backbone,
            pretrained=from_hub,
            num_classes=outputs,
            in_chans=len(settings.channels),
            **settings.arguments,
        )
    except Exception as error:  # constructors and downloads fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if from_hub:
            raise UsageError(
                f"cannot get the weights of {settings.backbone} from the hub ({reason}); check the network, "
                "or give --pretrained with a file or folder that holds them"
            ) from error
        raise RecipeError(f"{settings.backbone} does not take the recipe's arguments ({reason})") from error
    if from_hub:
        return backbone, f"hub, {settings.backbone}"
    if pretrained.path is None:
        return backbone, "random"
    return backbone, load_weights(backbone, weights_file(pretrained.path, settings.backbone))


@torch.no_grad()
def _try(backbone: nn.Module, settings: EncoderSettings, outputs: int, side_px: int) -> None:
    """One empty patch through it: a size or an argument that does not fit shows now, not hours later."""
    device = next(backbone.parameters()).device
    backbone.eval()
    try:
        found: Any = backbone(torch.zeros(1, len(settings.channels), side_px, side_px, device=device)).shape
    except LsdError:
        raise
    except Exception as error:  # the networks check sizes in many ways
        raise RecipeError(
            f"{settings.backbone} does not take patches of {side_px} px ({' '.join(str(error).split())[:200]}); "
            'check input_px and the arguments of the backbone, such as "img_size"'
        ) from error
    if tuple(found) != (1, outputs):
        raise RecipeError(f"{settings.backbone} gives {tuple(found)} for one patch, expected (1, {outputs})")
    backbone.train()
