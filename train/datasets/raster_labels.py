"""Labels of the ground from rasters: one for all tiles, or a folder with one a tile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from lsd.runtime.errors import SourceError, TileError
from lsd.runtime.ingest.raster import GDAL_ERRORS, open_raster
from lsd.runtime.layers import WARP_TOLERANCE_PX
from lsd.runtime.sources.product import TIFF_SUFFIXES
from lsd.runtime.tiles import Tile
from lsd.train.datasets.ground_labels import NO_SLIDE, SLIDE, UNKNOWN, ReadLabels


class RasterLabels:
    """Rasters of any grid, CRS and number type: not 0 is slide; declared nodata, NaN and ground outside are unknown.

    path: a raster, or a folder that holds TILE.tif for each tile id. Read by nearest neighbour, a window at a time.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SourceError(f"label rasters {path} do not exist; check the path")
        self.path = path

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self.path.name

    @contextmanager
    def of_tile(self, tile: Tile) -> Iterator[ReadLabels]:
        """Labels on the grid of a tile; raises TileError, see `GroundLabels`."""
        file = self._file_of(tile.id)
        with open_raster(file) as dataset, _on_grid(file, dataset, tile) as warped:

            def read(y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
                window = Window(x, y, width, height)
                try:
                    values, known = warped.read(1, window=window), warped.dataset_mask(window=window) != 0
                except GDAL_ERRORS as error:
                    raise TileError(f"{file} cannot be read on the grid of tile {tile.id} ({error})") from error
                known &= ~np.isnan(values)
                return np.where(known, np.where(values != 0, SLIDE, NO_SLIDE), UNKNOWN).astype(np.uint8)

            yield read

    def _file_of(self, tile_id: str) -> Path:
        if not self.path.is_dir():
            return self.path
        found = [self.path / f"{tile_id}{suffix}" for suffix in TIFF_SUFFIXES]
        for file in found:
            if file.is_file():
                return file
        raise TileError(f"{found[0]} is not there; expected a label raster named as its tile")


def _on_grid(file: Path, dataset: DatasetReader, tile: Tile) -> WarpedVRT:
    if dataset.crs is None:
        raise TileError(f"{file} has no CRS, so its place is unknown; write it with one")
    if dataset.count != 1:
        raise TileError(f"{file} should hold the one band of labels, holds {dataset.count}")
    grid = tile.grid
    try:
        return WarpedVRT(
            dataset,
            crs=grid.crs,
            transform=grid.transform,
            width=grid.width_px,
            height=grid.height_px,
            resampling=Resampling.nearest,
            tolerance=WARP_TOLERANCE_PX,
            add_alpha=dataset.nodata is None,  # what lies outside is then told by alpha, else by nodata
        )
    except GDAL_ERRORS as error:
        raise TileError(f"{file} cannot be placed on the grid of tile {tile.id} ({error})") from error
