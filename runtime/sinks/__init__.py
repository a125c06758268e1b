"""Products of a tile: what was found, where, and how much of the ground was looked at. One sink a module.

Every product tells a patch that was not scored apart from one without a slide, and holds no clock, host name or random
number: the same tile, bundle and options give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunContext:
    """What the products of a run have in common.

    configurations: names, in the bundle's order (scores count them from 1). thresholds: probability above which a
    patch is a slide, one a configuration. synthetic: the bundle was trained on made-up data. version: of lsd-edge.
    prevalences: share of positives, 0..1, that the calibration of each configuration assumes.
    """

    bundle_name: str
    bundle_sha256: str
    configurations: tuple[str, ...]
    thresholds: tuple[float, ...]
    synthetic: bool
    version: str
    prevalences: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Members `bundle` and `software` of the JSON products."""
        return {
            "bundle": {
                "name": self.bundle_name,
                "sha256": self.bundle_sha256,
                "configurations": dict(zip(self.configurations, self.thresholds, strict=True)),
                "assumed_prevalence": dict(zip(self.configurations, self.prevalences, strict=True)),
                "synthetic": self.synthetic,
            },
            "software": {"name": "lsd-edge", "version": self.version},
        }
