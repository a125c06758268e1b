"""Difference bands: how much they vary, their median, and whether they belong to the levels beside them.

The speckle of a scene is in its level and, with the same sign, in its level minus an earlier one; that of another
channel or direction is not. So neighbouring pixels of a level and of its difference rise and fall together, whatever
the ground did. If they go against each other the subtraction was made the other way round; if they go with another
level, the names are wrong. Before and after exchanged in level and difference alike keep the sign: that the data
cannot tell.
"""

from __future__ import annotations

import numpy as np

from lsd.runtime.acquisition.finding import Finding, Outcome, Unjudged
from lsd.runtime.acquisition.names import MEDIAN, PAIRING, SPREAD
from lsd.runtime.acquisition.sample import LEAST_PIXELS, Array, SampledScene
from lsd.runtime.acquisition.signal import SAME_DB
from lsd.runtime.bands import BY_NAME, of_modality

MOST_CHANGE_DB = 1.5  # METHOD: rain, snow, wind on sea
# Two acquisitions differ by speckle: 1.6 dB or more in clean scenes, four fifths of it where a pair was resampled.
LEAST_CHANGE_SPREAD_DB = 1.4
# Correlation of steps between neighbours. The one real patch with differences: .55 to .70 with its own level, .15 at
# most with the other channel, .07 with the other direction. Two equally noisy scenes of flat ground: .71.
REVERSED_CORRELATION = -0.2
OF_ANOTHER, MORE_THAN_OWN = 0.3, 0.2


def medians(scene: SampledScene) -> list[Outcome]:
    """A difference whose median over the scene is far from 0: weather, or scenes that do not belong together."""
    found: list[Outcome] = []
    for name in of_modality("sar_diff"):
        values = scene.valid(name)
        if values.size >= LEAST_PIXELS and values.std() >= SAME_DB and abs(np.median(values)) > MOST_CHANGE_DB:
            found.append(
                Finding(
                    MEDIAN,
                    "likely",
                    f"{name} has the median {np.median(values):+.1f} dB over the scene: rain, snow, wind on sea, or "
                    "scenes that do not belong together; look before trusting what changed",
                )
            )
    return found


def spreads(scene: SampledScene) -> list[Outcome]:
    """A difference that varies less than speckle; one that is the same everywhere is told by `constant_bands`."""
    found: list[Outcome] = []
    for name in of_modality("sar_diff"):
        values = scene.valid(name)
        if values.size >= LEAST_PIXELS and SAME_DB <= values.std() < LEAST_CHANGE_SPREAD_DB:
            found.append(
                Finding(
                    SPREAD,
                    "likely",
                    f"{name} varies by {values.std():.2f} dB only (1.6 dB and more are ordinary): speckle-filtered, "
                    "coarse or not a difference in dB",
                )
            )
    return found


def pairings(scene: SampledScene) -> list[Outcome]:
    """A difference that goes against its level, or with the level of another channel or direction."""
    found: list[Outcome] = []
    steps = {name: np.diff(scene.bands[name]) for name in of_modality("sar", "sar_diff") if name in scene}
    for name in of_modality("sar_diff"):
        own = level_of(name)
        if name not in steps or own not in steps:
            continue
        correlation = {level: _correlation(steps[level], steps[name]) for level in of_modality("sar") if level in steps}
        with_own = correlation[own]
        if with_own is None:
            if scene.valid(name).size:
                found.append(Unjudged(PAIRING, f"{name} and {own} have too few valid pixels in common"))
            continue
        best = max(correlation, key=lambda level: correlation[level] or 0.0)
        if with_own < REVERSED_CORRELATION:
            text = (
                f"{name} falls where {own} rises from pixel to pixel (correlation {with_own:.2f}, ordinary .4 to .7): "
                "it is before minus after, or of scenes processed in different ways; give after minus before"
            )
        elif (correlation[best] or 0.0) > max(OF_ANOTHER, with_own + MORE_THAN_OWN):
            text = (
                f"{name} goes with {best} from pixel to pixel (correlation {correlation[best]:.2f}), not with {own} "
                f"({with_own:.2f}): check the names of the bands"
            )
        else:
            continue
        found.append(Finding(PAIRING, "likely", text))
    return found


def level_of(difference: str) -> str:
    """Canonical name of the level that a difference band is made of: `desc_dvv` -> `desc_vv`."""
    return f"{difference.split('_')[0]}_{BY_NAME[difference].product_band.casefold()}"


def _correlation(a: Array, b: Array) -> float | None:
    """Correlation of two series where both are valid; None if that is too little, or one does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < LEAST_PIXELS:
        return None
    x, y = a[both] - a[both].mean(), b[both] - b[both].mean()
    # einsum, not @: BLAS would wake its threads for it, which costs milliseconds each on a busy machine
    size = float(np.sqrt(np.einsum("i,i", x, x) * np.einsum("i,i", y, y)))
    return float(np.einsum("i,i", x, y)) / size if size > 0 else None
