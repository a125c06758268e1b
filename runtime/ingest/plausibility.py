"""Do the pixels of a scene look like those of training? Faults that names and metadata cannot tell, told from a sample.

Limits were set on 582 scenes put together from patches of similar ground (surrogates of the 7,147 rows of the published
table, `lsd.train.surrogate`) and on the real Sentinel-1 and Sentinel-2 samples; benchmarks/plausibility.py counts how
many ordinary scenes each check flags and how many faulty ones it finds. A warning is no proof: only what no ground can
do is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BY_NAME, of_modality
from lsd.runtime.errors import TileError
from lsd.runtime.haze import is_hazy

Array = NDArray[np.float64]
Samples = Mapping[str, Array]

LEAST_PIXELS = 1000  # fewer valid pixels tell nothing about a scene
OFFSET_DN = 1000.0
LAND_NIR_DN = 2000.0  # reflectance .1: above it ground is not water
DIRECTIONS = (("desc", "descending"), ("asc", "ascending"))

# Co- above cross-polarised backscatter. Clean scenes: 4.4 dB or more but one (1.5), real ones 4.8 to 7.9.
SWAPPED_DB = -1.0
LEAST_RATIO_DB = 4.0
# On land 11 dB or less but in four scenes of a thousand; twice the dB (amplitude read as power, and the other way
# round half of them) gives 11 or more in 97 of a hundred.
MOST_RATIO_ON_LAND_DB = 11.0
LEVEL_RANGE_DB = {"vv": (-36.0, 5.0), "vh": (-39.0, -2.0)}  # scene medians: -33.1..2.2, -36.2..-5.2
MOST_CHANGE_DB = 1.5  # METHOD: rain, snow, wind on sea
# Two acquisitions differ by speckle: 1.6 dB or more in clean scenes, four fifths of it where a pair was resampled.
LEAST_CHANGE_SPREAD_DB = 1.4
SAME_SCENE_DB = 0.05
# The darkest percent of clear pixels: 870 to 1,960 in clean scenes, 1,870 or more with the offset added twice; red
# alone 919 to 1,688 and 1,916 or more.
DARK_QUANTILE = 0.01
MOST_DARK_RED_DN = 1800.0
LEAST_DARK_DN = 850.0
LEAST_CLEAR_SHARE = 0.25
# Clear land: (blue - red) / (red + green + blue) of the medians is below .08 in clean scenes; logarithm of red's
# spread over blue's -.45 at least, in real scenes .46 to .68.
MOST_BLUENESS = 0.08
LEAST_RED_SPREAD = -0.5


def warnings_of(samples: Samples, where: str) -> list[str]:
    """What is wrong with a scene, or odd about it, in one line each; nothing if all is ordinary.

    Args:
        samples: canonical band name -> float64 (n,) in canonical units, NaN where invalid; the same pixels in all.
        where: the tile, for messages.
    Raises:
        TileError: VH lies above VV, or a difference is the same everywhere.
    """
    land = _land(samples)
    found: list[str] = []
    for short, orbit in DIRECTIONS:
        if {f"{short}_vv", f"{short}_vh"} <= set(samples):
            found += _channels(samples[f"{short}_vv"], samples[f"{short}_vh"], land, f"{where}: {orbit}")
    for name in of_modality("sar"):
        found += _level(samples, name)
    for name in of_modality("sar_diff"):
        found += _change(samples, name, where)
    if set(of_modality("optical")) <= set(samples):
        found += _offset(samples)
        found += _colours(samples, land)
    return found


def refuse_swapped_channels(vv_db: Array, vh_db: Array, where: str) -> None:
    """Raise TileError if VH lies above VV: the cross-polarised echo of ground is the weaker one, whatever the product.

    Args:
        vv_db, vh_db: float64 (n,) of the same pixels, NaN where invalid.
        where: scene, for the message.
    """
    ratio = _valid(vv_db - vh_db)
    if ratio.size >= LEAST_PIXELS and np.median(ratio) < SWAPPED_DB:
        raise TileError(
            f"{where}: VH exceeds VV by {-np.median(ratio):.1f} dB in the median, which no ground does: the channels "
            "are swapped; correct the names of the bands"
        )


def _valid(values: Array) -> Array:
    return values[np.isfinite(values)]


def _land(samples: Samples) -> NDArray[np.bool_] | None:
    """Where optical bands show clear land; None without them, with too little of it, or where little is clear."""
    if not {"red", "blue", "nir"} <= set(samples):
        return None
    clear = _clear(samples)
    with np.errstate(invalid="ignore"):
        land = clear & (samples["nir"] > LAND_NIR_DN)
    return land if land.sum() >= LEAST_PIXELS and _is_enough(clear, samples) else None


def _clear(samples: Samples) -> NDArray[np.bool_]:
    seen = np.isfinite(samples["red"]) & np.isfinite(samples["blue"])
    return np.asarray(seen & ~is_hazy(samples["red"], samples["blue"]))


def _is_enough(clear: NDArray[np.bool_], samples: Samples) -> bool:
    """False where most is cloud: what is left between clouds is hazy too."""
    return bool(clear.sum() >= max(LEAST_PIXELS, LEAST_CLEAR_SHARE * np.isfinite(samples["red"]).sum()))


def _channels(vv: Array, vh: Array, land: NDArray[np.bool_] | None, where: str) -> list[str]:
    """VV against VH of one direction."""
    refuse_swapped_channels(vv, vh, where)
    ratio = _valid(vv - vh)
    if ratio.size < LEAST_PIXELS:
        return []
    if np.median(ratio) < LEAST_RATIO_DB:
        return [
            f"{where} VV exceeds VH by {np.median(ratio):.1f} dB only (5 to 8 dB are ordinary): check the unit of the "
            "radar (amplitude is not power) and the names of its bands"
        ]
    on_land = _valid((vv - vh)[land]) if land is not None else ratio[:0]
    if on_land.size >= LEAST_PIXELS and np.median(on_land) > MOST_RATIO_ON_LAND_DB:
        return [
            f"{where} VV exceeds VH by {np.median(on_land):.1f} dB on land (5 to 8 dB are ordinary): check the unit of "
            "the radar (power is not amplitude)"
        ]
    return []


def _level(samples: Samples, name: str) -> list[str]:
    values = _valid(samples[name]) if name in samples else np.empty(0)
    low, high = LEVEL_RANGE_DB[name[-2:]]
    if values.size < LEAST_PIXELS or low <= np.median(values) <= high:
        return []
    return [
        f"{name} has the median {np.median(values):.1f} dB, outside of {low:g}..{high:g} dB of the training scenes: "
        "check unit and calibration"
    ]


def _change(samples: Samples, name: str, where: str) -> list[str]:
    """One difference band."""
    if name not in samples:
        return []
    values = _valid(samples[name])
    level = f"{name.split('_')[0]}_{BY_NAME[name].product_band.casefold()}"
    if not values.size and level in samples and np.isfinite(samples[level]).any():
        return [
            f"{name} is 0 or nodata throughout the sample: if one scene was given as before and after, give two; the "
            "difference is not used"
        ]
    if values.size < LEAST_PIXELS:
        return []
    if values.std() < SAME_SCENE_DB:
        raise TileError(
            f"{where}: {name} is {values.mean():.2f} dB everywhere (spread {values.std():.3f} dB): no two acquisitions "
            "differ so little; give the scenes before and after the event, or leave the band out"
        )
    found = []
    if values.std() < LEAST_CHANGE_SPREAD_DB:
        found.append(
            f"{name} varies by {values.std():.2f} dB only (1.6 dB and more are ordinary): speckle-filtered, coarse or "
            "not a difference in dB"
        )
    if abs(np.median(values)) > MOST_CHANGE_DB:
        found.append(
            f"{name} has the median {np.median(values):+.1f} dB over the scene: rain, snow, wind on sea, or scenes "
            "that do not belong together; look before trusting what changed"
        )
    return found


def _offset(samples: Samples) -> list[str]:
    """The offset of 1,000 missing, or added twice."""
    clear = _clear(samples)
    if not _is_enough(clear, samples):
        return []
    dark = {band: float(np.quantile(samples[band][clear], DARK_QUANTILE)) for band in ("red", "blue")}
    if dark["red"] > MOST_DARK_RED_DN:
        return [
            f"the darkest percent of clear pixels has {dark['red']:.0f} DN in red (919 to 1,688 are ordinary): the "
            "offset of 1,000 was added twice, or the scene has no dark ground; check --s2-offset"
        ]
    if min(dark.values()) < LEAST_DARK_DN:
        band = min(dark, key=lambda name: dark[name])
        return [
            f"the darkest percent of clear pixels has {dark[band]:.0f} DN in {band} (870 and more are ordinary): the "
            "offset of 1,000 is missing; check --s2-offset"
        ]
    return []


def _colours(samples: Samples, land: NDArray[np.bool_] | None) -> list[str]:
    """Red and blue swapped: clear land that is blue, or that varies more in blue than in red."""
    if land is None:
        return []
    low, middle, high = (
        {band: float(np.nanquantile(samples[band][land], share)) for band in ("red", "green", "blue")}
        for share in (0.1, 0.5, 0.9)
    )
    total = max(sum(middle.values()) - 3 * OFFSET_DN, 100.0)
    blueness = (middle["blue"] - middle["red"]) / total
    spread = {band: high[band] - low[band] for band in low}
    red_spread = float(np.log(max(spread["red"], 1.0) / max(spread["blue"], 1.0)))
    if blueness <= MOST_BLUENESS and red_spread >= LEAST_RED_SPREAD:
        return []
    return [
        f"clear land is bluer than ground is (red {middle['red']:.0f}, blue {middle['blue']:.0f} DN; spread "
        f"{spread['red']:.0f} and {spread['blue']:.0f}): check that red and blue are not swapped"
    ]
