"""Labels of the ground from the outlines of slides: any vector file that GDAL reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import rasterize
from rasterio.warp import transform, transform_bounds

from lsd.runtime.errors import SourceError, TableError, TileError
from lsd.runtime.ingest.raster import GDAL_ERRORS
from lsd.runtime.tiles import Tile
from lsd.train.datasets.ground_labels import NO_SLIDE, SLIDE, ReadLabels

_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


class _NoPlaceError(ValueError):
    """A vertex has no coordinates in the CRS of a tile."""


class PolygonLabels:
    """Outlines of slides in any CRS, held in memory. Ground outside of all is without slide: map all slides of a tile.

    A pixel is slide where its centre lies in an outline, on the grid and in the CRS of the tile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._outlines, self._crs = _read(path)
        self._tree = shapely.STRtree(self._outlines)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @contextmanager
    def of_tile(self, tile: Tile) -> Iterator[ReadLabels]:
        """Labels on the grid of a tile; raises TileError, see `GroundLabels`."""
        grid = tile.grid
        try:
            outlines = self._near(tile)
        except (*GDAL_ERRORS, _NoPlaceError) as error:
            raise TileError(
                f"{self.path}: outlines cannot be placed on the grid of tile {tile.id} ({error})"
            ) from error
        tree = shapely.STRtree(outlines)

        def read(y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
            west, north = grid.ground(x, y)
            east, south = grid.ground(x + width, y + height)
            here = outlines[tree.query(shapely.box(west, south, east, north))]
            if not len(here):
                return np.full((height, width), NO_SLIDE, np.uint8)
            burnt: NDArray[np.uint8] = rasterize(
                here, (height, width), NO_SLIDE, transform=grid.transform_at(x, y), default_value=SLIDE, dtype="uint8"
            )
            return burnt

        yield read

    def _near(self, tile: Tile) -> NDArray[np.object_]:
        """The outlines about a tile, in its CRS."""
        grid = tile.grid
        west, north = grid.ground(0, 0)
        east, south = grid.ground(grid.width_px, grid.height_px)
        bounds = transform_bounds(grid.crs, self._crs, west, south, east, north)
        about = shapely.box(*bounds) if bounds[0] <= bounds[2] else _across_the_antimeridian(*bounds)
        found = self._outlines[np.sort(self._tree.query(about))]

        def to_tile(places: NDArray[np.float64]) -> NDArray[np.float64]:
            placed = np.column_stack(transform(self._crs, grid.crs, places[:, 0], places[:, 1]))
            if not np.isfinite(placed).all():  # GDAL reports the first failures of a transformation only
                raise _NoPlaceError("a vertex lies where its CRS is not defined")
            return placed

        return np.asarray(shapely.transform(found, to_tile), object)


def _across_the_antimeridian(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    return shapely.union(shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north))


def _read(path: Path) -> tuple[NDArray[np.object_], CRS]:
    """Polygons (n,) and their CRS.

    Raises:
        SourceError: the file cannot be read. TableError: no CRS, no polygons, or other geometries among them.
    """
    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) != 1:
            raise TableError(f"{path}: expected one layer of polygons, found {', '.join(layers) or 'none'}")
        meta, _, stored, _ = pyogrio.raw.read(path, layer=layers[0], columns=[], force_2d=True)
    except (DataSourceError, DataLayerError, OSError) as error:
        raise SourceError(f"{path} cannot be read as a vector file ({error}); check the path") from error
    if meta["crs"] is None:
        raise TableError(f"{path}: has no CRS, so the place of the outlines is unknown; write it with one")
    outlines = shapely.from_wkb(stored)
    outlines = outlines[~(shapely.is_missing(outlines) | shapely.is_empty(outlines))]
    others = outlines[~np.isin(shapely.get_type_id(outlines), _POLYGONS)]
    if len(others) or not len(outlines):
        found = f"a {others[0].geom_type}" if len(others) else "none"
        raise TableError(f"{path}: expected the outlines of slides as polygons, found {found}")
    try:
        return np.asarray(outlines, object), CRS.from_user_input(meta["crs"])
    except CRSError as error:
        raise TableError(f"{path}: CRS cannot be understood ({error}); write it with an EPSG code") from error
