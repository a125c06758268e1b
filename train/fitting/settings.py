"""How a network is fitted: the part of a recipe that says nothing about the network itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lsd.runtime.errors import RecipeError
from lsd.runtime.nearest import did_you_mean
from lsd.train.groups import GROUPS

SAMPLINGS = ("plain", "balanced")
SCHEDULE_STEPS = ("epoch", "step")


@dataclass(frozen=True)
class Fitting:
    """Settings of one fit; the defaults are those of the paper (METHOD, training) where it names them.

    learning_rate: of AdamW at the start of the cosine to 0; `schedule` says whether it moves by epoch (as
    in the paper) or by step. warmup_epochs: linear rise before it. batch_size: patches a step, of all micro-batches and
    processes. soft_f1_weight: of 1 - soft F1 beside the cross-entropy. sampling: `plain`, each patch once an epoch;
    `balanced`, both classes equally often. ema_decay: of the averaged weights, 0 is off. modality_dropout: groups of
    bands (`optical`, `sar`, `optical,desc_pair`) -> probability that a training patch keeps these bands only; the rest
    of the patches stay whole. early_stopping_epochs: epochs without a lower held-out loss after which a fold stops and
    goes back to its best epoch; 0 is off. clip_norm: largest norm of a gradient, 0 is off.
    """

    learning_rate: float = 1e-4
    epochs: int = 20
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_epochs: int = 0
    schedule: str = "epoch"
    soft_f1_weight: float = 1.0
    sampling: str = "plain"
    flips: bool = True
    quarter_turns: bool = True
    ema_decay: float = 0.0
    modality_dropout: Mapping[str, float] = field(default_factory=dict)
    early_stopping_epochs: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        """Raises RecipeError for a value of the wrong type or out of range."""
        for one in fields(self):
            value, wanted = getattr(self, one.name), type(_DEFAULTS[one.name])
            fits = isinstance(value, Mapping) if wanted is dict else type(value) is wanted
            if not fits and not (wanted is float and type(value) is int):
                raise RecipeError(f"fitting: {one.name} must be {wanted.__name__}, is {value!r}")
        ranges = {
            "learning_rate > 0": self.learning_rate > 0,
            "epochs >= 1": self.epochs >= 1,
            "batch_size >= 2": self.batch_size >= 2,
            "weight_decay >= 0": self.weight_decay >= 0,
            "0 <= warmup_epochs < epochs": 0 <= self.warmup_epochs < self.epochs,
            f"schedule one of {', '.join(SCHEDULE_STEPS)}": self.schedule in SCHEDULE_STEPS,
            "soft_f1_weight >= 0": self.soft_f1_weight >= 0,
            f"sampling one of {', '.join(SAMPLINGS)}": self.sampling in SAMPLINGS,
            "0 <= ema_decay < 1": 0 <= self.ema_decay < 1,
            "early_stopping_epochs >= 0": self.early_stopping_epochs >= 0,
            "clip_norm >= 0": self.clip_norm >= 0,
        }
        for expected, holds in ranges.items():
            if not holds:
                name = next(one.name for one in fields(self) if one.name in expected.split())
                raise RecipeError(f"fitting: expected {expected}, is {getattr(self, name)!r}")
        self._check_dropout()

    def _check_dropout(self) -> None:
        for groups, probability in self.modality_dropout.items():
            for group in groups.split(","):
                if group.strip() not in GROUPS:
                    raise RecipeError(
                        f"fitting: modality_dropout names unknown bands {group!r}{did_you_mean(group, list(GROUPS))} "
                        f"(known: {', '.join(GROUPS)})"
                    )
            if not isinstance(probability, (int, float)) or not 0 <= probability <= 1:
                raise RecipeError(f"fitting: modality_dropout {groups!r} must be 0..1, is {probability!r}")
        if sum(self.modality_dropout.values()) > 1 + 1e-9:
            raise RecipeError("fitting: the probabilities of modality_dropout add up to more than 1")

    def to_json(self) -> dict[str, Any]:
        """For the run folder."""
        return {**asdict(self), "modality_dropout": dict(self.modality_dropout)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], where: str = "fitting") -> Fitting:
        """Raises RecipeError for an unknown key or an unfit value."""
        for key in stored:
            if key not in _DEFAULTS:
                raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(key, list(_DEFAULTS))}")
        return cls(**stored)


_DEFAULTS: dict[str, Any] = {one.name: {} if one.name == "modality_dropout" else one.default for one in fields(Fitting)}
