"""Exponential moving average of weights (B. Polyak and A. Juditsky, SIAM J. Control Optim. 30(4), 1992, in its usual
exponential form)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average of a network's parameters; buffers are taken as they are. Not thread-safe.

    The decay rises with the number of steps t as (1 + t) / (10 + t) up to `decay`: the first weights do not stay.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.shadow = {name: value.detach().clone() for name, value in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.named_parameters():
            self.shadow[name].lerp_(value, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Weights to go on from, for the checkpoint."""
        return self.shadow

    def restore(self, shadow: dict[str, Tensor], steps: int) -> None:
        """Go on from a checkpoint."""
        self.steps = steps
        for name, value in shadow.items():
            self.shadow[name].copy_(value)
