"""The pixels that checks look at, the same places in all bands of a tile, and which of them are clear or land."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.haze import is_hazy

Array = NDArray[np.float64]
Samples = Mapping[str, Array]

LEAST_PIXELS = 1000  # fewer valid pixels tell nothing about a scene
LEAST_CLEAR_SHARE = 0.25
OFFSET_DN = 1000.0
LAND_NIR_DN = 2000.0  # reflectance .1: above it ground is not water


@dataclass(frozen=True)
class SampledScene:
    """A sample of one tile. Read-only; not for several threads at once.

    bands: canonical name -> float64 (n,) in canonical units, NaN where invalid; pixel i is the same place in all
    bands, pixel i + 1 its right neighbour but where a row of a window ends. has_cloud_layer: pixels that a layer marks
    are NaN in the optical bands.
    """

    bands: Samples
    has_cloud_layer: bool = False

    def __contains__(self, band: str) -> bool:
        return band in self.bands

    def has(self, *bands: str) -> bool:
        """True if the tile has all of these bands, valid pixels or not."""
        return set(bands) <= set(self.bands)

    def valid(self, band: str) -> Array:
        """Valid values of a band; empty where the tile has no such band."""
        return valid(self.bands[band]) if band in self.bands else np.empty(0)

    @cached_property
    def clear(self) -> NDArray[np.bool_] | None:
        """bool (n,), no cloud, haze or snow in red and blue; None without them or where most is cloud.

        What is left between clouds is hazy too, hence the quarter.
        """
        if not self.has("red", "blue"):
            return None
        red, blue = self.bands["red"], self.bands["blue"]
        seen = np.isfinite(red) & np.isfinite(blue)
        clear = np.asarray(seen & ~is_hazy(red, blue))
        return clear if clear.sum() >= max(LEAST_PIXELS, LEAST_CLEAR_SHARE * seen.sum()) else None

    @cached_property
    def land(self) -> NDArray[np.bool_] | None:
        """bool (n,), clear land; None where `clear` is or where there is too little of it."""
        if self.clear is None or "nir" not in self:
            return None
        with np.errstate(invalid="ignore"):
            land = self.clear & (self.bands["nir"] > LAND_NIR_DN)
        return land if land.sum() >= LEAST_PIXELS else None


def valid(values: Array) -> Array:
    """The values that are not NaN."""
    return values[np.isfinite(values)]
