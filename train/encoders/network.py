"""The whole network: raw bands in, one logit out. Everything between is inside, for training and export alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import RecipeError
from lsd.train.encoders.backbones import create_backbone
from lsd.train.encoders.channels import Channels
from lsd.train.encoders.heads import create_head
from lsd.train.encoders.recipe import EncoderRecipe
from lsd.train.encoders.scaling import Scaling
from lsd.train.encoders.stem import fold_stem
from lsd.train.encoders.weights import Pretrained


class Encoder(nn.Module):
    """A backbone over some of the channels, enlarged for it where it wants more pixels.

    Args:
        picked: positions of its channels along axis 1.
        input_px: side that the backbone takes; PATCH_SIZE_PX for none to change.
    """

    picked: Tensor

    def __init__(self, backbone: nn.Module, picked: Sequence[int], input_px: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.input_px = input_px
        self.register_buffer("picked", torch.tensor(picked, dtype=torch.long), persistent=False)

    def forward(self, channels: Tensor) -> Tensor:
        """Float (n, channel, 64, 64) of all channels -> (n, feature)."""
        own = channels.index_select(1, self.picked)
        if self.input_px != PATCH_SIZE_PX:
            own = functional.interpolate(own, size=(self.input_px,) * 2, mode="bilinear", align_corners=False)
        features: Tensor = self.backbone(own)
        return features

    def fold_stem(self) -> None:
        """Fold the enlargement into the patch embedding, in place; the features stay the same but for rounding.

        Raises:
            RecipeError: it cannot be folded.
        """
        if self.input_px % PATCH_SIZE_PX:
            raise RecipeError(
                f"expected an enlargement to a multiple of {PATCH_SIZE_PX} px to fold, found {self.input_px} px"
            )
        if self.input_px != PATCH_SIZE_PX:
            fold_stem(self.backbone, self.input_px // PATCH_SIZE_PX)
            self.input_px = PATCH_SIZE_PX


class Network(nn.Module):
    """Encoders over raw bands, and the head that joins them.

    bands: canonical names along axis 1 of the input. origins: where the first weights of each encoder came from.
    """

    def __init__(
        self,
        channels: Channels,
        encoders: Sequence[Encoder],
        head: nn.Module,
        bands: tuple[str, ...],
        origins: Sequence[str],
    ) -> None:
        super().__init__()
        self.bands = bands
        self.origins = tuple(origins)
        self.channels = channels
        self.encoders = nn.ModuleList(encoders)
        self.head = head

    def forward(self, patches: Tensor) -> Tensor:
        """float32 (n, band, 64, 64) in DN and dB, NaN = invalid -> logits, float32 (n,)."""
        channels = self.channels(patches)
        features = torch.cat([encoder(channels) for encoder in self.encoders], dim=1)
        logits: Tensor = self.head(features).squeeze(1).float()
        return logits


def network_from_recipe(recipe: EncoderRecipe, scaling: Scaling, pretrained: Pretrained | None = None) -> Network:
    """Build a network; random weights come from torch's global generator.

    Args:
        scaling: of all bands of the recipe.
        pretrained: where the backbones' first weights come from; None is at random.
    Raises:
        RecipeError: a backbone, its arguments or its size do not fit.
        UsageError: pretrained weights cannot be had or do not fit.
    """
    settings = recipe.network
    names = recipe.channels
    outputs = 1 if settings.head == "single" else settings.features
    encoders, origins = [], []
    for one in settings.encoders:
        backbone, origin = create_backbone(one, settings, outputs, pretrained or Pretrained())
        input_px = PATCH_SIZE_PX if settings.stem == "folded" else settings.input_px
        encoders.append(Encoder(backbone, [names.index(name) for name in one.channels], input_px))
        origins.append(origin)
    channels = Channels(recipe.bands, names, scaling, recipe.indices)
    return Network(channels, encoders, create_head(settings.head, settings.features), recipe.bands, origins)
