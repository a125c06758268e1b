"""The run context that the tests of all sinks share: two configurations, one of them with measured quality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.calibration import Calibration
from lsd.runtime.manifest import Configuration
from lsd.runtime.sinks.context import RunContext

F1_ALL = {"value": 0.863, "low": 0.85, "high": 0.876}
OPTICAL = Configuration(
    "optical", of_modality("optical"), ("a",), (1.0,), Calibration("none"), 0.4, 0.2, prevalence=0.176, metrics={}
)
ALL = Configuration(
    "all",
    BAND_NAMES,
    ("b",),
    (1.0,),
    Calibration("none"),
    0.5,
    0.25,
    prevalence=0.18,
    metrics={"nested": {"all": {"f1": F1_ALL}}},
)


def context(**changes: Any) -> RunContext:
    """Bundle `reference` with "optical" (threshold .4, look .2) and "all" (.5, .25); fields replaced as given."""
    return replace(RunContext("reference", "ab" * 32, (OPTICAL, ALL), False, "0.1.0"), **changes)
