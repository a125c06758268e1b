"""What the bundle says about its own accuracy: told beside speed, never mixed with it."""

from __future__ import annotations

import json
from typing import Any

from lsd.benchmarks.bench.percentiles import NotMeasured
from lsd.runtime.bundle import CERTIFICATE_NAME, Bundle
from lsd.runtime.manifest import Configuration
from lsd.runtime.sinks.context import RunContext

NOTE = "from the bundle, measured when it was trained and exported; only the self-test was repeated here, and passed"


def accuracy_of(bundle: Bundle, context: RunContext, configuration: Configuration) -> dict[str, Any]:
    """Out-of-fold metrics of the configuration, and the stages of the export certificate that concern it.

    Returns:
        {"note", "metrics": name -> {"value", "low", "high"} or why not, "certificate": {"passed", "stages": each with
        its error, tolerance and flips} or why not, "synthetic": trained on made-up data}.
    """
    metrics = context.quality(configuration)
    return {
        "note": NOTE,
        "synthetic": bundle.manifest.synthetic,
        "metrics": metrics or NotMeasured("the bundle states no metrics of this configuration").to_json(),
        "certificate": _certificate(bundle, configuration),
    }


def _certificate(bundle: Bundle, configuration: Configuration) -> dict[str, Any]:
    if CERTIFICATE_NAME not in bundle.contents:
        return NotMeasured(f"the bundle holds no {CERTIFICATE_NAME}").to_json()
    stored = json.loads(bundle.contents[CERTIFICATE_NAME])
    about = {configuration.name, *(f"encoder {member}" for member in configuration.members)}
    kept = ("configuration", "stage", "values", "max_error", "p99_9_error", "tolerance", "flips", "passed")
    stages = [{key: stage.get(key) for key in kept} for stage in stored["stages"] if stage["configuration"] in about]
    return {"passed": stored["passed"], "stages": stages}
