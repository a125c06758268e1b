"""Batches of simulated patches."""

from __future__ import annotations

import numpy as np

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.patches import PatchBatch


def batch(pixels, bands=BAND_NAMES):
    """Patches side by side in row 0."""
    n = np.arange(len(pixels))
    return PatchBatch(pixels, tuple(bands), n * 0, n)


def clear(n, seed):
    """Simulated patches in which nothing looks like haze."""
    pixels = simulated_patches(n, seed)
    pixels[:, BAND_NAMES.index("blue")] = np.minimum(pixels[:, BAND_NAMES.index("blue")], 1500)
    return pixels
