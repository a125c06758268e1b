"""Galileo-nano as a backbone: how this package's channels become the images that it was pretrained on.

Galileo takes time series, so radar is not given as level and change but as images before and after the event, as if
four scenes had followed one another: descending and ascending before it, descending and ascending after it. The optical
image is of the last moment. The image before is the level after minus the change. Moments without an image are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import RecipeError
from lsd.train.encoders.galileo_encoder import GROUP_BANDS, WIDTH, GalileoEncoder, load_galileo
from lsd.train.encoders.scaling import paper_scaling

PATCH_SIZES_PX = (8, 4, 2, 1)
OFFSET_DN = 1000.0  # DN = reflectance x 10,000 + 1,000 (runtime/data/sensors.json); Galileo's has no offset
# Mean and standard deviation of the pixels of its pretraining (nasaharvest/galileo, config/normalization.json, "13"):
# dB of the Earth Engine's S1_GRD (ellipsoid sigma0), reflectance x 10,000 of its S2_HARMONIZED (top of atmosphere).
PRETRAINING = {
    "VV": (-11.728724, 4.887146),
    "VH": (-18.855582, 5.730270),
    "B2": (1395.3409, 917.7041),
    "B3": (1338.4027, 913.2988),
    "B4": (1343.0988, 1092.6787),
    "B8": (2410.3377, 1098.9792),
}


@dataclass(frozen=True)
class View:
    """An image for Galileo: one of its groups of bands at one moment.

    bands: of the patch, in the order of the group's own. changes: of the same bands, which are taken away from them.
    """

    group: str
    moment: int
    bands: tuple[str, ...]
    changes: tuple[str, ...] = ()


VIEWS = (
    View("S1", 0, ("desc_vv", "desc_vh"), ("desc_dvv", "desc_dvh")),
    View("S1", 1, ("asc_vv", "asc_vh"), ("asc_dvv", "asc_dvh")),
    View("S1", 2, ("desc_vv", "desc_vh")),
    View("S1", 3, ("asc_vv", "asc_vh")),
    View("S2_RGB", 3, ("blue", "green", "red")),
    View("S2_NIR_10m", 3, ("nir",)),
    View("NDVI", 3, ("nir", "red")),
)


def views_of(channels: Sequence[str]) -> tuple[View, ...]:
    """The images that can be made of these channels: no channel of a group, no tokens of it.

    One channel is enough for a group, the others are then their average: a change without its level is a change from
    the average level. NDVI needs both of its bands.
    """
    have = set(channels)
    return tuple(
        view
        for view in VIEWS
        if (have.issuperset(view.bands) if view.group == "NDVI" else have.intersection(view.changes or view.bands))
    )


class GalileoBackbone(nn.Module):
    """Galileo-nano with a linear layer on the mean of its tokens.

    The input is put back into DN and dB with the paper's constants and then normalised with the statistics of Galileo's
    pretraining. That is exact for a recipe with `standard` scaling and the constants of the `paper`; with others, the
    data's own statistics stand in for the paper's. Two things differ from the pretraining in any case: our reflectance
    is that of the ground, not of the top of the atmosphere, and the month is not known.

    Args:
        channels: canonical names of bands, along axis 1 of the input.
        features: length of the output.
        weights: the published encoder.pt or its folder; None starts at random, from torch's global generator.
        patch_size_px: side of a token. 8 makes 64 tokens an image, up to seven images a patch; time grows with the
            square of the number of tokens.
    Raises:
        RecipeError: a channel is no band, none is there, or another patch size.
        UsageError: weights that do not fit.
    """

    source: Tensor
    location: Tensor
    spread: Tensor

    def __init__(
        self, channels: Sequence[str], features: int, weights: Path | None = None, *, patch_size_px: int = 8
    ) -> None:
        super().__init__()
        other = [name for name in channels if name not in BAND_NAMES]
        if other or not channels:
            raise RecipeError(
                f"galileo-nano: expected channels among {', '.join(BAND_NAMES)} (it makes its own NDVI), "
                f"found {', '.join(other) or 'none'}"
            )
        if patch_size_px not in PATCH_SIZES_PX:
            raise RecipeError(
                f"galileo-nano: patch_size_px must be {', '.join(map(str, PATCH_SIZES_PX))}, is {patch_size_px!r}"
            )
        scaling = paper_scaling("standard")
        offset = dict.fromkeys(of_modality("optical"), OFFSET_DN)
        location = [scaling.location[name] - offset.get(name, 0.0) for name in BAND_NAMES]
        spread = [scaling.spread[name] for name in BAND_NAMES]
        at = {name: position for position, name in enumerate(channels)}
        source = [at.get(name, len(channels)) for name in BAND_NAMES]  # one behind the last: a channel of zeros
        self.register_buffer("location", torch.tensor(location).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(spread).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("source", torch.tensor(source), persistent=False)
        self.views = views_of(channels)
        moments = sorted({view.moment for view in self.views})
        self.encoder = GalileoEncoder([(view.group, moments.index(view.moment)) for view in self.views], patch_size_px)
        self.head = nn.Linear(WIDTH, features)
        self.origin = "random" if weights is None else load_galileo(self.encoder, weights)

    def forward(self, x: Tensor) -> Tensor:
        """float32 (n, channel, 64, 64), each channel of mean 0 and deviation 1 -> (n, features)."""
        tokens = self.encoder(self.images(x))
        features: Tensor = self.head(tokens.mean(dim=1))
        return features

    def images(self, x: Tensor) -> list[Tensor]:
        """What Galileo sees: for each of `self.views` float32 (n, band, 64, 64), normalised."""
        absent = torch.zeros_like(x[:, :1])
        scaled = torch.cat([x, absent], dim=1).index_select(1, self.source)
        physical = scaled * self.spread + self.location
        planes = dict(zip(BAND_NAMES, physical.unbind(1), strict=True))
        return [_image(view, planes) for view in self.views]


def _image(view: View, planes: Mapping[str, Tensor]) -> Tensor:
    """(n, band, y, x) of one view from the planes (n, y, x) of all bands, in reflectance x 10,000 and dB."""
    if view.group == "NDVI":
        nir, red = (planes[name].clamp(min=0) for name in view.bands)
        return ((nir - red) / (nir + red).clamp(min=1)).unsqueeze(1)
    shown = [planes[name] for name in view.bands]
    if view.changes:
        shown = [level - planes[name] for level, name in zip(shown, view.changes, strict=True)]
    statistics = [PRETRAINING[band] for band in GROUP_BANDS[view.group]]
    # mean - 2 deviations becomes 0, mean + 2 deviations 1
    normalised = [(plane - mean) / (4 * std) + 0.5 for plane, (mean, std) in zip(shown, statistics, strict=True)]
    return torch.stack(normalised, dim=1)
