"""Fit one network on the training part of a fold, from the beginning or from where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsd.train.calibrate import log_loss
from lsd.train.datasets.base import PatchDataset
from lsd.train.fitting.augment import augmented
from lsd.train.fitting.average import MovingAverage
from lsd.train.fitting.feed import batches
from lsd.train.fitting.loss import loss_gradient
from lsd.train.fitting.machine import Machine
from lsd.train.fitting.order import Positions, epoch_batches, generator
from lsd.train.fitting.predict import probabilities
from lsd.train.fitting.settings import Fitting
from lsd.train.fitting.state import load_state, save_state
from lsd.train.fitting.world import World

STATE_NAME = "state.pt"
_ORDER, _AUGMENTATION, _NOISE = 0, 1, 2  # purposes of the generators


@dataclass(frozen=True)
class FoldTask:
    """Everything that decides the result of a fit, and how it is done.

    dataset: with the bands of the network, in its order. targets: float32 (n,) in 0..1 for all its patches. training,
    held_out: positions. fold: number that seeds order, augmentation and dropout, together with `seed`. folder: where
    the state lies while the fit goes on. save_every_s: longest time between two saves.
    """

    dataset: PatchDataset
    targets: NDArray[np.float32]
    training: Positions
    held_out: Positions
    fitting: Fitting
    seed: int
    fold: int
    folder: Path
    machine: Machine
    world: World = field(default_factory=World)
    workers: int = 1
    save_every_s: float = 120.0


def steps_of(task: FoldTask) -> int:
    """Number of steps of the whole fit."""
    return task.fitting.epochs * len(_plan(task, 0))


def fit_fold(
    network: nn.Module,
    task: FoldTask,
    advance: Callable[[int, str], object] = lambda n, note: None,
    skip: Callable[[int], object] = lambda n: None,
) -> list[dict[str, Any]]:
    """Train in place; return a row an epoch: learning rate, loss, log loss and F1 of the held-out patches.

    The network ends with the averaged weights where the fitting asks for them, and with those of the best epoch where
    it asks for early stopping. A fit that finds its state in the folder goes on from there and ends as if it had never
    stopped: bit for bit on a CPU with the same number of threads.

    Args:
        network: with its first weights; on the CPU or the device.
        advance: called with steps done and a note. skip: with those that were done before.
    Raises:
        PatchFileError: a patch cannot be read. OutputError: the state cannot be saved. RunFolderError: nor be read.
    """
    fit = _Fit(network.to(task.machine.device), task)
    skip(fit.step)
    while not fit.ended:
        fit.train_epoch(advance)
        fit.end_epoch()
    fit.use_final_weights()
    return fit.history


class _Fit:
    """A fit under way: what is saved, and the steps that move it on."""

    def __init__(self, network: nn.Module, task: FoldTask) -> None:
        self.network, self.task = network, task
        self.optimizer = torch.optim.AdamW(
            network.parameters(), task.fitting.learning_rate, weight_decay=task.fitting.weight_decay
        )
        self.average = MovingAverage(network, task.fitting.ema_decay) if task.fitting.ema_decay else None
        self.scaler = torch.amp.GradScaler(task.machine.device.type, enabled=task.machine.precision == "fp16")
        self.step = 0  # of the whole fit
        self.epoch = 0
        self.losses: list[float] = []  # of the epoch under way
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.saved_s = time.monotonic()
        self.path = task.folder / STATE_NAME
        if self.path.is_file():
            self._restore(load_state(self.path, task.machine.device))

    @property
    def ended(self) -> bool:
        """All epochs are done, or none of the last ones was better."""
        patience, best = self.task.fitting.early_stopping_epochs, self.best.get("epoch", 0)
        return self.epoch >= self.task.fitting.epochs or (patience > 0 and self.epoch - 1 - best >= patience)

    def train_epoch(self, advance: Callable[[int, str], object]) -> None:
        """The steps of an epoch that are still to be done."""
        self.network.train()
        plan = _plan(self.task, self.epoch)
        done = len(self.losses)
        own = [batch[self.task.world.share(len(batch))] for batch in plan[done:]]
        fed = batches(self.task.dataset, own, self.task.workers)
        for at, (whole, (_, patches)) in enumerate(zip(plan[done:], fed, strict=True), start=done):
            self._set_learning_rate(at / len(plan))
            self.losses.append(self._train_batch(whole, patches, at))
            self.step += 1
            advance(1, f"epoch {self.epoch + 1}, loss {np.mean(self.losses):.4f}")
            if time.monotonic() - self.saved_s >= self.task.save_every_s:
                self.save()

    def end_epoch(self) -> None:
        """Agree on running statistics, judge on the held-out patches, note the row, and save."""
        fitting = self.task.fitting
        self._agree_on_buffers()
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "loss": float(np.mean(self.losses)),
        }
        if len(self.task.held_out):
            with _Swapped(self.network, self.average):
                row |= self._judge()
            if fitting.early_stopping_epochs and row["held_out_log_loss"] < self.best.get("loss", math.inf):
                self.best = {"epoch": self.epoch, "loss": row["held_out_log_loss"], "weights": self._weights()}
        self.history.append(row)
        self.epoch, self.losses = self.epoch + 1, []
        self.save()

    def use_final_weights(self) -> None:
        """Load averaged weights, or those of the best epoch."""
        if self.best:
            self.network.load_state_dict(self.best["weights"])
        elif self.average:
            _load_average(self.network, self.average)

    def save(self) -> None:
        """Write the state; only the leading process does."""
        self.saved_s = time.monotonic()
        if self.task.world.leads:
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": self.average.shadow if self.average else {},
                "numbers": {"step": self.step, "epoch": self.epoch, "losses": self.losses},
                "history": self.history,
                "best": self.best,
            }
            save_state(self.path, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        numbers = state["numbers"]
        self.step, self.epoch, self.losses = numbers["step"], numbers["epoch"], numbers["losses"]
        self.history, self.best = state["history"], state["best"]
        if self.average:
            self.average.restore(state["average"], self.step)

    def _set_learning_rate(self, progress: float) -> None:
        fitting = self.task.fitting
        at = self.epoch + (progress if fitting.schedule == "step" else 0.0)
        if at < fitting.warmup_epochs:
            rate = (at + 1) / (fitting.warmup_epochs + 1)
        else:
            rate = 0.5 * (
                1 + math.cos(math.pi * (at - fitting.warmup_epochs) / (fitting.epochs - fitting.warmup_epochs))
            )
        for group in self.optimizer.param_groups:
            group["lr"] = fitting.learning_rate * rate

    def _train_batch(self, whole: Positions, patches: Tensor, at: int) -> float:
        """One step of the optimizer on a batch of which this process has `patches`; returns the loss of the batch."""
        task, place = self.task, (self.task.fold, self.epoch, at)
        own = task.world.share(len(whole))
        rng = generator(task.seed, *place, _AUGMENTATION)
        patches = augmented(patches, task.dataset.bands, task.fitting, rng, own, len(whole)).to(task.machine.device)
        parts = [part for part in patches.tensor_split(task.machine.micro_batches) if len(part)]
        self.optimizer.zero_grad(set_to_none=True)
        graphs = len(parts) == 1  # one part keeps its graph; several are computed again, one by one, to save memory
        logits = [self._forward(part, i, place, graphs) for i, part in enumerate(parts)]
        every = torch.zeros(len(whole), device=task.machine.device)
        if logits:
            every[own] = torch.cat([one.detach().float() for one in logits])
        targets = torch.from_numpy(task.targets[whole]).to(task.machine.device)
        loss, gradient = loss_gradient(task.world.sum(every), targets, task.fitting.soft_f1_weight)
        at_part = own.start
        for i, part in enumerate(parts):
            out = logits[i] if graphs else self._forward(part, i, place, True)
            wanted = gradient[at_part : at_part + len(part)].to(out.dtype)
            self.scaler.scale(out).backward(wanted)  # type: ignore[no-untyped-call]
            at_part += len(part)
        self._move()
        return loss

    def _forward(self, part: Tensor, number: int, place: tuple[int, ...], keep_graph: bool) -> Tensor:
        noise = generator(self.task.seed, *place, _NOISE, number, self.task.world.rank)
        torch.manual_seed(
            int(noise.integers(2**62))
        )  # dropout and drop path are the same when a part is computed again
        with (
            torch.set_grad_enabled(keep_graph),
            self.task.machine.autocast(),
            _StillStatistics(self.network, keep_graph),
        ):
            logits: Tensor = self.network(part)
        return logits

    def _move(self) -> None:
        parameters = list(self.network.parameters())
        self.task.world.sum_gradients(parameters)
        if self.task.fitting.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(parameters, self.task.fitting.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.network)

    def _agree_on_buffers(self) -> None:
        """Running statistics become the mean over the processes."""
        for buffer in self.network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.task.world.sum(buffer.clone()) / self.task.world.size)

    def _judge(self) -> dict[str, float]:
        task = self.task
        found = probabilities(
            self.network, task.dataset, task.held_out, task.machine, workers=task.workers, world=task.world
        )
        labels = task.dataset.labels[task.held_out]
        hits, called = int(labels[found > 0.5].sum()), int((found > 0.5).sum())
        f1 = 2 * hits / max(called + int(labels.sum()), 1)
        return {"held_out_log_loss": log_loss(found, labels), "held_out_f1": f1}

    def _weights(self) -> dict[str, Tensor]:
        with _Swapped(self.network, self.average):
            return {name: value.detach().clone() for name, value in self.network.state_dict().items()}


def _plan(task: FoldTask, epoch: int) -> list[Positions]:
    rng = generator(task.seed, task.fold, epoch, _ORDER)
    least = 2 * task.world.size * task.machine.micro_batches
    fitting = task.fitting
    return epoch_batches(task.training, task.dataset.labels, fitting.sampling, fitting.batch_size, least, rng)


class _StillStatistics:
    """Within a pass whose gradients are not kept, batch normalisation leaves its running statistics alone."""

    def __init__(self, network: nn.Module, moves: bool) -> None:
        self.layers = (
            [] if moves else [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
        )

    def __enter__(self) -> None:
        self.momenta = [layer.momentum for layer in self.layers]
        for layer in self.layers:
            layer.momentum = 0.0

    def __exit__(self, *exception: object) -> None:
        for layer, momentum in zip(self.layers, self.momenta, strict=True):
            layer.momentum = momentum


class _Swapped:
    """Within the block the network has its averaged weights, where there are any."""

    def __init__(self, network: nn.Module, average: MovingAverage | None) -> None:
        self.network, self.average = network, average

    def __enter__(self) -> None:
        if self.average:
            self.kept = {name: value.detach().clone() for name, value in self.network.named_parameters()}
            _load_average(self.network, self.average)

    def __exit__(self, *exception: object) -> None:
        if self.average:
            with torch.no_grad():
                for name, value in self.network.named_parameters():
                    value.copy_(self.kept[name])


@torch.no_grad()
def _load_average(network: nn.Module, average: MovingAverage) -> None:
    for name, value in network.named_parameters():
        value.copy_(average.shadow[name])
