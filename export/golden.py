"""Golden patches: inputs with the expected output of every stage, in the bundle (see lsd.runtime.parity)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lsd.export.adversarial import adversarial_patches, simulated_patches
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain

SIMULATED_PATCHES = 6
SEED = 20_260_405


def golden_patches() -> tuple[list[str], NDArray[np.float32]]:
    """Names and float32 (n, 12, 64, 64): simulated patches, then adversarial ones."""
    names, adversarial = adversarial_patches()
    simulated = simulated_patches(SIMULATED_PATCHES, SEED)
    return (
        [f"simulated {i}" for i in range(len(simulated))] + names,
        np.concatenate([simulated, adversarial]),
    )


def golden_outputs(chain: Chain) -> dict[str, NDArray[np.generic]]:
    """Every array of golden.npz, as the chain computes it; the gate compares the same chain with the references."""
    names, pixels = golden_patches()
    arrays: dict[str, NDArray[np.generic]] = {
        "names": np.array(names),
        "bands": np.array(BAND_NAMES),
        "pixels": pixels,
    }
    for configuration in chain.manifest.configurations:
        features = chain.features(configuration, pixels, BAND_NAMES)
        margins = {member: chain.forests[member].margins(rows) for member, rows in features.items()}
        for member in configuration.members:
            arrays[f"{configuration.name}/{member}/features"] = features[member]
            arrays[f"{configuration.name}/{member}/margins"] = margins[member]
        arrays[f"{configuration.name}/probability"] = chain.probabilities(configuration, margins)
    return arrays
