"""Inputs chosen to break a forest or a statistic: rows that sit on thresholds, patches that real scenes rarely show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, BANDS, PATCH_SIZE_PX
from lsd.runtime.forest.table import ForestTable

if TYPE_CHECKING:
    from lsd.train.encoders.scaling import Scaling

MIN_SEEN_DB, MAX_SEEN_DN = -65.66, 20_944.0  # the training data's extremes (METHOD, scaling constants)


def adversarial_rows(forest: ForestTable, base: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """Rows that a wrong comparison, a wrong default side or a wrong rounding would send elsewhere.

    Each row starts as a row of `base`; about a third of its values is replaced by: a threshold of that feature, its
    float32 neighbours, NaN, +-infinity, +-0, the smallest numbers, and LightGBM's zero limit.

    Args:
        forest: whose thresholds are used.
        base: float32 (m, feature), plausible rows.
        n: rows wanted.
        seed: of the choice.
    Returns:
        float32 (n, feature).
    """
    rng = np.random.default_rng(seed)
    rows = base[rng.integers(0, len(base), n)].copy()
    up, down = np.float32(np.inf), np.float32(-np.inf)
    constants = np.array([np.nan, up, down, 0.0, -0.0, 1e-45, -1e-45, 1e-35, -1e-35, 3.4028235e38], np.float32)
    for feature in range(forest.n_features):
        thresholds = np.unique(forest.threshold[forest.feature == feature])
        pool = np.concatenate([thresholds, np.nextafter(thresholds, up), np.nextafter(thresholds, down)])
        chosen = np.flatnonzero(rng.random(n) < 1 / 3)
        special = rng.random(chosen.size) < 0.25
        if pool.size:
            rows[chosen, feature] = rng.choice(pool, chosen.size)
        else:
            special[:] = True
        rows[chosen[special], feature] = rng.choice(constants, int(special.sum()))
    return rows


def adversarial_patches() -> tuple[list[str], NDArray[np.float32]]:
    """Patches with a name each: constant, zero, holes, zero sums, extremes.

    Returns:
        names and float32 (n, 12, 64, 64) in canonical units and band order, NaN where invalid.
    """
    rng = np.random.default_rng(7)
    shape = (len(BANDS), PATCH_SIZE_PX, PATCH_SIZE_PX)
    optical = np.array([band.modality == "optical" for band in BANDS])
    level = np.where(optical, 1800.0, -12.0).astype(np.float32)[:, None, None]
    noise = np.round(rng.normal(size=shape) * np.where(optical, 200, 3)[:, None, None], 2).astype(np.float32)
    plain = np.where(optical[:, None, None], np.round(level + noise), level + noise).astype(np.float32)
    ones = np.ones(shape, np.float32)
    red, nir = BAND_NAMES.index("red"), BAND_NAMES.index("nir")

    patches = {"all zero": 0 * ones, "constant": level * ones}
    patches["one pixel differs"] = level * ones
    patches["one pixel differs"][:, 5, 7] += 1
    patches["nearly constant"] = level * ones
    patches["nearly constant"][:, ::2, ::2] = np.nextafter(level, np.float32(np.inf))
    patches["NaN holes"] = np.where(rng.random(shape) < 0.08, np.nan, plain).astype(np.float32)
    patches["no radar"] = np.where(optical[:, None, None], plain, np.nan).astype(np.float32)
    patches["red is zero"] = plain.copy()
    patches["red is zero"][red] = 0
    patches["nir + red = 0"] = plain.copy()
    patches["nir + red = 0"][[red, nir], :32] = 0
    patches["nir = -red"] = plain.copy()
    patches["nir = -red"][nir] = -patches["nir = -red"][red]
    patches["brightest seen"] = np.where(optical[:, None, None], MAX_SEEN_DN, 40.0) * ones
    patches["darkest seen"] = np.where(optical[:, None, None], 1.0, MIN_SEEN_DB) * ones
    patches["half bright, half dark"] = patches["darkest seen"].copy()
    patches["half bright, half dark"][:, :, 32:] = patches["brightest seen"][:, :, 32:]
    return list(patches), np.stack(list(patches.values())).astype(np.float32)


def zero_sum_patch(scaling: Scaling) -> NDArray[np.float32]:
    """A plain patch whose nir + red is next to 0 after scaling in its upper half.

    There an index of scaled bands divides by almost nothing (METHOD, trap 1).

    Returns:
        float32 (12, 64, 64) in canonical units and band order.
    """
    names, patches = adversarial_patches()
    patch: NDArray[np.float32] = patches[names.index("nir = -red")].copy()
    red, nir = BAND_NAMES.index("red"), BAND_NAMES.index("nir")
    deviation = (patch[red] - scaling.location["red"]) / scaling.spread["red"]
    patch[nir] = scaling.location["nir"] + 0.3 * scaling.spread["nir"]
    patch[nir, :32] = scaling.location["nir"] - scaling.spread["nir"] * deviation[:32]
    return patch


def simulated_patches(n: int, seed: int) -> NDArray[np.float32]:
    """Plausible, spatially correlated patches drawn around the training data's band means and deviations (METHOD).

    Simulated, not real: they exercise the arithmetic, they say nothing about accuracy. Values are whole DN and 1/16 dB,
    so that they compress.

    Returns:
        float32 (n, 12, 64, 64).
    """
    mean = [1852, 1928, 1867, 3117, -10.6, -18.8, -0.96, -0.75, -11.3, -20.1, 0.58, -0.28]
    std = [900, 800, 800, 1000, 5.0, 6.0, 3.0, 3.5, 4.5, 6.0, 2.2, 3.2]
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(PATCH_SIZE_PX)
    amplitude = 1.0 / np.maximum(np.hypot(frequency[:, None], frequency[None, :]), 1 / PATCH_SIZE_PX) ** 1.2
    out = np.empty((n, len(BANDS), PATCH_SIZE_PX, PATCH_SIZE_PX), np.float32)
    for patch in range(n):
        common = rng.normal(size=(PATCH_SIZE_PX, PATCH_SIZE_PX))
        for band, (centre, spread) in enumerate(zip(mean, std, strict=True)):
            white = 0.6 * common + 0.8 * rng.normal(size=common.shape)
            field = np.fft.ifft2(np.fft.fft2(white) * amplitude).real
            field /= field.std()
            values = centre + spread * (0.6 * rng.normal() + 0.5 * field * rng.uniform(0.3, 1.5))
            is_optical = BANDS[band].modality == "optical"
            out[patch, band] = np.clip(np.round(values), 900, None) if is_optical else np.round(values * 16) / 16
    return out
