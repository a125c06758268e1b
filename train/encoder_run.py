"""The run folder of a network: what lsd-train encoder leaves, and what evaluation, ensembles and export read.

run.json              kind `encoder`: recipe, scaling, data, folds, configurations with calibration and thresholds
folds/K/weights.safetensors   the network of each fold; together they are the member: their probabilities are averaged
oof.csv               ID, label, fold, mean (the whole network), calibrated (nested), and a column `mean:NAME` for each
                      further configuration that modality dropout serves; absent from an imported run
report.json, curves.csv, plots.png, environment.json, band_statistics.json, skipped.csv, CARD.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import LsdError, RunFolderError, UsageError
from lsd.train.datasets.base import PatchDataset
from lsd.train.encoders.recipe import EncoderRecipe, encoder_recipe_of
from lsd.train.encoders.scaling import Scaling
from lsd.train.run import RUN_NAME, SCHEMA_VERSION

if TYPE_CHECKING:
    from lsd.train.encoders.network import Network
    from lsd.train.fitting.machine import Machine

KIND = "encoder"
WEIGHTS_NAME = "weights.safetensors"


def fold_folder(run: Path, number: int) -> Path:
    """Where the files of a fold lie."""
    return run / "folds" / str(number)


@dataclass(frozen=True)
class Served:
    """One configuration that the network serves. column: of oof.csv; None for an imported run."""

    name: str
    bands: tuple[str, ...]
    calibration: Calibration
    threshold: float
    look_threshold: float
    column: str | None


@dataclass(frozen=True)
class EncoderRun:
    """A run folder, read; weights are read, and their hashes checked, when networks are asked for.

    bands: input of the network, in its order. configurations: the first is the whole network.
    """

    path: Path
    recipe: EncoderRecipe
    scaling: Scaling
    configurations: tuple[Served, ...]
    parameters: int
    folds: tuple[int, ...]
    units: str
    synthetic: bool
    document: dict[str, Any]

    @property
    def bands(self) -> tuple[str, ...]:
        """Canonical names of the input bands, in the order of the input."""
        return self.recipe.bands

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """One network a fold, with its weights, on the CPU, in evaluation mode.

        Raises:
            RunFolderError: weights are missing, changed or do not fit the recipe.
        """
        return tuple(self._network(number) for number in self.folds)

    def probabilities(
        self,
        dataset: PatchDataset,
        bands: Sequence[str] | None = None,
        advance: Callable[[int], object] = lambda n: None,
        machine: Machine | None = None,
        flips: bool = False,
    ) -> NDArray[np.float64]:
        """float64 (n,), mean over the folds, not calibrated.

        Args:
            dataset: patches with at least the bands that are shown, in units of the training data.
            bands: shown to the network, by default all of its bands; the others are invalid, which only a network
                trained with modality dropout can do without.
            machine: where to compute, by default the CPU. flips: mean over flips in each fold (METHOD, inference).
            advance: called with the number of patches done, each once.
        Raises:
            UsageError: the dataset lacks a band, or has other units.
        """
        import torch

        from lsd.train.fitting.machine import Machine
        from lsd.train.fitting.predict import probabilities

        shown = tuple(self.bands if bands is None else bands)
        missing = [band for band in shown if band not in dataset.bands]
        if missing:
            raise UsageError(
                f"{self.path}: needs the band(s) {', '.join(missing)}, the patches of {dataset.source} have "
                f"{', '.join(dataset.bands)}"
            )
        if dataset.units != self.units:
            raise UsageError(f"{self.path}: trained on {self.units} units, the patches have {dataset.units} ones")
        machine = machine or Machine(torch.device("cpu"), "fp32")
        arranged = dataset.arranged(self.bands)
        total = np.zeros(len(dataset))
        for i, network in enumerate(self.networks):
            ahead = advance if i == len(self.networks) - 1 else lambda n: None
            total += probabilities(
                network.to(machine.device), arranged, np.arange(len(dataset)), machine, shown, flips, advance=ahead
            )
        return total / len(self.networks)

    def _network(self, number: int) -> Network:
        from safetensors.torch import load

        from lsd.train.encoders.network import network_from_recipe

        file = fold_folder(self.path, number) / WEIGHTS_NAME
        wanted = self.document["weights"][str(number)]
        try:
            content = file.read_bytes()
        except OSError as error:
            raise RunFolderError(f"{file}: cannot be read ({error.strerror}); train or import again") from error
        if hashlib.sha256(content).hexdigest() != wanted:
            raise RunFolderError(f"{file}: is not what {RUN_NAME} lists (SHA-256 differs); train or import again")
        network = network_from_recipe(self.recipe, self.scaling)
        try:
            network.load_state_dict(load(content))
        except Exception as error:  # safetensors and torch name several
            raise RunFolderError(f"{file}: does not fit the recipe ({' '.join(str(error).split())[:200]})") from error
        return network.eval()


def load_encoder_run(path: Path) -> EncoderRun:
    """Read a run folder of a network.

    Raises:
        RunFolderError: no run folder of kind `encoder`, another schema version, or a key is missing.
    """
    file = path / RUN_NAME
    if not file.is_file():
        raise RunFolderError(f"{path}: no run folder ({RUN_NAME} is missing); lsd-train encoder -o {path} makes one")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document.get("kind") != KIND:
            raise RunFolderError(f"{path}: expected a run of kind {KIND!r}, found {document.get('kind', 'forest')!r}")
        if document["schema_version"] != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path}: run schema version is {document['schema_version']!r}, this lsd-edge reads {SCHEMA_VERSION}; "
                "train again with this version"
            )
        return EncoderRun(
            path=path,
            recipe=encoder_recipe_of(document["recipe"], str(file)),
            scaling=Scaling.from_json(document["scaling"]),
            configurations=tuple(_served(one) for one in document["configurations"]),
            parameters=int(document["parameters"]),
            folds=tuple(sorted(int(number) for number in document["weights"])),
            units=str(document["data"]["units"]),
            synthetic=bool(document["data"]["synthetic"]),
            document=document,
        )
    except LsdError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise RunFolderError(f"{path}: incomplete run ({type(error).__name__}: {error}); train it again") from error


def _served(stored: dict[str, Any]) -> Served:
    return Served(
        name=str(stored["name"]),
        bands=tuple(stored["bands"]),
        calibration=Calibration.from_json(stored["calibration"]),
        threshold=float(stored["threshold"]),
        look_threshold=float(stored["look_threshold"]),
        column=stored["column"],
    )
