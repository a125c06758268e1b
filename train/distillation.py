"""A teacher: a run whose out-of-fold probabilities a smaller network learns beside the labels (G. Hinton et al.,
Distilling the Knowledge in a Neural Network, 2015, with the probabilities as they are: temperature 1).

The teacher's probability of a patch comes from models that did not see this patch, but that saw the labels of patches
which the student holds out; so the student's out-of-fold figures are slightly flattered, and its card says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import UsageError
from lsd.train.datasets.base import PatchDataset
from lsd.train.predictions import read_out_of_fold


@dataclass(frozen=True)
class Teacher:
    """probability: ID -> out-of-fold probability. sha256: of its oof.csv. synthetic: made from synthetic data."""

    name: str
    sha256: str
    synthetic: bool
    probability: dict[str, float]

    def probabilities_of(self, dataset: PatchDataset) -> NDArray[np.float64]:
        """float64 (n,); a patch that the teacher does not know has its label.

        Raises:
            UsageError: it knows fewer than half of the patches.
        """
        known = sum(name in self.probability for name in dataset.ids)
        if 2 * known < len(dataset):
            raise UsageError(
                f"teacher {self.name} knows {known} of {len(dataset)} patches; give a run of the same patches (IDs)"
            )
        own = zip(dataset.ids, dataset.labels.tolist(), strict=True)
        return np.array([self.probability.get(name, float(label)) for name, label in own])

    def to_json(self) -> dict[str, Any]:
        """For the run folder."""
        return {"name": self.name, "sha256": self.sha256, "synthetic": self.synthetic}


def read_teacher(run: Path) -> Teacher:
    """The teacher of a run folder of any kind.

    Raises:
        RunFolderError, TableError: see `read_out_of_fold`.
    """
    found = read_out_of_fold(run)
    known = dict(zip(found.ids, found.probability.tolist(), strict=True))
    return Teacher(found.name, found.sha256, found.synthetic, known)
