"""The networks of a bundle, as asked for on this machine, against FP32 on ONNX Runtime: thousands of patches.

The golden patches say whether a backend is right; rare flips of decisions show on many patches only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.encoders import EncoderOptions
from lsd.runtime.manifest import Configuration
from lsd.runtime.parity import ENCODER_PROBABILITY_ABSOLUTE, FLIPS_SHARE, StageResult, compare

CHECKED_PATCHES = 3_000
CHUNK = 128
SEED = 11
Array = NDArray[np.float64]


def check_many(
    bundle: Bundle, chain: Chain, advance: Callable[[int, str], object] = lambda n, note: None
) -> list[StageResult]:
    """Every configuration that asks a network: its members' probabilities and its decisions.

    Args:
        chain: of the bundle, with the backend and precision to be proven.
        advance: called with patches done, over all configurations (`steps_of`).
    Raises:
        BackendError: ONNX Runtime is not installed, which the reference needs.
    """
    reference = Chain(bundle, chain.backend, encoders=EncoderOptions("onnxruntime", "fp32", 8))
    results = []
    for configuration in _with_networks(chain):
        results += _compared(configuration, chain, reference, advance)
    return results


def steps_of(chain: Chain) -> int:
    """Number of patches that `check_many` scores."""
    return CHECKED_PATCHES * len(_with_networks(chain))


def _with_networks(chain: Chain) -> list[Configuration]:
    return [one for one in chain.manifest.configurations if set(one.members) & set(chain.encoders)]


def _compared(
    configuration: Configuration, chain: Chain, reference: Chain, advance: Callable[[int, str], object]
) -> list[StageResult]:
    members: dict[str, tuple[list[Array], list[Array]]] = {}
    answers: tuple[list[Array], list[Array]] = ([], [])
    for number, start in enumerate(range(0, CHECKED_PATCHES, CHUNK)):
        patches = simulated_patches(min(CHUNK, CHECKED_PATCHES - start), SEED + number)
        margins = {
            member: chain.forests[member].margins(rows)
            for member, rows in chain.features(configuration, patches, BAND_NAMES).items()
        }
        for side, one in enumerate((chain, reference)):
            encoded = one.encoded(configuration, patches, BAND_NAMES)
            for member, p in encoded.items():
                members.setdefault(member, ([], []))[side].append(p)
            answers[side].append(one.probabilities(configuration, margins, encoded))
        advance(len(patches), configuration.name)
    options = chain.encoder_options
    how = f"{options.precision} on {options.backend} against fp32 on onnxruntime, {CHECKED_PATCHES} patches"
    results = [
        compare(
            configuration.name,
            f"probability of {member}: {how}",
            np.concatenate(found),
            np.concatenate(wanted),
            ENCODER_PROBABILITY_ABSOLUTE[options.precision],
            threshold=0.5,
            flips_share=FLIPS_SHARE,
            cosine=True,
        )
        for member, (found, wanted) in members.items()
    ]
    decisions = compare(
        configuration.name,
        f"decisions: {how}",
        np.concatenate(answers[0]),
        np.concatenate(answers[1]),
        1.0,  # the members' probabilities are held to their own tolerance; here decisions count
        threshold=configuration.threshold,
        flips_share=FLIPS_SHARE,
    )
    return [*results, decisions]
