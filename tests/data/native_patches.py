"""Patches that are hard on statistics, and the moments of their channels as numpy computes them."""

from __future__ import annotations

import numpy as np

from lsd.runtime.bands import BAND_NAMES, INDEX_NAMES
from lsd.runtime.features.statistics import channels
from lsd.runtime.native.moments import MOMENTS

CHANNELS = (*BAND_NAMES, *INDEX_NAMES)
EVERYTHING = 7  # POWERS | EXTREMES | MEDIAN


def like_real(n, seed=0, size=64):
    """float32 (n, 12, size, size): DN are whole numbers, dB are not; some patches have holes of any shape."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((n, 12, size, size), np.float32)
    pixels[:, :4] = np.round(2000 + 400 * rng.gamma(2.0, 1.0, (n, 4, size, size)))
    pixels[:, 4:] = -12 + 4 * rng.normal(size=(n, 8, size, size))
    for patch in range(0, n, 2):
        pixels[patch, :, rng.random((size, size)) < rng.random() ** 3] = np.nan
        pixels[patch, rng.integers(12), : rng.integers(size)] = np.nan
    return pixels


def adversarial(size=64):
    """name -> float32 (12, size, size)."""
    rng = np.random.default_rng(7)
    shape = (12, size, size)
    one_pixel = np.full(shape, np.nan)
    one_pixel[:, size // 2, 1] = 1234.5
    infinite = like_real(2, 1, size)[1]
    infinite[:2, 0, 0], infinite[1, 0, 1], infinite[4, 1] = np.inf, -np.inf, -np.inf
    half_infinite = np.where(np.indices(shape)[2] % 2, np.inf, 1.0)
    found = {
        "nothing valid": np.full(shape, np.nan),
        "one pixel": one_pixel,
        "constant 20,944": np.full(shape, 20944.0),
        "constant -65.66": np.full(shape, -65.66),
        "constant but for one": 20944.0 + (np.arange(np.prod(shape)).reshape(shape) % (size * size) == 77),
        "minus zero": np.full(shape, -0.0),
        "both zeros": np.where(rng.random(shape) < 0.5, -0.0, 0.0),
        "denormal": rng.integers(-5, 6, shape) * np.float64(np.float32(1e-45)),
        "infinite": infinite,
        "half infinite": half_infinite,
        "largest": np.where(rng.random(shape) < 0.5, 3.4e38, -3.4e38),
        "two values": rng.integers(0, 2, shape) * 1000.0,
        "three values": rng.integers(0, 3, shape) * 7.0 - 7.0,
        "one value above a half": np.where(rng.random(shape) < 0.502, 5.0, rng.normal(size=shape)),
        "ascending": np.broadcast_to(np.arange(size * size, dtype=np.float64).reshape(size, size), shape),
        "descending": np.broadcast_to(-np.arange(size * size, dtype=np.float64).reshape(size, size), shape),
        "columns differ": np.broadcast_to(10.0 ** (np.arange(size) % 30), shape),
        "powers of two": 2.0 ** rng.integers(-60, 60, shape),
        "sums of bands are zero": np.where(np.arange(12)[:, None, None] % 2, -1.0, 1.0) * 500 * np.ones(shape),
    }
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def reference(pixels, names=CHANNELS):
    """float64 (moment, channel, n) by numpy, valid values only, one channel at a time; no zero is negative."""
    values = channels(pixels, BAND_NAMES, names).reshape(len(pixels), len(names), -1)
    out = np.full((len(MOMENTS), len(names), len(pixels)), np.nan)
    for patch, channel in np.ndindex(values.shape[:2]):
        valid = values[patch, channel][~np.isnan(values[patch, channel])]
        out[-1, channel, patch] = valid.size
        if valid.size:
            with np.errstate(all="ignore"):
                mean = valid.mean()
                d = valid - mean
                square = d * d
                powers = square.mean(), (square * d).mean(), (square * square).mean()
                out[:-1, channel, patch] = mean, *powers, valid.min(), valid.max(), np.median(valid)
    return out + 0.0
