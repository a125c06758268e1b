"""Radar levels: VV against VH, and how strong they are.

Limits were set on 582 scenes put together from surrogates of the published table and on the real Sentinel-1 samples;
benchmarks/acquisition.py counts what they find and what they flag without a fault.
"""

from __future__ import annotations

import numpy as np

from lsd.runtime.acquisition.finding import Finding, Outcome, Unjudged
from lsd.runtime.acquisition.names import LEVEL, SWAPPED
from lsd.runtime.acquisition.sample import LEAST_PIXELS, Array, SampledScene, valid
from lsd.runtime.bands import of_modality

DIRECTIONS = (("desc", "descending"), ("asc", "ascending"))

# Co- above cross-polarised backscatter. Clean scenes: 4.4 dB or more but one (1.5), real ones 4.8 to 7.9.
SWAPPED_DB = -1.0
LEAST_RATIO_DB = 4.0
# On land 11 dB or less but in four scenes of a thousand; twice the dB (amplitude read as power, and the other way
# round half of them) gives 11 or more in 97 of a hundred.
MOST_RATIO_ON_LAND_DB = 11.0
LEVEL_RANGE_DB = {"vv": (-36.0, 5.0), "vh": (-39.0, -2.0)}  # scene medians: -33.1..2.2, -36.2..-5.2


def channels(scene: SampledScene) -> list[Outcome]:
    """VV against VH of each direction: swapped, or in another unit."""
    found: list[Outcome] = []
    for short, orbit in DIRECTIONS:
        if scene.has(f"{short}_vv", f"{short}_vh"):
            found += _channels(scene, scene.bands[f"{short}_vv"], scene.bands[f"{short}_vh"], orbit)
    return found


def swapped_text(vv_db: Array, vh_db: Array) -> str | None:
    """What to say if VH lies above VV, else None.

    The cross-polarised echo of ground is the weaker one, whatever the product.

    Args:
        vv_db, vh_db: float64 (n,) of the same pixels, NaN where invalid.
    """
    ratio = valid(vv_db - vh_db)
    if ratio.size < LEAST_PIXELS or np.median(ratio) >= SWAPPED_DB:
        return None
    return (
        f"VH exceeds VV by {-np.median(ratio):.1f} dB in the median, which no ground does: the channels are swapped; "
        "correct the names of the bands"
    )


def _channels(scene: SampledScene, vv: Array, vh: Array, orbit: str) -> list[Outcome]:
    ratio = valid(vv - vh)
    if ratio.size < LEAST_PIXELS:
        return [Unjudged(SWAPPED, f"{ratio.size} pixels of {orbit} VV and VH are valid")] if ratio.size else []
    swapped = swapped_text(vv, vh)
    if swapped is not None:
        return [Finding(SWAPPED, "certain", f"{orbit}: {swapped}")]
    if np.median(ratio) < LEAST_RATIO_DB:
        return [
            Finding(
                SWAPPED,
                "likely",
                f"{orbit}: VV exceeds VH by {np.median(ratio):.1f} dB only (5 to 8 dB are ordinary): check the unit of "
                "the radar (amplitude is not power) and the names of its bands",
            )
        ]
    on_land = valid((vv - vh)[scene.land]) if scene.land is not None else ratio[:0]
    if on_land.size >= LEAST_PIXELS and np.median(on_land) > MOST_RATIO_ON_LAND_DB:
        return [
            Finding(
                SWAPPED,
                "likely",
                f"{orbit}: VV exceeds VH by {np.median(on_land):.1f} dB on land (5 to 8 dB are ordinary): check the "
                "unit of the radar (power is not amplitude)",
            )
        ]
    return []


def levels(scene: SampledScene) -> list[Outcome]:
    """A level far from all of training: another unit or calibration."""
    found: list[Outcome] = []
    for name in of_modality("sar"):
        values = scene.valid(name)
        low, high = LEVEL_RANGE_DB[name[-2:]]
        if values.size < LEAST_PIXELS or low <= np.median(values) <= high:
            continue  # too few: `channels` and `constant_bands` say so
        found.append(
            Finding(
                LEVEL,
                "likely",
                f"{name} has the median {np.median(values):.1f} dB, outside of {low:g}..{high:g} dB of the training "
                "scenes: check unit and calibration",
            )
        )
    return found
