"""Ground that looks like cloud, haze or snow, told from red and blue: the last resort where no cloud layer is read.

The haze test of Fmask (Z. Zhu and C. E. Woodcock, Object-based cloud and cloud shadow detection in Landsat imagery,
Remote Sensing of Environment 118, 2012): blue - .5 red - .08 > 0, in reflectance. On real samples it holds for 97 % of
the pixels of a snow scene, 84 % of a cloudy one and none of seven clear ones. A limit on brightness would not tell them
apart: the visible medians of the cloudy scene, 2,600 to 2,900 DN, are those of dry ground.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.native.library import native_library
from lsd.runtime.native.validity import hazy_px

HAZE_WARNING_SHARE = 0.1  # of the pixels of a scene: the same tenth that may be invalid in a patch


def is_hazy(red: NDArray[np.floating[Any]], blue: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """True where a pixel looks like cloud, haze or snow; False where a band is invalid.

    Args:
        red, blue: canonical DN (reflectance x 10,000 + 1,000) of the same pixels, any shape, NaN where invalid.
    """
    return np.asarray((blue - 1000.0) - 0.5 * (red - 1000.0) - 800.0 > 0)


def hazy_share(red: NDArray[np.floating[Any]], blue: NDArray[np.floating[Any]]) -> float:
    """Share 0..1 of the pixels valid in both bands that are hazy; 0 if none is valid."""
    valid = int((np.isfinite(red) & np.isfinite(blue)).sum())
    return float(is_hazy(red, blue).sum() / valid) if valid else 0.0


def hazy_fraction(pixels: NDArray[np.float32], red: int, blue: int) -> NDArray[np.float64]:
    """float64 (n,) in 0..1: share of all pixels of a patch that are hazy, by the native library where there is one.

    Args:
        pixels: float32 (n, band, y, x), canonical DN, NaN where invalid. red, blue: positions of these bands.
    """
    library = native_library()
    if library is None:
        return np.asarray(is_hazy(pixels[:, red], pixels[:, blue]).mean(axis=(1, 2)), np.float64)
    return np.asarray(hazy_px(library, pixels, red, blue) / (pixels.shape[2] * pixels.shape[3]), np.float64)
