"""The certificate of a bundle: every stage compared with an independent reference, and the gate that decides."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.export.adversarial import adversarial_rows
from lsd.export.exit_gate import exit_stage, limits_stage, require_exits
from lsd.export.golden import golden_patches
from lsd.export.references import gtil_margins, library_margins, scipy_statistic, torch_logits
from lsd.runtime import __version__
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain
from lsd.runtime.exits import Exit
from lsd.runtime.features.sets import FeatureSet, named_statistics
from lsd.runtime.forest.compiled import CompiledForest
from lsd.runtime.forest.table import ForestTable
from lsd.runtime.manifest import Configuration
from lsd.runtime.parity import (
    COMPILED_MARGIN_ABSOLUTE,
    PROBABILITY_ABSOLUTE,
    TABLE_MARGIN_ABSOLUTE,
    StageResult,
    compare,
)
from lsd.runtime.sigmoid import sigmoid
from lsd.runtime.versions import installed

if TYPE_CHECKING:
    from lsd.export.encoder_members import EncoderEvidence

ADVERSARIAL_ROWS = 3_000  # a member; DESIGN: flips are counted on at least as many
GTIL_ROWS = 1_000  # GTIL is slow: a sample of the same rows
COMPILED_ROWS = 1_000

STATISTIC_RELATIVE = 1e-9  # float64 sums of 4,096 values in another order than scipy's
# GTIL adds LightGBM's float64 leaves in tree order too, XGBoost's float32 leaves before the base score
GTIL_ABSOLUTE = {"lightgbm": 0.0, "xgboost": 1e-4}


@dataclass(frozen=True)
class Evidence:
    """What one member is checked with.

    features: the list it was trained with, from the run. treelite: its Treelite model. rows: float32 (n, feature), the
    training data. compiled: None without --with-c for this machine.
    """

    library: str
    model_path: Path
    features: FeatureSet
    treelite: Any
    forest: ForestTable
    rows: NDArray[np.float32]
    compiled: CompiledForest | None


def certify(
    chain: Chain,
    evidence: Mapping[str, Evidence],
    encoders: Mapping[str, EncoderEvidence] = MappingProxyType({}),
    exits: Mapping[str, Exit] = MappingProxyType({}),
    seed: int = 0,
) -> list[StageResult]:
    """Compare every stage of every configuration with its reference; of encoders, their answer to the golden patches.

    Args:
        chain: of the bundle to be, with the table backend, FP32 encoders and its own exits.
        evidence: forest -> what to check it with. encoders: the same of encoders (see lsd.export.encoder_gate).
        exits: configuration -> exit, as the runs have them.
        seed: of the adversarial rows.
    Raises:
        GateError: configurations with an exit are others than in the runs.
    """
    require_exits(chain, exits)
    results = []
    for configuration in chain.manifest.configurations:
        exit = exits.get(configuration.name)
        results += _golden(chain, configuration, evidence, encoders, exit)
        library: dict[str, NDArray[np.floating]] = {}
        ours: dict[str, NDArray[np.floating]] = {}
        for member in configuration.members:
            if member in encoders:
                continue
            proof = evidence[member]
            hard = adversarial_rows(proof.forest, proof.rows, ADVERSARIAL_ROWS, seed)
            rows = np.concatenate([proof.rows, hard])
            library[member] = library_margins(proof.model_path, proof.library, rows)
            ours[member] = chain.forests[member].margins(rows)
            results += _member(configuration.name, member, proof, rows, ours[member], library[member])
        if exit is not None:
            what = "training and adversarial rows"
            results.append(exit_stage(chain, configuration, exit, (ours, library), 0.0, what))
            results.append(limits_stage(chain, configuration, exit))
        if set(configuration.members) == set(ours):  # rows of statistics have no pixels that an encoder could see
            results.append(
                compare(
                    configuration.name,
                    "probability: table against the libraries",
                    chain.probabilities(configuration, ours),
                    chain.probabilities(configuration, library),
                    0.0,
                    threshold=configuration.threshold,
                )
            )
    return results


def _golden(
    chain: Chain,
    configuration: Configuration,
    evidence: Mapping[str, Evidence],
    encoders: Mapping[str, EncoderEvidence],
    exit: Exit | None,
) -> list[StageResult]:
    """Statistics of the golden patches, their probability, and who leaves, end to end: it shows a column or a band out
    of place."""
    names, pixels = golden_patches([one.scaling for one in encoders.values()])
    asked = {key: encoders[key] for key in configuration.members if key in encoders}
    proofs = {member: evidence[member] for member in configuration.members if member not in asked}
    results = [_statistics(configuration, proofs, pixels)] if proofs else []
    reference = {
        name: np.array([scipy_statistic(patch, BAND_NAMES, name) for patch in pixels]) for name in _named(proofs)
    }
    ours = chain.features(configuration, pixels, BAND_NAMES)
    library = {
        member: library_margins(proof.model_path, proof.library, proof.features.of_statistics(reference))
        for member, proof in proofs.items()
    }
    shown = pixels.copy()
    shown[:, [at for at, band in enumerate(BAND_NAMES) if band not in configuration.bands]] = np.nan
    by_torch = {key: sigmoid(torch_logits(one, shown, BAND_NAMES)).mean(axis=0) for key, one in asked.items()}
    margins = {member: chain.forests[member].margins(ours[member]) for member in ours}
    results.append(
        compare(
            configuration.name,
            "probability of golden patches: the chain against scipy, the libraries and torch",
            chain.probabilities(configuration, margins, chain.encoded(configuration, pixels, BAND_NAMES)),
            chain.probabilities(configuration, library, by_torch),
            PROBABILITY_ABSOLUTE,
            threshold=configuration.threshold,
        )
    )
    if exit is not None:
        what, both = "golden and adversarial patches", (margins, library)
        results.append(exit_stage(chain, configuration, exit, both, PROBABILITY_ABSOLUTE, what, names))
    return results


def _named(proofs: Mapping[str, Evidence]) -> list[str]:
    return sorted({name for proof in proofs.values() for name in proof.features.statistics})


def _statistics(
    configuration: Configuration, proofs: Mapping[str, Evidence], pixels: NDArray[np.float32]
) -> StageResult:
    names = _named(proofs)
    found = named_statistics(pixels, BAND_NAMES, names)
    reference = {name: np.array([scipy_statistic(patch, BAND_NAMES, name) for patch in pixels]) for name in names}
    return compare(
        configuration.name,
        "statistics before rounding: ours against scipy, golden patches",
        np.stack([found[name] for name in names], axis=1),
        np.stack([reference[name] for name in names], axis=1),
        STATISTIC_RELATIVE,
        relative=True,
    )


def _member(
    configuration: str,
    member: str,
    proof: Evidence,
    rows: NDArray[np.float32],
    ours: NDArray[np.floating],
    library: NDArray[np.floating],
) -> list[StageResult]:
    stage = f"margins of {member}: table against {proof.library}, training and adversarial rows"
    results = [compare(configuration, stage, ours, library, TABLE_MARGIN_ABSOLUTE)]
    sample = np.linspace(0, len(rows) - 1, min(GTIL_ROWS, len(rows)), dtype=int)
    gtil = gtil_margins(proof.treelite, proof.library, rows[sample])
    stage = f"margins of {member}: table against GTIL, a sample of these rows"
    results.append(compare(configuration, stage, ours[sample], gtil, GTIL_ABSOLUTE[proof.library]))
    if proof.compiled is not None:
        sample = np.linspace(0, len(rows) - 1, min(COMPILED_ROWS, len(rows)), dtype=int)
        stage = f"margins of {member}: compiled C against {proof.library}, a sample of these rows"
        found = proof.compiled.margins(rows[sample])
        tolerance = 0.0 if proof.library == "lightgbm" else COMPILED_MARGIN_ABSOLUTE
        results.append(compare(configuration, stage, found, library[sample], tolerance))
    return results


def certificate_bytes(
    results: list[StageResult],
    evidence: Mapping[str, Evidence],
    encoders: Mapping[str, EncoderEvidence] = MappingProxyType({}),
    checked_patches: int = 0,
) -> bytes:
    """The file certificate.json: stages, inputs, versions and the kind of machine (no name, no clock).

    Args:
        checked_patches: on which precisions were compared; 0 without encoders.
    """
    names, _ = golden_patches([one.scaling for one in encoders.values()])
    packages = ["numpy", "scipy", "treelite", "lightgbm", "xgboost-cpu", "xgboost", "tl2cgen"]
    if encoders:
        packages += ["torch", "timm", "onnx", "onnxscript", "onnxruntime"]
    document = {
        "schema_version": 2,
        "passed": all(result.passed for result in results),
        "stages": [result.to_json() for result in results],
        "inputs": {
            "golden_patches": names,
            "training_rows": {member: len(proof.rows) for member, proof in evidence.items()},
            "adversarial_rows_per_member": ADVERSARIAL_ROWS,
            "checked_patches": checked_patches,
        },
        "versions": {"lsd-edge": __version__, "python": platform.python_version(), **installed(packages)},
        "machine": {"system": platform.system(), "architecture": platform.machine()},
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
