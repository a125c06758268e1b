"""All folds of a run, one after the other; folds that were finished before are read, not trained again."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as safetensors_bytes
from torch import nn

from lsd.runtime.commit import write_bytes
from lsd.runtime.npz import npz_bytes
from lsd.train.datasets.base import PatchDataset
from lsd.train.encoder_run import WEIGHTS_NAME, fold_folder
from lsd.train.encoders.network import Network
from lsd.train.fitting.fold import STATE_NAME, FoldTask, fit_fold, steps_of
from lsd.train.fitting.machine import Machine
from lsd.train.fitting.order import generator
from lsd.train.fitting.predict import probabilities
from lsd.train.fitting.settings import Fitting
from lsd.train.fitting.workplace import IDENTITY_NAME
from lsd.train.fitting.world import World

DONE_NAME = "done.npz"  # out-of-fold probabilities, history and duration of a fold


@dataclass(frozen=True)
class CrossValidation:
    """What a run of all folds is made of.

    dataset: with the bands of the network. targets: float32 (n,). fold: int8 (n,), fold in which a patch is held out.
    build: new network with first weights, from torch's global generator. configurations: name -> bands that the network
    is shown for its out-of-fold probabilities. folder: see `workplace`.
    """

    dataset: PatchDataset
    targets: NDArray[np.float32]
    fold: NDArray[np.int8]
    build: Callable[[], Network]
    configurations: Mapping[str, tuple[str, ...]]
    fitting: Fitting
    seed: int
    folder: Path
    machine: Machine
    world: World
    workers: int
    save_every_s: float

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds."""
        return [int(number) for number in np.unique(self.fold)]

    def task(self, number: int) -> FoldTask:
        """The fit of one fold."""
        return FoldTask(
            dataset=self.dataset,
            targets=self.targets,
            training=np.flatnonzero(self.fold != number),
            held_out=np.flatnonzero(self.fold == number),
            fitting=self.fitting,
            seed=self.seed,
            fold=number,
            folder=fold_folder(self.folder, number),
            machine=self.machine,
            world=self.world,
            workers=self.workers,
            save_every_s=self.save_every_s,
        )


@dataclass(frozen=True)
class Fitted:
    """probabilities: configuration -> float64 (n,), out of fold. history, seconds: by fold, see `fit_fold`."""

    probabilities: dict[str, NDArray[np.float64]]
    history: dict[int, list[dict[str, Any]]]
    seconds: dict[int, float]


def steps_in_all(run: CrossValidation) -> int:
    """Number of optimizer steps of all folds."""
    return sum(steps_of(run.task(number)) for number in run.folds)


def cross_validate(
    run: CrossValidation, advance: Callable[[int, str], object], skip: Callable[[int], object] = lambda n: None
) -> Fitted:
    """Train every fold that is not done; leaves `folds/K/weights.safetensors` for each.

    Args:
        advance: called with steps done and a note. skip: called with steps that were done before.
    Raises:
        PatchFileError, OutputError, RunFolderError: see `fit_fold`.
    """
    found = {name: np.full(len(run.dataset), np.nan) for name in run.configurations}
    history, seconds = {}, {}
    for number in run.folds:
        task = run.task(number)
        if (task.folder / DONE_NAME).is_file():
            skip(steps_of(task))
        else:
            _train(run, task, advance, skip)
        run.world.wait()
        with np.load(io.BytesIO((task.folder / DONE_NAME).read_bytes()), allow_pickle=False) as stored:
            for name in run.configurations:
                found[name][task.held_out] = stored[f"probability:{name}"]
            history[number] = json.loads(stored["history"].item())
            seconds[number] = float(stored["seconds"].item())
    return Fitted(found, history, seconds)


def _train(
    run: CrossValidation, task: FoldTask, advance: Callable[[int, str], object], skip: Callable[[int], object]
) -> None:
    started_s = time.perf_counter()
    if run.world.leads:
        task.folder.mkdir(parents=True, exist_ok=True)
    run.world.wait()
    torch.manual_seed(int(generator(run.seed, task.fold).integers(2**62)))
    network: nn.Module = run.build()
    if run.world.size > 1 and run.machine.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    title = f"fold {run.folds.index(task.fold) + 1} of {len(run.folds)}"
    history = fit_fold(network, task, lambda n, note: advance(n, f"{title}, {note}"), skip)
    stored: dict[str, NDArray[Any]] = {"history": np.array(json.dumps(history))}
    for name, bands in run.configurations.items():
        stored[f"probability:{name}"] = probabilities(
            network, task.dataset, task.held_out, run.machine, bands, workers=run.workers, world=run.world
        )
    if run.world.leads:
        weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        write_bytes(task.folder / WEIGHTS_NAME, safetensors_bytes(weights))
        stored["seconds"] = np.array(time.perf_counter() - started_s)
        partial = task.folder / f".{DONE_NAME}.partial"
        write_bytes(partial, npz_bytes(stored))
        partial.replace(task.folder / DONE_NAME)
        (task.folder / STATE_NAME).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Take what only a training under way needs out of its folder."""
    for file in (*folder.glob("folds/*/.*.partial"), *folder.glob(f"folds/*/{DONE_NAME}")):
        file.unlink()
    (folder / IDENTITY_NAME).unlink()
