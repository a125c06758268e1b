"""Writes the small synthetic tiles that the tests of sources and reader use; nothing of it is real ground."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

UTM = "EPSG:32633"
ORIGIN = Affine(10, 0, 500_000, 0, -10, 4_600_000)
L2A_OLD = "S2A_MSIL2A_20200706T085611_N0214_R007_T33NZA_20200706T153419"
L2A_NEW = "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419"
S1_DESCENDING = "S1A_IW_GRDH_1SDV_20200607T050800_20200607T050825_032904_03CFBA_D457"


def write_tiff(
    path: Path,
    pixels: np.ndarray,
    names: Sequence[str] | None = None,
    crs: str | None = UTM,
    transform: Affine = ORIGIN,
    nodata: float | None = None,
    units: Sequence[str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    tags: Mapping[str, str] | None = None,
    gcps: Sequence[Any] = (),
) -> Path:
    """Write (band, y, x) or (y, x) pixels as an uncompressed striped GeoTIFF and return its path."""
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {"crs": crs, "transform": transform} if not gcps else {"gcps": gcps, "crs": "EPSG:4326"}
    count, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=pixels.dtype, nodata=nodata, **profile
    ) as dataset:
        dataset.write(pixels)
        if names is not None:
            dataset.descriptions = tuple(names)
        if units is not None:
            dataset.units = tuple(units)
        if scale is not None:
            dataset.scales = (scale,) * count
            dataset.offsets = (offset or 0.0,) * count
        if tags:
            dataset.update_tags(**tags)
    return path


def optical(height: int = 80, width: int = 96, seed: int = 0, low: int = 1100, high: int = 1800) -> np.ndarray:
    """uint16 (4, y, x): red, green, blue, nir, as noise."""
    return np.random.default_rng(seed).integers(low, high, (4, height, width)).astype(np.uint16)


def radar(height: int = 80, width: int = 96, seed: int = 1) -> np.ndarray:
    """float32 (2, y, x): VV and VH in dB, as noise."""
    noise = np.random.default_rng(seed).normal(0, 3, (2, height, width))
    return (noise + np.array([-10, -17])[:, None, None]).astype(np.float32)


def write_band_folder(folder: Path, bands: Mapping[str, np.ndarray], **options: Any) -> Path:
    """Write one file a band, named by it, and return the folder."""
    for name, pixels in bands.items():
        write_tiff(folder / f"{name}.tif", pixels, **options)
    return folder


def write_metadata(folder: Path, name: str = "metadata.json", **keys: Any) -> Path:
    """Write the JSON beside the files of a product."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(keys), encoding="utf-8")
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    """Cut a file short: its header still opens, its pixels end early."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
