"""The notebook way to score patches, one by one and library by library, timed on a sample: what lsd-run is beside.

Written after METHOD's definition: 7 statistics of 18 channels by numpy and scipy, forests by LightGBM's own predict,
networks by torch eager with four flips whose logits are averaged. Reading, cutting and loading of models do not count.
The forests are those of the run, whose columns are other statistics; what they are given is made beside the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.peers.notebook_statistics import notebook_statistics
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import UsageError
from lsd.runtime.sigmoid import sigmoid
from lsd.train.encoder_run import load_encoder_run
from lsd.train.ensembles.run import Ensemble, ensemble_of_run
from lsd.train.run import Run, load_run

if TYPE_CHECKING:
    import torch

BATCH = 8  # patches a call of a network, and a turn of the clock
FLIPS = ((2,), (3,), (2, 3))  # axes of (n, band, y, x); METHOD, inference: the mean of the logits of 4 flips
Array = NDArray[np.float64]


class Notebook:
    """The members of an ensemble's run, loaded as their own libraries load them. Not for several threads."""

    def __init__(self, ensemble: Path) -> None:
        """Load.

        Raises:
            RunFolderError, UsageError: no ensemble, a member is gone, or one is neither LightGBM nor a network.
        """
        self.ensemble: Ensemble = ensemble_of_run(ensemble)
        self.forests = {one.id: load_run(one.path) for one in self.ensemble.members if one.kind == "forest"}
        self.networks = {one.id: load_encoder_run(one.path) for one in self.ensemble.members if one.kind == "encoder"}
        others = {member.library for run in self.forests.values() for member in run.members} - {"lightgbm"}
        if others or len(self.forests) + len(self.networks) < len(self.ensemble.members):
            raise UsageError(f"{ensemble}: expected an ensemble of LightGBM forests and networks, found others")
        self._boosters = {key: _boosters(run) for key, run in self.forests.items()}
        for run in self.networks.values():
            for network in run.networks:
                network.eval()

    def rows(self, patches: NDArray[np.float32]) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Forest -> member -> float32 (n, feature): the columns that it was trained with."""
        return {
            key: {one.id: run.feature_sets[one.feature_set].of_patches(patches, BAND_NAMES) for one in run.members}
            for key, run in self.forests.items()
        }

    def of_forests(self, rows: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> dict[str, Array]:
        """Forest -> probability float64 (n,) by LightGBM."""
        return {
            key: np.asarray(
                sum(
                    weight * sigmoid(self._boosters[key][member.id].predict(rows[key][member.id], raw_score=True))
                    for member, weight in zip(run.members, run.weights, strict=True)
                )
            )
            for key, run in self.forests.items()
        }

    def of_networks(self, patches: NDArray[np.float32], flips: tuple[tuple[int, ...], ...]) -> dict[str, list[Array]]:
        """Network -> one float64 (fold, n) of logits a view. flips: axes of (n, band, y, x) that a view turns over."""
        import torch

        found: dict[str, list[Array]] = {}
        for key, run in self.networks.items():
            own = np.ascontiguousarray(patches[:, [BAND_NAMES.index(band) for band in run.bands]])
            with torch.inference_mode():
                given = torch.from_numpy(own)
                found[key] = [
                    np.stack([_logits(network, given.flip(axes) if axes else given) for network in run.networks])
                    for axes in flips
                ]
        return found

    def combined(self, forests: Mapping[str, Array], views: Mapping[str, list[Array]]) -> Array:
        """float64 (n,): logits of the views averaged, folds averaged as probabilities, members combined, calibrated."""
        networks = {key: sigmoid(np.mean(several, axis=0)).mean(axis=0) for key, several in views.items()}
        return self.ensemble.calibration.apply(self.ensemble.combine({**forests, **networks}))


@dataclass(frozen=True)
class Timed:
    """microseconds: stage -> one value a turn of the clock, a patch. one_view: float64 (n,), the ensemble's answer
    without flips, which is what a bundle without flips must say."""

    microseconds: dict[str, list[float]]
    one_view: Array

    def to_json(self, patches_of_tile: int) -> dict[str, Any]:
        """Mean and spread of each stage, and a tile of so many patches at this rate."""
        stages = {name: _spread(values) for name, values in self.microseconds.items()}
        whole = {which: sum(one[which] for one in stages.values()) for which in ("mean", "least", "greatest")}
        return {
            "microseconds_a_patch": stages,
            "microseconds_a_patch_all": {which: round(us, 1) for which, us in whole.items()},
            "extrapolated_to_patches": patches_of_tile,
            "extrapolated_seconds": {which: round(us * patches_of_tile / 1e6, 1) for which, us in whole.items()},
        }


def timed(notebook: Notebook, patches: NDArray[np.float32]) -> Timed:
    """Score the sample the notebook way.

    Args:
        patches: float32 (n, 12, 64, 64) in canonical units, n a multiple of `BATCH`.
    """
    stages = ("statistics", "forests", "networks_one_view", "networks_three_flips")
    clock: dict[str, list[float]] = {stage: [] for stage in stages}
    rows = notebook.rows(patches)
    notebook.of_networks(patches[:BATCH], ((),))  # the first call of torch sets up its kernels
    answers = []
    for start in range(0, len(patches), BATCH):
        some = patches[start : start + BATCH]
        n = len(some)
        _clocked(clock["statistics"], n, partial(_statistics_of_all, some))
        answers.append(_clocked(clock["networks_one_view"], n, partial(notebook.of_networks, some, ((),))))
        _clocked(clock["networks_three_flips"], n, partial(notebook.of_networks, some, FLIPS))
        # all rows at once, as notebooks do: a call of LightGBM for a few rows would cost more a patch
        forests = _clocked(clock["forests"], len(patches), partial(notebook.of_forests, rows))
    views = {key: [np.concatenate([one[key][0] for one in answers], axis=1)] for key in notebook.networks}
    return Timed(clock, notebook.combined(forests, views))


def _statistics_of_all(patches: NDArray[np.float32]) -> list[dict[str, float]]:
    return [notebook_statistics(patch) for patch in patches]


def _clocked(into: list[float], n: int, work: Callable[[], Any]) -> Any:
    begun_ns = time.perf_counter_ns()
    found = work()
    into.append((time.perf_counter_ns() - begun_ns) / 1e3 / n)
    return found


def _spread(values: list[float]) -> dict[str, float]:
    """Microseconds a patch: mean, standard deviation, least and greatest of the turns."""
    found = {"mean": np.mean(values), "std": np.std(values), "least": np.min(values), "greatest": np.max(values)}
    return {name: round(float(value), 1) for name, value in found.items()}


def _boosters(run: Run) -> dict[str, Any]:
    import lightgbm

    return {member.id: lightgbm.Booster(model_file=str(member.model)) for member in run.members}


def _logits(network: torch.nn.Module, given: torch.Tensor) -> Array:
    return np.asarray(network(given).numpy(), np.float64)
