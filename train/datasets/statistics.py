"""Statistics of patches, for the forests: computed from pixels by the runtime's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import INDEX_BY_NAME
from lsd.runtime.features.sets import named_statistics, split
from lsd.train.datasets.base import PatchDataset
from lsd.train.samples import Samples

PATCHES_PER_BATCH = 64


def statistics_of(
    dataset: PatchDataset, names: Sequence[str], advance: Callable[[int], object] = lambda n: None
) -> Samples:
    """Samples whose statistics are computed a batch at a time, in float64, and rounded to float32.

    Args:
        names: statistics to compute; those of channels that the bands of the patches do not give are left out.
        advance: called with the number of patches read since the last call.
    Raises:
        PatchFileError: a patch cannot be used; `lsd.train.datasets.survey` tells them apart before.
    """
    given = [name for name in names if _is_given(split(name)[0], dataset.bands)]
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in given}
    for start in range(0, len(dataset), PATCHES_PER_BATCH):
        batch = range(start, min(start + PATCHES_PER_BATCH, len(dataset)))
        pixels = np.stack([dataset.read(position) for position in batch])
        for name, values in named_statistics(pixels, dataset.bands, given).items():
            found[name].append(values)
        advance(len(batch))
    return Samples(
        ids=dataset.ids,
        labels=dataset.labels,
        statistics={name: np.concatenate(parts).astype(np.float32) for name, parts in found.items()},
        source=dataset.source,
        sha256=dataset.sha256,
        groups=dataset.groups,
        events=dataset.events,
        synthetic=dataset.synthetic,
        units=dataset.units,
    )


def _is_given(channel: str, bands: Sequence[str]) -> bool:
    index = INDEX_BY_NAME.get(channel)
    return channel in bands if index is None else {index.numerator, index.denominator} <= set(bands)
