"""Optical bands: the offset of 1,000, and red against blue. See `radar` for where the limits come from."""

from __future__ import annotations

import numpy as np

from lsd.runtime.acquisition.finding import Finding, Outcome, Unjudged
from lsd.runtime.acquisition.names import COLOURS, OFFSET
from lsd.runtime.acquisition.sample import LEAST_PIXELS, OFFSET_DN, SampledScene
from lsd.runtime.bands import of_modality

VISIBLE = ("red", "green", "blue")

# The darkest percent of clear pixels: 870 to 1,960 in clean scenes, 1,870 or more with the offset added twice; red
# alone 919 to 1,688 and 1,916 or more.
DARK_QUANTILE = 0.01
MOST_DARK_RED_DN = 1800.0
LEAST_DARK_DN = 850.0
# Clear land: (blue - red) / (red + green + blue) of the medians is below .08 in clean scenes; logarithm of red's
# spread over blue's -.45 at least, in real scenes .46 to .68.
MOST_BLUENESS = 0.08
LEAST_RED_SPREAD = -0.5


def offset(scene: SampledScene) -> list[Outcome]:
    """The offset of 1,000 missing, or added twice."""
    if not scene.has(*of_modality("optical")):
        return []
    if scene.clear is None:
        return [Unjudged(OFFSET, "less than a quarter of the optical pixels is clear")]
    clear = scene.clear
    dark = {band: float(np.quantile(scene.bands[band][clear], DARK_QUANTILE)) for band in ("red", "blue")}
    if dark["red"] > MOST_DARK_RED_DN:
        return [
            Finding(
                OFFSET,
                "likely",
                f"the darkest percent of clear pixels has {dark['red']:.0f} DN in red (919 to 1,688 are ordinary): the "
                "offset of 1,000 was added twice, or the scene has no dark ground; check --s2-offset",
            )
        ]
    if min(dark.values()) < LEAST_DARK_DN:
        band = min(dark, key=lambda name: dark[name])
        return [
            Finding(
                OFFSET,
                "likely",
                f"the darkest percent of clear pixels has {dark[band]:.0f} DN in {band} (870 and more are ordinary): "
                "the offset of 1,000 is missing; check --s2-offset",
            )
        ]
    return []


def colours(scene: SampledScene) -> list[Outcome]:
    """Red and blue swapped: clear land that is blue, or that varies more in blue than in red."""
    if not scene.has(*of_modality("optical")):
        return []
    land = scene.land
    if land is None or any(np.isfinite(scene.bands[band][land]).sum() < LEAST_PIXELS for band in VISIBLE):
        return [Unjudged(COLOURS, "fewer than 1,000 pixels are clear land, or less than a quarter is clear")]
    low, middle, high = (
        {band: float(np.nanquantile(scene.bands[band][land], share)) for band in VISIBLE} for share in (0.1, 0.5, 0.9)
    )
    total = max(sum(middle.values()) - 3 * OFFSET_DN, 100.0)
    blueness = (middle["blue"] - middle["red"]) / total
    spread = {band: high[band] - low[band] for band in low}
    red_spread = float(np.log(max(spread["red"], 1.0) / max(spread["blue"], 1.0)))
    if blueness <= MOST_BLUENESS and red_spread >= LEAST_RED_SPREAD:
        return []
    return [
        Finding(
            COLOURS,
            "likely",
            f"clear land is bluer than ground is (red {middle['red']:.0f}, blue {middle['blue']:.0f} DN; spread "
            f"{spread['red']:.0f} and {spread['blue']:.0f}): check that red and blue are not swapped",
        )
    ]
