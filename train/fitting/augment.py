"""What is done to a training batch: flips, quarter turns, and bands taken away. Choices come from a numpy generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsd.train.fitting.settings import Fitting
from lsd.train.groups import bands_of_groups


def augmented(
    patches: Tensor, bands: Sequence[str], fitting: Fitting, rng: np.random.Generator, own: slice, whole: int
) -> Tensor:
    """Turned, flipped, and with modalities dropped, as the fitting asks.

    Choices are drawn for the whole batch, so that a patch meets the same ones whatever process has it.

    Args:
        patches: float32 (n, band, y, x), raw, those at `own` of a batch of `whole`; not changed.
        bands: canonical names along axis 1.
    """
    turns = rng.integers(0, 4, whole)[own] * fitting.quarter_turns
    flips = rng.integers(0, 4, whole)[own] * fitting.flips
    out = torch.empty_like(patches)
    for turn in range(4):
        for flip in range(4):
            chosen = torch.from_numpy(np.flatnonzero((turns == turn) & (flips == flip)))
            if len(chosen):
                axes = [axis for axis, bit in ((2, 1), (3, 2)) if flip & bit]
                out[chosen] = torch.flip(torch.rot90(patches[chosen], turn, (2, 3)), axes)
    if fitting.modality_dropout:
        subsets = list(fitting.modality_dropout)
        kept = [float(fitting.modality_dropout[subset]) for subset in subsets]
        drawn = rng.choice(len(subsets) + 1, whole, p=[*kept, max(1.0 - sum(kept), 0.0)])[own]
        for number, subset in enumerate(subsets):
            keep_only(out, bands, bands_of_groups(subset), np.flatnonzero(drawn == number))
    return out


def keep_only(patches: Tensor, bands: Sequence[str], kept: Sequence[str], rows: NDArray[np.intp] | None = None) -> None:
    """Make every band that is not among `kept` invalid (NaN), in place, in these rows or in all."""
    absent = [i for i, band in enumerate(bands) if band not in kept]
    if absent:
        chosen = torch.arange(len(patches)) if rows is None else torch.from_numpy(rows)
        patches[chosen[:, None], torch.tensor(absent)] = torch.nan
