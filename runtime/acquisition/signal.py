"""Bands that hold no signal, whatever the sensor: empty, constant, cut off at the end of a range."""

from __future__ import annotations

import numpy as np

from lsd.runtime.acquisition.finding import Certainty, Finding, Outcome, Unjudged
from lsd.runtime.acquisition.names import CONSTANT, CUT_OFF, EMPTY
from lsd.runtime.acquisition.sample import LEAST_PIXELS, OFFSET_DN, Array, SampledScene
from lsd.runtime.bands import BY_NAME

# Of radar, in dB: speckle alone makes 3 to 6 of a level, and 1.6 or more of a difference.
SAME_DB = 0.05
LEAST_CUT_SHARE = 0.01
# A value is piled up if it is as many times as common as its ten neighbours on the scale are in the mean.
PILE_FACTOR = 5.0
PILE_NEIGHBOURS = 10
MOST_CUT_RADAR_SHARE = 0.25


def empty_bands(scene: SampledScene) -> list[Outcome]:
    """A band without a valid pixel where others of the same acquisition have them."""
    found: list[Outcome] = []
    for name in scene.bands:
        others = [other for other in scene.bands if other != name and _acquisition(other) == _acquisition(name)]
        if scene.valid(name).size or not any(scene.valid(other).size for other in others):
            continue
        if BY_NAME[name].modality == "sar_diff":
            level = f"{name.split('_')[0]}_{BY_NAME[name].product_band.casefold()}"
            if not scene.valid(level).size:
                continue
            text = (
                f"{name} is 0 or nodata throughout the sample: if one scene was given as before and after, give two; "
                "the difference is not used"
            )
        else:
            text = (
                f"{name} has no valid pixel in the sample, {' and '.join(others)} have: nodata, or saturated beyond "
                f"{BY_NAME[name].plausible_max:g} {BY_NAME[name].unit}; the band is not used"
            )
        found.append(Finding(EMPTY, "likely", text))
    return found


def constant_bands(scene: SampledScene) -> list[Outcome]:
    """A band of one value: ground varies, and speckle makes even water vary.

    One value at the dark end of an optical band is only likely a fault: products without negative reflectance cut dark
    water off there.
    """
    found: list[Outcome] = []
    for name in scene.bands:
        values = scene.valid(name)
        if values.size < LEAST_PIXELS:
            found += _too_few(CONSTANT, name, values)
        elif BY_NAME[name].modality == "optical":
            low, high = np.quantile(values, (0.01, 0.99))
            if low == high:
                certainty: Certainty = "likely" if high <= OFFSET_DN + 1 else "certain"
                found.append(
                    Finding(
                        CONSTANT,
                        certainty,
                        f"{name} is {high:.0f} DN everywhere: no ground is of one value; give the band itself, or "
                        "leave it out",
                    )
                )
        elif values.std() < SAME_DB:
            found.append(Finding(CONSTANT, "certain", _constant_radar(name, values)))
    return found


def _constant_radar(name: str, values: Array) -> str:
    says = f"{name} is {values.mean():.2f} dB everywhere (spread {values.std():.3f} dB): "
    if BY_NAME[name].modality == "sar_diff":
        return (
            f"{says}no two acquisitions differ so little; give the scenes before and after the event, or leave the "
            "band out"
        )
    return f"{says}speckle alone varies more; give the band itself, or leave it out"


def cut_off_bands(scene: SampledScene) -> list[Outcome]:
    """Values piled up at the largest one of a band, or of radar levels at the smallest: what lay beyond is lost.

    A pile at the dark end of optical bands is ordinary (water without negative reflectance).
    """
    found: list[Outcome] = []
    for name in scene.bands:
        facts, values = BY_NAME[name], scene.valid(name)
        if values.size < LEAST_PIXELS:
            found += _too_few(CUT_OFF, name, values)
            continue
        for end in ("highest",) if facts.modality == "optical" else ("highest", "lowest"):
            value, share = piled_up(values if end == "highest" else -values)
            if share < LEAST_CUT_SHARE:
                continue
            value = value if end == "highest" else -value
            sure = facts.modality == "sar" and end == "highest" and share >= MOST_CUT_RADAR_SHARE
            found.append(
                Finding(
                    CUT_OFF,
                    "certain" if sure else "likely",
                    f"{share:.0%} of {name} is its {end} value, {value:.5g} {facts.unit}: saturated, or cut off by "
                    "scaling for display; give unscaled values",
                )
            )
    return found


def piled_up(values: Array) -> tuple[float, float]:
    """The largest value and the share 0..1 of pixels that have exactly it; share 0 if it is no pile.

    Whole numbers of a narrow range are common all alike: a pile stands out from the values beside it. A band of one
    value is none (see `constant_bands`).
    """
    highest = float(values.max())
    share = float((values == highest).mean())
    if share < LEAST_CUT_SHARE:  # spares the sorting of nearly every band
        return highest, 0.0
    counts = np.unique(values, return_counts=True)[1]
    if len(counts) < 2 or counts[-1] < PILE_FACTOR * counts[-1 - PILE_NEIGHBOURS : -1].mean():
        return highest, 0.0
    return highest, share


def _acquisition(band: str) -> str:
    """Bands of one name here come from the same scenes."""
    facts = BY_NAME[band]
    return facts.orbit or facts.modality


def _too_few(check: str, name: str, values: Array) -> list[Outcome]:
    """A band with some valid pixels, but too few; an empty one is told by `empty_bands`."""
    return [Unjudged(check, f"{name} has {values.size} valid pixels in the sample")] if values.size else []
