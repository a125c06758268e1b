"""Bilinear enlargement and patch embedding as one convolution on the raw patch (METHOD, trap 2).

Both are linear. Each pixel of the enlarged patch is a weighted mean of two raw pixels a direction, at most one of them
outside of the embedding's own cell, and beyond the border the border pixel stands in: so a kernel of p px with stride p
on a patch enlarged s times is a kernel of p / s + 2 px with stride p / s on the raw patch, whose border is repeated
once. For s = 4 and p = 16 that is 6 x 6 with stride 4.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lsd.runtime.errors import RecipeError


def enlargement(scale: int, kernel_px: int) -> Tensor:
    """float64 (kernel_px, kernel_px // scale + 2): the weights of raw pixels in each enlarged pixel of a cell.

    Raw pixels are counted from one before the cell to one behind it. The centre of enlarged pixel i lies at
    (i + .5) / scale - .5, as torch's bilinear interpolation has it with align_corners=False.
    """
    weights = torch.zeros(kernel_px, kernel_px // scale + 2, dtype=torch.float64)
    for i in range(kernel_px):
        place = (i + 0.5) / scale - 0.5
        before = math.floor(place)
        weights[i, before + 1] += 1 - (place - before)
        weights[i, before + 2] += place - before
    return weights


def folded_kernel(kernel: Tensor, scale: int) -> Tensor:
    """(out, in, p, p) -> (out, in, p // scale + 2, p // scale + 2), computed in float64, in the kernel's dtype."""
    weights = enlargement(scale, kernel.shape[-1]).to(kernel.device)
    return torch.einsum("oiyx,yr,xc->oirc", kernel.double(), weights, weights).to(kernel.dtype)


class FoldedPatchEmbed(nn.Module):
    """In place of timm's PatchEmbed: raw (n, channel, y, x) -> (n, token, width), as that one gives after enlargement.

    Carries the attributes by which timm's models ask for the grid.

    Args:
        embed: timm's, of a square patch; its kernel is folded, its bias and norm are taken over.
        scale: of the enlargement that is folded in.
    """

    def __init__(self, embed: Any, scale: int) -> None:
        super().__init__()
        kernel = embed.proj.weight
        self.grid_size: tuple[int, int] = embed.grid_size
        self.num_patches: int = embed.num_patches
        self.patch_size = (kernel.shape[-1] // scale,) * 2
        unset = nn.Conv2d(  # on no device: random values would move torch's generator, and with it what comes after
            kernel.shape[1],
            kernel.shape[0],
            kernel.shape[-1] // scale + 2,
            stride=kernel.shape[-1] // scale,
            padding=1,
            padding_mode="replicate",
            bias=embed.proj.bias is not None,
            device="meta",
            dtype=kernel.dtype,
        )
        self.proj = unset.to_empty(device=kernel.device)
        self.norm = embed.norm
        with torch.no_grad():
            self.proj.weight.copy_(folded_kernel(kernel, scale))
            if self.proj.bias is not None:
                self.proj.bias.copy_(embed.proj.bias)

    def forward(self, patches: Tensor) -> Tensor:
        """Tokens, row by row."""
        tokens: Tensor = self.norm(self.proj(patches).flatten(2).transpose(1, 2))
        return tokens


def fold_stem(backbone: nn.Module, scale: int) -> None:
    """Let a timm ViT (VisionTransformer or Eva) take the raw patch instead of one enlarged `scale` times; in place.

    Raises:
        RecipeError: the backbone has no patch embedding that can be folded.
    """
    embed = getattr(backbone, "patch_embed", None)
    proj = getattr(embed, "proj", None)
    kind = type(backbone).__name__
    if embed is None or not isinstance(proj, nn.Conv2d) or proj.kernel_size != proj.stride or not embed.flatten:
        raise RecipeError(f'a {kind} has no patch embedding to fold the enlargement into; give "stem": "resize"')
    if proj.kernel_size[0] != proj.kernel_size[1] or proj.kernel_size[0] % scale:
        raise RecipeError(
            f"expected square patches of a multiple of {scale} px to fold an enlargement by {scale} into, "
            f"found {proj.kernel_size[1]} x {proj.kernel_size[0]} px"
        )
    backbone.patch_embed = FoldedPatchEmbed(embed, scale)
