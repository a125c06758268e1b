"""The classes of a tile's patches, read back from its score grid, with the ground that each cell stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform

from lsd.runtime.bands import PATCH_SIZE_PX

Boxes = NDArray[np.intp]  # (n, 4): top, left, bottom, right in cells, half-open


@dataclass(frozen=True)
class ClassGrid:
    """Classes of one tile.

    codes: uint8 (row, column), `CLASS_TEXT` of `runtime/scores.py`. y_edges, x_edges: float64, (rows + 1,) and
    (columns + 1,), edges of the cells in pixels of the score grid. The cells share out the whole tile: the outermost
    end at its edges, also where their patches are shifted inward or overlap.
    """

    codes: NDArray[np.uint8]
    y_edges: NDArray[np.float64]
    x_edges: NDArray[np.float64]
    transform: Affine
    crs: CRS

    def count(self, code: int) -> int:
        """Number of patches of a class."""
        return int((self.codes == code).sum())

    def boxes(self, code: int, merged: bool) -> Boxes:
        """Cells of one class; merged: equal neighbours in a row become one box, equal rows below each other too."""
        if not merged:
            rows, columns = np.nonzero(self.codes == code)
            return np.stack([rows, columns, rows + 1, columns + 1], axis=1)
        steps = np.diff(np.pad(self.codes == code, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(steps == 1)
        ends = np.nonzero(steps == -1)[1]
        found: list[list[int]] = []
        growing: dict[tuple[int, int], list[int]] = {}  # run of columns -> its box, if it reaches the row above
        for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            box = growing.get((start, end))
            if box is not None and box[2] == row:
                box[2] = row + 1
            else:
                growing[start, end] = [row, start, row + 1, end]
                found.append(growing[start, end])
        return np.array(found, np.intp).reshape(-1, 4)

    def corners_deg(self, boxes: Boxes) -> NDArray[np.float64]:
        """Longitude and latitude (WGS 84), float64 (n, 4, 2): upper left, upper right, lower right, lower left."""
        y = self.y_edges[boxes[:, [0, 0, 2, 2]]].ravel()
        x = self.x_edges[boxes[:, [1, 3, 3, 1]]].ravel()
        t = self.transform
        east, north = t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f
        longitude, latitude = transform(self.crs, CRS.from_epsg(4326), east, north)
        return np.stack([longitude, latitude], axis=1).reshape(-1, 4, 2)


def read_class_grid(path: Path) -> ClassGrid:
    """Read the band `class` of a score grid.

    Raises:
        rasterio.errors.RasterioIOError: the file is not there or cannot be read.
        ValueError: it is no score grid of this version.
    """
    with rasterio.open(path) as raster:
        tags = raster.tags()
        if "class" not in raster.descriptions or not {"stride_px", "tile_width_px", "tile_height_px"} <= set(tags):
            raise ValueError(f"{path.name} is no score grid of this version: it lacks the band class or its tags")
        codes = raster.read(raster.descriptions.index("class") + 1)
        stride_px = int(tags["stride_px"])
        y_edges = _edges(raster.height, int(tags["tile_height_px"]), stride_px)
        x_edges = _edges(raster.width, int(tags["tile_width_px"]), stride_px)
        return ClassGrid(codes.astype(np.uint8), y_edges, x_edges, raster.transform, raster.crs)


def _edges(cells: int, size_px: int, stride_px: int) -> NDArray[np.float64]:
    """Edges of the cells in pixels of the score grid, whose origin lies `margin` tile pixels inside the tile."""
    margin_px = (PATCH_SIZE_PX - stride_px) / 2
    edges = np.arange(cells + 1, dtype=np.float64)
    edges[0], edges[-1] = -margin_px / stride_px, (size_px - margin_px) / stride_px
    return edges
