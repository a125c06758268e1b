"""A tile: georeferenced bands on one grid, with what is known about them. Pixels are read later, window by window."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from affine import Affine
from rasterio.crs import CRS

from lsd.runtime.bands import PATCH_GSD_M

Conversion = Literal["none", "add_1000", "linear_to_db", "amplitude_to_db"]


@dataclass(frozen=True)
class Grid:
    """Pixel grid of a tile: EPSG-identifiable CRS in metres, north-up transform, size in pixels."""

    crs: CRS
    transform: Affine
    width_px: int
    height_px: int

    @property
    def gsd_m(self) -> float:
        """Ground sampling distance in metres."""
        return float(self.transform.a)

    @property
    def is_ten_metre(self) -> bool:
        """True if pixels are square, north-up, metric and of the 10 m that the models were trained on (to 1 %)."""
        t = self.transform
        square = t.b == 0 and t.d == 0 and t.a > 0 and abs(t.a + t.e) < 1e-6 * t.a
        return bool(square and self.crs.is_projected and abs(t.a / PATCH_GSD_M - 1.0) < 0.01)

    # Plain arithmetic instead of Affine's operators: affine 2 knows only `*`, affine 3 deprecates it.
    def ground(self, column: Any, row: Any) -> tuple[Any, Any]:
        """East and north in the CRS of a place given in pixels, (0, 0) being the outer corner; floats or arrays."""
        t = self.transform
        return t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f

    def pixel(self, east: Any, north: Any) -> tuple[Any, Any]:
        """Column and row of a place on the ground, the inverse of `ground`; floats or arrays."""
        t = ~self.transform
        return t.a * east + t.b * north + t.c, t.d * east + t.e * north + t.f

    def transform_at(self, column: int, row: int) -> Affine:
        """Transform of the part of the grid that begins at this pixel."""
        t = self.transform
        east, north = self.ground(column, row)
        return Affine(t.a, t.b, east, t.d, t.e, north)


@dataclass(frozen=True)
class BandSource:
    """Where one band of a tile is stored and what brings it to canonical units.

    nodata: declared nodata value of the file, None if it declares none. NaN is never valid; for radar 0 is not either.
    """

    band: str
    path: Path
    index: int  # 1-based band of the file, as in GDAL
    nodata: float | None
    conversion: Conversion = "none"


@dataclass(frozen=True)
class Decision:
    """One choice the ingest made about a tile, with the reason; written into the products."""

    subject: str
    choice: str
    reason: str


@dataclass(frozen=True)
class Tile:
    """One arriving set of bands of one place.

    id: folder name of its products, from the input's name. bands: canonical name -> source. decisions: what ingest
    decided. warnings: lines a person should read first. acquired: sensor -> ISO 8601 time in UTC, where known.
    """

    id: str
    grid: Grid
    bands: dict[str, BandSource]
    decisions: tuple[Decision, ...] = ()
    warnings: tuple[str, ...] = ()
    acquired: dict[str, str] = field(default_factory=dict)
