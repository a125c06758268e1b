"""One look at every sample before a training: which can be used, and the statistics of their bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lsd.runtime.errors import PatchFileError
from lsd.train.datasets.band_statistics import BandAccumulator, BandStatistics
from lsd.train.datasets.base import PatchDataset


@dataclass(frozen=True)
class Survey:
    """What can be trained on. dataset, statistics: of the usable samples. skipped: (id, reason) of the others."""

    dataset: PatchDataset
    skipped: tuple[tuple[str, str], ...]
    statistics: BandStatistics


def survey(dataset: PatchDataset, advance: Callable[[int], object] = lambda n: None, *, strict: bool = False) -> Survey:
    """Read each sample once; memory holds one.

    A sample cannot be used if its reader refuses it (missing, corrupt, of another shape) or no pixel of any band is
    valid. A band that is invalid throughout is ordinary: an orbit that did not pass.

    Args:
        advance: called with 1 after each sample. strict: stop at the first sample that cannot be used.
    Raises:
        PatchFileError: `strict`, and a sample cannot be used; or none can.
    """
    gathered = BandAccumulator(dataset.bands, dataset.units)
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    for position, name in enumerate(dataset.ids):
        try:
            pixels = dataset.read(position)
            if np.isnan(pixels).all():
                raise PatchFileError(f"{name}: no pixel of any band is valid")
        except PatchFileError as error:
            if strict:
                raise
            skipped.append((name, " ".join(str(error).split())))
        else:
            gathered.add(pixels)
            kept.append(position)
        advance(1)
    if not kept:
        raise PatchFileError(f"none of {len(dataset)} samples can be used; the first: {skipped[0][1]}")
    return Survey(dataset.subset(kept), tuple(skipped), gathered.result())
