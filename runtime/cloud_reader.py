"""Reading a cloud layer window by window on the tile's grid, by nearest neighbour: classes cannot be averaged."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.clouds import LARGEST
from lsd.runtime.ingest.raster import GDAL_ERRORS, open_raster, read_window
from lsd.runtime.tiles import CloudLayer, Grid

UNKNOWN = 255  # no class: where the layer does not reach
WARP_TOLERANCE_PX = 1e-9  # see lsd.runtime.reader


class CloudReader:
    """Context manager over the open file of a cloud layer. Not thread-safe."""

    def __init__(self, layer: CloudLayer, tile: Grid) -> None:
        self.layer, self.tile = layer, tile
        self._stack = ExitStack()

    def __enter__(self) -> CloudReader:
        try:
            self._dataset = self._stack.enter_context(open_raster(self.layer.path))
            if self._dataset.crs is None or self._dataset.count < self.layer.index:
                raise TileError(f"{self.layer.path} was changed while it was being read; run again when it is complete")
            self._grid = Grid(self._dataset.crs, self._dataset.transform, self._dataset.width, self._dataset.height)
            self._warped = self._stack.enter_context(self._warp()) if self._grid.crs != self.tile.crs else None
        except GDAL_ERRORS as error:
            self._stack.close()
            raise self._unplaced(error) from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def _warp(self) -> WarpedVRT:
        return WarpedVRT(
            self._dataset,
            crs=self.tile.crs,
            transform=self.tile.transform,
            width=self.tile.width_px,
            height=self.tile.height_px,
            resampling=Resampling.nearest,
            nodata=UNKNOWN,
            tolerance=WARP_TOLERANCE_PX,
        )

    def _unplaced(self, error: Exception) -> TileError:
        return TileError(f"{self.layer.path} cannot be aligned with the tile's grid ({error})")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def classes(self, y: int, x: int, height: int, width: int) -> NDArray[np.integer]:
        """Classes (y, x) of a window of the tile, `UNKNOWN` where the layer does not reach.

        Raises:
            TileError: the file cannot be read.
        """
        if self._warped is not None:
            try:
                return _whole(self._warped.read(self.layer.index, window=Window(x, y, width, height)))
            except GDAL_ERRORS as error:
                raise self._unplaced(error) from error
        east, _ = self.tile.ground(x + np.arange(width) + 0.5, 0.0)
        _, north = self.tile.ground(0.0, y + np.arange(height) + 0.5)
        columns = np.floor(self._grid.pixel(east, north[0])[0]).astype(np.int64)
        rows = np.floor(self._grid.pixel(east[0], north)[1]).astype(np.int64)
        out = np.full((height, width), UNKNOWN, np.int64)
        across = np.flatnonzero((columns >= 0) & (columns < self._grid.width_px))
        down = np.flatnonzero((rows >= 0) & (rows < self._grid.height_px))
        if across.size and down.size:
            x0, y0 = int(columns[across[0]]), int(rows[down[0]])
            part = Window(x0, y0, int(columns[across[-1]]) - x0 + 1, int(rows[down[-1]]) - y0 + 1)
            stored = _whole(read_window(self._dataset, [self.layer.index], part)[0])
            out[np.ix_(down, across)] = stored[np.ix_(rows[down] - y0, columns[across] - x0)]
        return out

    def invalid(self, y: int, x: int, height: int, width: int) -> NDArray[np.bool_]:
        """bool (y, x): True where the layer marks cloud, shadow, snow or nodata, or does not reach."""
        classes = self.classes(y, x, height, width)
        known = (classes >= 0) & (classes <= LARGEST[self.layer.kind])
        return np.asarray(~known | np.isin(classes, self.layer.invalid))


def _whole(stored: NDArray[Any]) -> NDArray[np.integer]:
    """Classes as int64, `UNKNOWN` where a layer of floats holds none."""
    if stored.dtype.kind != "f":
        return stored.astype(np.int64)
    return np.where(stored == np.rint(stored), np.clip(np.nan_to_num(stored), -1, UNKNOWN), UNKNOWN).astype(np.int64)
