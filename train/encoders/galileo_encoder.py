"""The encoder of Galileo-nano, as far as bands of Sentinel-1 and Sentinel-2 need it, and how its weights are read.

Tseng et al., "Galileo: Learning Global & Local Features of Many Remote Sensing Modalities" (2025, arXiv 2502.09356);
weights: nasaharvest/galileo, data/models/nano, MIT. An image of one group of bands at one time is cut into square
tokens; each token is told its group, its time, its month and its place; a transformer of 4 blocks sees them all at
once. Names of parameters are those of the published file. Weather, terrain, land cover, location and the decoder are
left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.train.encoders.weights import weights_file
from lsd.train.state_dicts import check_fit, read_state_dict

# Groups of bands in the order of the rows of s_t_channel_embed; VV and VH are sigma0, NDVI is (B8 - B4) / (B8 + B4).
GROUP_BANDS = {
    "S1": ("VV", "VH"),
    "S2_RGB": ("B2", "B3", "B4"),
    "S2_Red_Edge": ("B5", "B6", "B7"),
    "S2_NIR_10m": ("B8",),
    "S2_NIR_20m": ("B8A",),
    "S2_SWIR": ("B11", "B12"),
    "NDVI": ("NDVI",),
}
# The size of the nano model: its config.json.
WIDTH, DEPTH, HEADS, MLP_RATIO = 128, 4, 8, 4
KERNEL_PX = 8  # of the published patch embeddings; 10 m pixels
PART = WIDTH // 4  # a quarter each for group, time, month and place
MONTH = 5  # counted from 0: what the authors take where the month is unknown
LEFT_OUT = (
    "pos_embed", "month_embed.",  # fixed tables of sines and cosines, computed here
    "sp_channel_embed", "t_channel_embed", "st_channel_embed", "space_embed.", "time_embed.", "static_embed.",
)  # fmt: skip


class GalileoEncoder(nn.Module):
    """Images of groups of bands -> tokens.

    Args:
        views: group (a key of GROUP_BANDS) and timestep (from 0) of each image.
        patch_size_px: side of a token; it divides 64. Smaller ones than the published 8 take resampled kernels.
    """

    fixed: Tensor

    def __init__(self, views: Sequence[tuple[str, int]], patch_size_px: int) -> None:
        super().__init__()
        self.groups = [group for group, _ in views]
        embeddings = {}
        for group in dict.fromkeys(self.groups):
            proj = nn.Conv2d(len(GROUP_BANDS[group]), WIDTH, patch_size_px, stride=patch_size_px)
            embeddings[group] = nn.ModuleDict({"proj": proj})
        self.space_time_embed = nn.ModuleDict(embeddings)
        self.s_t_channel_embed = nn.Parameter(torch.zeros(len(GROUP_BANDS), PART))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        fixed = torch.stack([_time_month_place(timestep, patch_size_px) for _, timestep in views])
        self.register_buffer("fixed", fixed, persistent=False)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """(n, token, WIDTH): the tokens of each view row by row, view after view.

        Args:
            images: of each view, float32 (n, band, 64, 64), normalised as in Galileo's pretraining.
        """
        rows = list(GROUP_BANDS)
        tokens = []
        for group, image, fixed in zip(self.groups, images, self.fixed.unbind(), strict=True):
            proj = self.space_time_embed[group]["proj"]  # type: ignore[index]
            channel = self.s_t_channel_embed[rows.index(group)].expand(len(fixed), PART)
            tokens.append(proj(image).flatten(2).transpose(1, 2) + torch.cat([channel, fixed], dim=1))
        x = torch.cat(tokens, dim=1)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed


class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(WIDTH, WIDTH)
        self.k = nn.Linear(WIDTH, WIDTH)
        self.v = nn.Linear(WIDTH, WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(n, token, WIDTH), as it came."""
        q, k, v = (layer(x).unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(mixed)
        return out


class Mlp(nn.Module):
    """Two layers, token by token."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, MLP_RATIO * WIDTH)
        self.fc2 = nn.Linear(MLP_RATIO * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(n, token, WIDTH), as it came."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and MLP, each normalised before and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        """(n, token, WIDTH), as it came."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def load_galileo(encoder: GalileoEncoder, path: Path) -> str:
    """Read the published weights, from their file or its folder; what was used is told by the returned text.

    Raises:
        UsageError: the file cannot be read, a tensor that is needed is missing or of another shape, or one is unknown.
    """
    file = weights_file(path, "encoder")
    own = encoder.state_dict()
    other_groups = (f"space_time_embed.{group}." for group in GROUP_BANDS if group not in encoder.groups)
    left_out = (*LEFT_OUT, *other_groups)
    found = read_state_dict(file)
    given = {key: value for key, value in found.items() if not key.startswith(left_out)}
    for key, value in given.items():
        if key in own and value.ndim == 4 and value.shape[2:] == (KERNEL_PX, KERNEL_PX):
            given[key] = resized_kernel(value, own[key].shape[-1])
    check_fit(own, given, f"{file}: does not fit Galileo-nano")
    encoder.load_state_dict(given)
    return f"{file.name} ({len(given)} tensors, {len(found) - len(given)} of other inputs left out)"


def resized_kernel(kernel: Tensor, side_px: int) -> Tensor:
    """(out, in, y, x) -> (out, in, side_px, side_px), so that a resized image gives about the same tokens.

    Pseudo-inverse resize of FlexiViT (Beyer et al., CVPR 2023, section 3.4), bicubic with antialiasing; in float64.
    """
    height, width = kernel.shape[2:]
    if height == width == side_px:
        return kernel
    pixels = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    resized = functional.interpolate(pixels, (side_px, side_px), mode="bicubic", antialias=True)
    inverse = torch.linalg.pinv(resized.flatten(1))  # (side_px * side_px, height * width)
    resampled: Tensor = (kernel.double().flatten(2) @ inverse.T).reshape(*kernel.shape[:2], side_px, side_px)
    return resampled.to(kernel.dtype)


def _time_month_place(timestep: int, patch_size_px: int) -> Tensor:
    """float32 (token, 3 * PART): what is fixed of the encoding of one image's tokens."""
    side = PATCH_SIZE_PX // patch_size_px
    row_px, column_px = torch.meshgrid(*[torch.arange(side) * float(patch_size_px)] * 2, indexing="ij")
    place = torch.cat([_waves(column_px.flatten(), PART // 2), _waves(row_px.flatten(), PART // 2)], dim=1)
    time = _waves(torch.tensor([float(timestep)]), PART)
    angle = torch.tensor(2 * math.pi * MONTH / 12)
    month = torch.cat([angle.sin().expand(PART // 2), angle.cos().expand(PART // 2)])
    return torch.cat([time.expand(side * side, PART), month.expand(side * side, PART), place], dim=1)


def _waves(positions: Tensor, width: int) -> Tensor:
    """float32 (position, width): sines, then cosines, of width / 2 frequencies from 1 down to 10,000 ** -1/4.

    The exponent runs to a quarter, not to 1 as in most transformers: so it was in the pretraining.
    """
    frequencies = 10_000 ** -(torch.arange(width // 2) / width / 2)
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
