"""The processes that train together, as torchrun starts them. Alone, every exchange returns what it was given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """This process among `size`; rank 0 writes files and talks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place; every process must call it in the same order."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place."""
        gradients = [one.grad for one in parameters if one.grad is not None]
        if self.size > 1 and gradients:
            flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
            for gradient, part in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def share(self, items: int) -> slice:
        """Which of `items` in a row are this process's: parts of nearly equal size."""
        return slice(items * self.rank // self.size, items * (self.rank + 1) // self.size)

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the exchange."""
        if self.size > 1:
            distributed.destroy_process_group()


def world_from_environment() -> World:
    """Join the processes of torchrun (docs.pytorch.org: torchrun, environment variables); alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return World()
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return World(distributed.get_rank(), distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
