"""The loss of a batch: cross-entropy plus one minus soft F1 (METHOD, training)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-7  # keeps soft F1 defined for a batch without positives and without calls


def loss_of(logits: Tensor, targets: Tensor, soft_f1_weight: float) -> Tensor:
    """Scalar loss.

    Args:
        logits: float32 (n,).
        targets: float32 (n,) in 0..1; labels, or labels mixed with a teacher's probabilities.
        soft_f1_weight: 0 leaves the cross-entropy alone.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, targets)
    return entropy if soft_f1_weight == 0 else entropy + soft_f1_weight * (1 - soft_f1(logits, targets))


def soft_f1(logits: Tensor, targets: Tensor) -> Tensor:
    """Scalar 2 tp / (2 tp + fp + fn) with probabilities in place of decisions; 2 tp + fp + fn is the sum of both."""
    probability = torch.sigmoid(logits)
    hits = (probability * targets).sum()
    return 2 * hits / (probability.sum() + targets.sum() + _TINY)


def loss_gradient(logits: Tensor, targets: Tensor, soft_f1_weight: float) -> tuple[float, Tensor]:
    """The loss of a whole batch and its gradient with respect to the logits, float32 (n,).

    A batch that is computed in parts, one after the other or on several devices, goes through here in one piece:
    soft F1 of a batch is not the mean of its parts.
    """
    leaf = logits.detach().float().requires_grad_()
    loss = loss_of(leaf, targets, soft_f1_weight)
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return float(loss.detach()), leaf.grad
