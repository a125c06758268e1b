"""What runs are judged on: labelled samples with the statistics that forests read and, if there are, their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.train.configuration import REFERENCE_STATISTICS, SEA_STATISTIC
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.statistics import statistics_of
from lsd.train.metrics import is_open_sea
from lsd.train.samples import Samples
from lsd.train.table import read_table


@dataclass(frozen=True)
class Subject(Samples):
    """Samples under judgement, read-only. dataset: the same samples as patches; None from a feature table."""

    dataset: PatchDataset | None = None

    @property
    def land(self) -> NDArray[np.bool_] | None:
        """bool (n,), not open sea; None without descending VH in dB."""
        if SEA_STATISTIC not in self.statistics or self.units != "canonical":
            return None
        return ~is_open_sea(self.statistics[SEA_STATISTIC])

    def subset(self, positions: Sequence[int] | NDArray[np.intp]) -> Subject:
        """These samples only, in this order."""
        kept = [int(position) for position in positions]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in kept),
            labels=self.labels[kept],
            statistics={name: values[kept] for name, values in self.statistics.items()},
            groups=None if self.groups is None else tuple(self.groups[i] for i in kept),
            events=None if self.events is None else tuple(self.events[i] for i in kept),
            dataset=None if self.dataset is None else self.dataset.subset(kept),
        )


def subject_of_table(path: Path, needed: Sequence[str], synthetic: bool = False) -> Subject:
    """Samples of a feature table.

    Args:
        needed: statistics that the runs read; those that tell land and clusters are read where the table has them.
        synthetic: the pixels behind it were made up.
    Raises:
        TableError: as lsd.train.table.read_table.
    """
    return Subject(**{**vars(read_table(path, needed, REFERENCE_STATISTICS)), "synthetic": synthetic})


def subject_of_patches(
    dataset: PatchDataset, needed: Sequence[str], advance: Callable[[int], object] = lambda n: None
) -> Subject:
    """Samples of patches; the statistics are computed once for all runs, in one pass over the pixels.

    Args:
        needed: statistics that the runs read; those of bands that the patches lack are left out.
        advance: called with the number of patches read.
    Raises:
        PatchFileError: a patch cannot be read.
    """
    samples = statistics_of(dataset, list(dict.fromkeys([*needed, *REFERENCE_STATISTICS])), advance)
    return Subject(**vars(samples), dataset=dataset)
