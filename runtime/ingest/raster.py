"""Opening, reading and sampling GeoTIFFs so that every failure is one line that names the file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from lsd.runtime.errors import TileError

# What rasterio raises when GDAL or PROJ fail; it lets some of GDAL's own errors through, which have no public name.
GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)

# A sample reads at most 64 windows of 32 x 32 px, spread evenly: one pixel in a thousand is still 65 pixels.
SAMPLE_WINDOWS = 8
SAMPLE_SIZE_PX = 32
OVERVIEW_SIZE_PX = 1024  # second try where the windows hold no valid pixel: every n-th pixel of the whole band


def open_raster(path: Path) -> DatasetReader:
    """Open a GeoTIFF for reading; the caller closes it.

    Raises:
        TileError: the file cannot be opened as a GeoTIFF.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # reported as TileError where it matters
            return rasterio.open(path, driver="GTiff")
    except GDAL_ERRORS as error:
        raise _unreadable(path, error) from error


def read_window(dataset: DatasetReader, indexes: Sequence[int], window: Window, **options: Any) -> NDArray[Any]:
    """Pixels (band, y, x) of a window in the file's dtype; `options` go to rasterio's `read`.

    Raises:
        TileError: the file is truncated or damaged there.
    """
    try:
        pixels: NDArray[Any] = dataset.read(indexes=list(indexes), window=window, **options)
    except GDAL_ERRORS as error:
        raise _unreadable(Path(dataset.name), error) from error
    return pixels


def sample(dataset: DatasetReader, indexes: Sequence[int]) -> NDArray[np.float64]:
    """A bounded sample of some bands, float64 (band, n) in the file's units, NaN where invalid in that band.

    Invalid are declared nodata, NaN and infinity. Bands of the same grid are sampled at the same pixels. If nothing in
    the windows is valid and different from zero, every n-th pixel of the whole band is taken instead.

    Raises:
        TileError: the file cannot be read.
    """
    windows = [
        Window(x, y, min(SAMPLE_SIZE_PX, dataset.width - x), min(SAMPLE_SIZE_PX, dataset.height - y))
        for y in _starts(dataset.height)
        for x in _starts(dataset.width)
    ]
    pixels = np.concatenate([_valid(dataset, indexes, window) for window in windows], axis=1)
    if not (np.nan_to_num(pixels) != 0).any():
        shape = tuple(min(OVERVIEW_SIZE_PX, size) for size in (dataset.height, dataset.width))
        everything = Window(0, 0, dataset.width, dataset.height)
        pixels = _valid(dataset, indexes, everything, out_shape=(len(indexes), *shape))
    return pixels


def _starts(size_px: int) -> list[int]:
    """Where the sample windows begin along one axis; side by side where the raster is small enough to be read whole."""
    if size_px <= SAMPLE_WINDOWS * SAMPLE_SIZE_PX:
        return list(range(0, size_px, SAMPLE_SIZE_PX))
    return [int(start) for start in np.linspace(0, size_px - SAMPLE_SIZE_PX, SAMPLE_WINDOWS)]


def _valid(dataset: DatasetReader, indexes: Sequence[int], window: Window, **options: Any) -> NDArray[np.float64]:
    raw = read_window(dataset, indexes, window, **options)
    return np.stack(
        [
            np.where(is_valid(band, dataset.nodatavals[index - 1]), band, np.nan).astype(np.float64).ravel()
            for band, index in zip(raw, indexes, strict=True)
        ]
    )


def is_valid(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """True where `values`, in the file's dtype, are finite and not the declared nodata value."""
    valid: NDArray[np.bool_] = np.isfinite(values)
    if nodata is not None and np.isfinite(nodata):
        # GDAL declares nodata as float64: compare in the file's own precision
        declared = values.dtype.type(nodata) if values.dtype.kind == "f" else nodata
        valid &= values != declared
    return valid


def _unreadable(path: Path, error: Exception) -> TileError:
    reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
    return TileError(f"{path} cannot be read as GeoTIFF ({reason}); is the file complete? Fetch or copy it again")
