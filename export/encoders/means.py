"""Means inside the graph: over flips of logits, over folds of probabilities (METHOD, trap 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FLIPS = 4
# float32 holds exp(80) and its reciprocal, and no float64 tells a probability of sigmoid(37) from 1
LIMIT = 80.0


class MeanOverFlips(nn.Module):
    """Logits (n,), each the mean over the patch as it is, upside down, mirrored, and both.

    The four views go through the network as one batch of 4 n, so that the graph is no longer than without flips.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        """float32 (n, band, y, x) -> logits, float32 (n,)."""
        views = torch.cat([patches, patches.flip(2), patches.flip(3), patches.flip(2, 3)])
        logits: Tensor = self.network(views)
        return logits.reshape(FLIPS, -1).mean(dim=0)


class MeanOverFolds(nn.Module):
    """The logit of the mean probability over the networks of several folds.

    That is log(sum p / sum (1 - p)), where p and 1 - p are each computed from the logit: 1 - p taken from a p that is
    nearly 1 would have no digits left. Logits beyond +-80 count as +-80. To be kept in FP32.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, patches: Tensor) -> Tensor:
        """float32 (n, band, y, x) -> logits, float32 (n,)."""
        logits = torch.stack([network(patches) for network in self.networks]).clamp(-LIMIT, LIMIT)
        # not sigmoid: runtimes approximate it with an absolute error, and the tails need a relative one
        positive, negative = 1 / (1 + torch.exp(-logits)), 1 / (1 + torch.exp(logits))
        return torch.log(positive.sum(dim=0)) - torch.log(negative.sum(dim=0))
