"""What the products of a run have in common: the bundle that answered, what it assumes, what the user stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsd.runtime.manifest import Configuration
from lsd.runtime.prevalence import shifted


@dataclass(frozen=True)
class RunContext:
    """What all products of a run say alike.

    configurations: of the bundle, in its order (scores count them from 1). synthetic: the bundle was trained on made-up
    data. version: of lsd-edge. prevalence: share of patches with a slide that the user states, None for that of the
    training data. event_time: ISO 8601 in UTC as the user states it, None if not. exits: configuration -> its early
    exit in use, as `lsd.runtime.exits.describe_exits` tells it. fallback: why other backends answered than were asked
    for, None if they did not.
    """

    bundle_name: str
    bundle_sha256: str
    configurations: tuple[Configuration, ...]
    synthetic: bool
    version: str
    prevalence: float | None = None
    event_time: str | None = None
    exits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fallback: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the configurations."""
        return tuple(configuration.name for configuration in self.configurations)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Probability, as products show it, above which a patch is a slide; one a configuration."""
        return tuple(self._shown(one.threshold, one) for one in self.configurations)

    @property
    def look_thresholds(self) -> tuple[float, ...]:
        """Probability, as products show it, above which a patch without a detection is worth a look."""
        return tuple(self._shown(one.look_threshold, one) for one in self.configurations)

    @property
    def prevalences(self) -> tuple[float, ...]:
        """Share of positives that the probabilities assume; one a configuration."""
        return tuple(self.prevalence or one.prevalence for one in self.configurations)

    def _shown(self, probability: float, configuration: Configuration) -> float:
        return float(shifted(np.array(probability), configuration.prevalence, self.prevalence))

    def to_json(self) -> dict[str, Any]:
        """Members `bundle` and `software` of the JSON products."""
        return {
            "bundle": {
                "name": self.bundle_name,
                "sha256": self.bundle_sha256,
                "configurations": dict(zip(self.names, self.thresholds, strict=True)),
                "assumed_prevalence": dict(zip(self.names, self.prevalences, strict=True)),
                "prevalence_stated_by_user": self.prevalence is not None,
                "synthetic": self.synthetic,
                **({"exits": dict(self.exits)} if self.exits else {}),
                **({} if self.fallback is None else {"fallback": self.fallback}),
            },
            "software": {"name": "lsd-edge", "version": self.version},
        }

    def quality(self, configuration: Configuration) -> dict[str, Any]:
        """How good a configuration is: {"f1", "auc", "ece", "precision_at_recall_0.9"} -> value, low, high; {} unknown.

        Out of fold on all patches of the training data, calibrated and cut by what other folds chose.
        """
        found = configuration.metrics.get("nested", {}).get("all", {})
        return {key: found[key] for key in ("f1", "auc", "ece", "precision_at_recall_0.9") if key in found}
