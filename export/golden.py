"""Golden patches: inputs with the expected output of every stage, in the bundle (see lsd.runtime.parity)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsd.export.adversarial import adversarial_patches, simulated_patches, zero_sum_patch
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain
from lsd.runtime.parity import exit_answers

if TYPE_CHECKING:
    from lsd.export.encoder_members import EncoderEvidence
    from lsd.train.encoders.scaling import Scaling

SIMULATED_PATCHES = 6
SEED = 20_260_405


def golden_patches(scalings: Sequence[Scaling] = ()) -> tuple[list[str], NDArray[np.float32]]:
    """Names and float32 (n, 12, 64, 64): simulated patches, adversarial ones, one more for each scaling of a network.

    That one divides by almost nothing, if the scaling holds red and nir.
    """
    names, adversarial = adversarial_patches()
    simulated = simulated_patches(SIMULATED_PATCHES, SEED)
    both = [scaling for scaling in scalings if {"red", "nir"} <= set(scaling.location)]
    traps = [zero_sum_patch(scaling)[None] for scaling in both]
    return (
        [f"simulated {i}" for i in range(len(simulated))]
        + names
        + [f"nir + red = 0 after scaling {i}" for i in range(len(traps))],
        np.concatenate([simulated, adversarial, *traps]),
    )


def golden_outputs(
    chain: Chain, encoders: Mapping[str, EncoderEvidence] = MappingProxyType({})
) -> dict[str, NDArray[np.generic]]:
    """Every array of golden.npz, as the chain computes it; the gate compares the same chain with the references.

    Args:
        encoders: those of the chain, whose logits are computed by torch.
    """
    names, pixels = golden_patches([evidence.scaling for evidence in encoders.values()])
    arrays: dict[str, NDArray[np.generic]] = {
        "names": np.array(names),
        "bands": np.array(BAND_NAMES),
        "pixels": pixels,
    }
    for key, evidence in encoders.items():
        from lsd.export.references import torch_logits

        arrays[f"encoders/{key}/logits"] = torch_logits(evidence, pixels, BAND_NAMES)
    for configuration in chain.manifest.configurations:
        features = chain.features(configuration, pixels, BAND_NAMES)
        margins = {member: chain.forests[member].margins(rows) for member, rows in features.items()}
        for member in margins:
            arrays[f"{configuration.name}/{member}/features"] = features[member]
            arrays[f"{configuration.name}/{member}/margins"] = margins[member]
        encoded = chain.encoded(configuration, pixels, BAND_NAMES)
        arrays[f"{configuration.name}/probability"] = chain.probabilities(configuration, margins, encoded)
        if configuration.exit is not None:
            answers = exit_answers(chain, configuration, configuration.exit, margins)
            arrays[f"{configuration.name}/exit/side"] = answers.side
            arrays[f"{configuration.name}/exit/probability"] = answers.probability
    return arrays
