"""Opening, reading and sampling rasters so that every failure is one line that names the file.

Rasters are GeoTIFF or JPEG 2000, on disk, inside a zip or at a web address. The latter two are written as a `Path` of
GDAL's virtual file systems (GDAL documentation, /vsizip/ and /vsicurl/): `in_zip`, `remote`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

ZIP, WEB = "/vsizip/", "/vsicurl/"
JPEG2000_SUFFIX = ".jp2"
# Nothing but the file itself is asked for (no folder listing, no side files), and a dead server is given up soon.
WEB_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": 10,  # seconds
    "GDAL_HTTP_TIMEOUT": 60,  # seconds, for one range of the file
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 1,  # seconds
}

# A sample reads at most 64 windows of 32 x 32 px, spread evenly: one pixel in a thousand is still 65 pixels. JPEG 2000
# decodes a whole block (1,024 px in Sentinel-2 products) for each window: as many pixels come from 16 windows.
SAMPLE_WINDOWS, SAMPLE_SIZE_PX = 8, 32
JPEG2000_WINDOWS, JPEG2000_SIZE_PX = 4, 64
OVERVIEW_SIZE_PX = 1024  # second try where the windows hold no valid pixel: every n-th pixel of the whole band


def in_zip(archive: Path, member: str) -> Path:
    """The path of a file inside a zip; the zip may lie anywhere and have any name."""
    return Path(f"{ZIP}{{{archive.resolve()}}}/{member}")


def remote(url: str) -> Path:
    """The path of a file at a web address (http or https). `gdal_name` puts back the slash that a path drops."""
    address, mark, query = url.partition("?")
    return Path(WEB + address + mark + quote(query, safe="=&%+:;,~!*'()$@-._"))


def gdal_name(path: Path) -> str:
    """What GDAL calls a path: with the two slashes after `http:` and `https:` of a web address."""
    name = str(path)
    for scheme in ("http:/", "https:/"):
        if name.startswith(WEB + scheme):
            return f"{WEB}{scheme}/{name[len(WEB + scheme) :]}"
    return name


def on_disk(path: Path) -> Path | None:
    """The file on disk that holds a raster: the zip of a file inside one, None for a web address."""
    name = str(path)
    if name.startswith(WEB):
        return None
    return Path(_zip_parts(name)[0]) if name.startswith(ZIP + "{") else path


def open_raster(path: Path) -> DatasetReader:
    """Open a GeoTIFF, or a JPEG 2000 file if its suffix is `.jp2`, for reading; the caller closes it.

    Raises:
        TileError: the file cannot be opened in its format, or is remote and cannot be reached.
    """
    name = gdal_name(path)
    virtual = name.startswith((ZIP, WEB))
    try:
        with warnings.catch_warnings(), rasterio.Env(**(WEB_OPTIONS if name.startswith(WEB) else {})):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # reported as TileError where it matters
            # rasterio takes strings apart as URLs, paths it leaves alone
            return rasterio.open(name if virtual else path, driver=_driver(name))
    except GDAL_ERRORS as error:
        raise _unreadable(path, error) from error


def _driver(name: str) -> str:
    return "JP2OpenJPEG" if name.partition("?")[0].casefold().endswith(JPEG2000_SUFFIX) else "GTiff"


def _zip_parts(name: str) -> tuple[str, str]:
    """Zip and member of `/vsizip/{zip}/member`; the name of the zip may hold pairs of braces itself."""
    depth = 0
    for i, character in enumerate(name):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "}" and depth == 0:
            return name[len(ZIP) + 1 : i], name[i + 2 :]
    return name[len(ZIP) + 1 :], ""


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


def samples(dataset: DatasetReader, indexes: Sequence[int]) -> list[NDArray[np.float64]]:
    """A bounded sample of each of some bands, float64 (n,) in the file's units, NaN where invalid in that band.

    Invalid are declared nodata, NaN and infinity. Bands of the same grid are sampled at the same pixels. If nothing of
    a band in the windows is valid and different from zero, every n-th pixel of the whole band is taken instead.

    Raises:
        TileError: the file cannot be read.
    """
    is_jpeg2000 = dataset.driver == "JP2OpenJPEG"
    count, size_px = (JPEG2000_WINDOWS, JPEG2000_SIZE_PX) if is_jpeg2000 else (SAMPLE_WINDOWS, SAMPLE_SIZE_PX)
    windows = [
        Window(x, y, min(size_px, dataset.width - x), min(size_px, dataset.height - y))
        for y in _starts(dataset.height, count, size_px)
        for x in _starts(dataset.width, count, size_px)
    ]
    # all bands of a window in one call: rasterio looks at every band of the file in each
    with rasterio.Env(GTIFF_DIRECT_IO=True):  # rows of a window, not whole blocks, where nothing is compressed
        pixels = np.concatenate([_valid(dataset, indexes, window) for window in windows], axis=1)
    found = (np.nan_to_num(pixels) != 0).any(axis=1)
    return [
        band if holds else _overview(dataset, index) for band, index, holds in zip(pixels, indexes, found, strict=True)
    ]


def _overview(dataset: DatasetReader, index: int) -> NDArray[np.float64]:
    """Every n-th pixel of a whole band, float64 (n,)."""
    shape = tuple(min(OVERVIEW_SIZE_PX, size) for size in (dataset.height, dataset.width))
    everything = Window(0, 0, dataset.width, dataset.height)
    return _valid(dataset, [index], everything, out_shape=(1, *shape)).ravel()


def _starts(length_px: int, windows: int, size_px: int) -> list[int]:
    """Where sample windows begin along one axis; side by side where the raster is small enough to be read whole."""
    if length_px <= windows * size_px:
        return list(range(0, length_px, size_px))
    return [int(start) for start in np.linspace(0, length_px - size_px, windows)]


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
    name = gdal_name(path)
    form = "JPEG 2000" if _driver(name) == "JP2OpenJPEG" else "GeoTIFF"
    if name.startswith(WEB):
        address = name[len(WEB) :].partition("?")[0]  # a query may hold somebody's access token
        reason = reason.replace(name, address).replace(name[len(WEB) :], address)
        return TileError(
            f"{address} is remote and cannot be reached or read as {form} ({reason}); fetch it first, or try again"
        )
    if name.startswith(ZIP + "{"):
        archive, member = _zip_parts(name)
        return TileError(
            f"{member} in {archive} cannot be read as {form} ({reason.replace(name, member)}); is the zip complete? "
            "Fetch it again, or unpack it"
        )
    return TileError(f"{path} cannot be read as {form} ({reason}); is the file complete? Fetch or copy it again")
