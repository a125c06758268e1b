"""SYNTHETIC patches and a tile of them: they keep a chain busy as land does, and say nothing about detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, BY_NAME, PATCH_GSD_M, PATCH_SIZE_PX

NOTE = "SYNTHETIC: smooth noise at the level of ordinary land, every pixel valid"
SEED = 20_260_704
# Scene of a product with the offset of + 1,000 in its DN (baseline 04.00), so that a tile's DN are canonical ones
TILE_NAME = "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419"
_BLOCK_PX = 256
_COARSE_PX = 16  # side of the squares between which the smooth part runs
# level and deviation of the smooth part; of vegetated land, so that nothing looks like cloud
_OPTICAL_DN = {"blue": (1450.0, 90.0), "green": (1600.0, 110.0), "red": (1550.0, 160.0), "nir": (3200.0, 350.0)}
_RADAR_DB = {"VV": (-10.5, 2.0), "VH": (-17.0, 2.0)}
_CHANGE_DB = (0.0, 1.0)
_SPECKLE_DB, _NOISE_SHARE = 2.0, 0.02  # of pixels: radar in dB, optical as a share of the level


def synthetic_patches(count: int, bands: tuple[str, ...], seed: int = SEED) -> NDArray[np.float32]:
    """float32 (count, band, 64, 64) in canonical units; a patch is the same whichever other bands are asked for."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((count, len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX), np.float32)
    for name in BAND_NAMES:
        field = _field(rng, count, name)
        if name in bands:
            pixels[:, bands.index(name)] = field
    return pixels


def write_tile(folder: Path, bands: tuple[str, ...], patches_a_side: int, seed: int = SEED) -> Path:
    """A tile as lsd-run takes it: a folder with one uncompressed GeoTIFF a band, in blocks of 256 px; returns it.

    Optical bands are uint16, radar float32. Its patches are `synthetic_patches(patches_a_side**2, ...)`.
    """
    place = folder / TILE_NAME
    place.mkdir(parents=True)
    side = patches_a_side * PATCH_SIZE_PX
    patches = synthetic_patches(patches_a_side**2, bands, seed)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 1, "crs": "EPSG:32633", "tiled": True,
        "blockxsize": _BLOCK_PX, "blockysize": _BLOCK_PX,
        "transform": Affine(PATCH_GSD_M, 0, 399_960, 0, -PATCH_GSD_M, 5_300_040),
    }  # fmt: skip
    for number, name in enumerate(bands):
        rows = patches[:, number].reshape(patches_a_side, patches_a_side, PATCH_SIZE_PX, PATCH_SIZE_PX)
        dtype = "uint16" if BY_NAME[name].modality == "optical" else "float32"
        with rasterio.open(place / f"{name}.tif", "w", dtype=dtype, **profile) as file:
            file.write(rows.transpose(0, 2, 1, 3).reshape(side, side).astype(dtype), 1)
    return place


def _field(rng: np.random.Generator, count: int, name: str) -> NDArray[np.float64]:
    """(count, 64, 64): a level of each patch, a smooth part, and noise; optical in whole DN, as products hold it."""
    band = BY_NAME[name]
    modality = band.modality
    level, deviation = _OPTICAL_DN[name] if modality == "optical" else _CHANGE_DB
    if modality == "sar":
        level, deviation = _RADAR_DB[band.product_band]
    noise = _NOISE_SHARE * level if modality == "optical" else _SPECKLE_DB
    coarse = PATCH_SIZE_PX // _COARSE_PX
    smooth = rng.normal(size=(count, coarse, coarse)).repeat(_COARSE_PX, axis=1).repeat(_COARSE_PX, axis=2)
    of_patch = rng.normal(size=(count, 1, 1))
    pixels = rng.normal(size=(count, PATCH_SIZE_PX, PATCH_SIZE_PX))
    field = level + deviation * (0.7 * of_patch + 0.7 * smooth) + noise * pixels
    return np.asarray(np.round(np.maximum(field, 1.0)) if modality == "optical" else field, np.float64)
