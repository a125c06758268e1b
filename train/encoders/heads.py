"""How the features of several encoders become one logit: the heads of the paper (METHOD, heads).

All take (n, encoder * features), the encoders' features side by side, and give (n, 1). What the first layer makes of
them is put behind them, before the next layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SingleHead(nn.Identity):
    """One encoder, which gives the logit itself."""


class TwoEncoderHead(nn.Module):
    """Linear to `features`, BatchNorm, and one logit of it all. The BatchNorm folds into the Linear before it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fuse = nn.Linear(2 * features, features)
        self.norm = nn.BatchNorm1d(features)
        self.classify = nn.Linear(3 * features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, (n, 1)."""
        fused = self.norm(self.fuse(features))
        logits: Tensor = self.classify(torch.cat([features, fused], dim=1))
        return logits


class ThreeEncoderHeadA(nn.Module):
    """Linear to two thirds, BatchNorm, Linear over it all, dropout, one logit."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fuse = nn.Linear(3 * features, 2 * features)
        self.norm = nn.BatchNorm1d(2 * features)
        self.combine = nn.Linear(5 * features, 2 * features)
        self.dropout = nn.Dropout(0.1)
        self.classify = nn.Linear(2 * features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, (n, 1)."""
        fused = self.norm(self.fuse(features))
        combined = self.combine(torch.cat([features, fused], dim=1))
        logits: Tensor = self.classify(self.dropout(combined))
        return logits


class ThreeEncoderHeadC(nn.Module):
    """Linear to a third, ReLU, and one logit of it all."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fuse = nn.Linear(3 * features, features)
        self.classify = nn.Linear(4 * features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, (n, 1)."""
        fused = torch.relu(self.fuse(features))
        logits: Tensor = self.classify(torch.cat([features, fused], dim=1))
        return logits


def create_head(kind: str, features: int) -> nn.Module:
    """The head of that name (`lsd.train.encoders.recipe.HEADS`) for encoders of so many features."""
    if kind == "single":
        return SingleHead()
    return {"two": TwoEncoderHead, "three-a": ThreeEncoderHeadA, "three-c": ThreeEncoderHeadC}[kind](features)
