"""The grid of 64 x 64 patches over a tile, and the batch of patches that travels to the models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import TileError
from lsd.runtime.native.library import native_library
from lsd.runtime.native.validity import invalid_in_any_px, invalid_px


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of a tile lie. One cell a patch; the last row and column shift inward instead of being lost.

    `width_px`, `height_px`: the tile. `stride_px`: step between patches, 1..64; below 64 they overlap.
    """

    width_px: int
    height_px: int
    stride_px: int = PATCH_SIZE_PX

    def __post_init__(self) -> None:
        if min(self.width_px, self.height_px) < PATCH_SIZE_PX:
            raise TileError(
                f"tile is {self.width_px} x {self.height_px} px, smaller than one patch "
                f"({PATCH_SIZE_PX} x {PATCH_SIZE_PX} px); give a larger tile or mosaic it with its neighbours first"
            )
        if not 1 <= self.stride_px <= PATCH_SIZE_PX:
            raise ValueError(f"stride must be 1..{PATCH_SIZE_PX} px, is {self.stride_px}")

    @property
    def columns(self) -> int:
        """Number of patches from left to right."""
        return -(-(self.width_px - PATCH_SIZE_PX) // self.stride_px) + 1

    @property
    def rows(self) -> int:
        """Number of patches from top to bottom."""
        return -(-(self.height_px - PATCH_SIZE_PX) // self.stride_px) + 1

    def x_px(self, column: int) -> int:
        """Left edge of a patch in tile pixels."""
        return min(column * self.stride_px, self.width_px - PATCH_SIZE_PX)

    def y_px(self, row: int) -> int:
        """Top edge of a patch in tile pixels."""
        return min(row * self.stride_px, self.height_px - PATCH_SIZE_PX)

    def is_shifted(self, row: int, column: int) -> bool:
        """True if the patch was moved inward from its place on the regular grid."""
        return self.x_px(column) != column * self.stride_px or self.y_px(row) != row * self.stride_px


@dataclass(frozen=True)
class PatchBatch:
    """Patches of one tile on their way to the models; read-only, owned by the receiver.

    pixels: float32 (n, band, 64, 64); DN or dB in canonical units, NaN where the band is not valid.
    bands: canonical band names along axis 1.
    rows, columns: int (n,), cell of each patch in the tile's `PatchGrid`.
    cloud, out_of_range: float32 (n,) in 0..1, share of pixels that a cloud layer marks, and that hold a value outside
    the plausible range of a band; both are NaN in `pixels`. None: nothing is.
    clouds_known: a cloud layer that can be trusted was read, so the haze test is a milder one.
    """

    pixels: NDArray[np.float32]
    bands: tuple[str, ...]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    cloud: NDArray[np.float32] | None = None
    out_of_range: NDArray[np.float32] | None = None
    clouds_known: bool = False

    def __len__(self) -> int:
        return len(self.pixels)

    def valid_fraction(self, bands: tuple[str, ...]) -> NDArray[np.float32]:
        """float32 (n,) in 0..1: share of a patch's pixels that are valid in all of `bands`; 0 if a band is absent."""
        if not set(bands) <= set(self.bands):
            return np.zeros(len(self), np.float32)
        positions = [self.bands.index(band) for band in bands]
        counts = self._invalid_px[:, positions]
        invalid = counts.max(axis=1, initial=0) / PATCH_SIZE_PX**2
        several = np.flatnonzero((counts > 0).sum(axis=1) > 1)  # the places may differ from band to band
        if len(several):
            holed = [position for position, most in zip(positions, counts.max(axis=0), strict=True) if most]
            invalid[several] = _invalid_in_any(self.pixels, holed, several) / PATCH_SIZE_PX**2
        return np.asarray(1.0 - invalid, np.float32)

    @cached_property
    def _invalid_px(self) -> NDArray[np.int64]:
        """int64 (n, band): number of invalid pixels."""
        library = native_library()
        if library is not None:
            return invalid_px(library, self.pixels)
        return np.asarray(np.isnan(self.pixels).sum(axis=(2, 3)), np.int64)


def _invalid_in_any(pixels: NDArray[np.float32], positions: list[int], chosen: NDArray[np.intp]) -> NDArray[np.int64]:
    """int64 (len(chosen),): pixels of these patches that are invalid in any of the bands."""
    library = native_library()
    if library is not None:
        return invalid_in_any_px(library, pixels, positions, chosen)
    return np.array([np.isnan(pixels[patch, positions]).any(axis=0).sum() for patch in chosen], np.int64)
