"""A tile: georeferenced bands on one grid, with what is known about them. Pixels are read later, window by window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from affine import Affine
from rasterio.crs import CRS

from lsd.runtime.bands import BY_NAME, PATCH_GSD_M, Orbit
from lsd.runtime.ingest.projection import placed

Conversion = Literal["none", "add_1000", "reflectance_to_dn", "linear_to_db", "amplitude_to_db"]
CloudKind = Literal["scl", "mask"]
Role = Literal["optical", "post", "pre"]


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


def outline_deg(grid: Grid) -> tuple[tuple[float, float], ...]:
    """Longitude and latitude (WGS 84) of the upper left, upper right, lower right and lower left corner of a grid.

    Raises:
        TileError: a corner has no place on the ground.
    """
    corners = [(0, 0), (grid.width_px, 0), (grid.width_px, grid.height_px), (0, grid.height_px)]
    east, north = zip(*(grid.ground(x, y) for x, y in corners), strict=True)
    longitude, latitude = placed("the corners of the grid", grid.crs, CRS.from_epsg(4326), east, north)
    return tuple((round(float(x), 7), round(float(y), 7)) for x, y in zip(longitude, latitude, strict=True))


@dataclass(frozen=True)
class BandSource:
    """Where one band of a tile is stored and what brings it to canonical units.

    nodata: declared nodata value of the file, None if it declares none. NaN is never valid; for radar 0 is not either.
    pre: for a difference band made of scenes, the levels of the same channel before the event (`desc_vv` for
    `desc_dvv`); the band is then this source's level minus the level of their mean power, in dB. mask: file of the same
    grid whose pixels other than 0 are not valid (layover and shadow of OPERA).
    """

    band: str
    path: Path
    index: int  # 1-based band of the file, as in GDAL
    nodata: float | None
    conversion: Conversion = "none"
    pre: tuple[BandSource, ...] = ()
    mask: Path | None = None

    @property
    def is_level(self) -> bool:
        """True if the file holds radar levels, also those that a difference is made of: they are resampled in power."""
        return BY_NAME[self.band].modality == "sar" or bool(self.pre)


@dataclass(frozen=True)
class CloudLayer:
    """A layer that says which pixels of the optical bands are unseen; read by nearest neighbour.

    invalid: values of the layer under which the optical bands are not valid (cloud, shadow, snow, nodata). trusted:
    False where the layer calls clear what is bright as cloud over much of the scene: then the haze test stays in force.
    """

    path: Path
    index: int
    kind: CloudKind
    invalid: tuple[int, ...]
    trusted: bool = True


@dataclass(frozen=True)
class Scene:
    """One acquisition that went into a tile.

    id: product name or STAC id. sensor: `sentinel-1` or `sentinel-2`. role: `optical`, `post` or `pre` (radar after or
    before the event). product: what it was recognised as (`Sentinel-2 L2A SAFE`, `ASF HyP3 RTC`). acquired: ISO 8601 in
    UTC, None if unknown. orbit, relative_orbit: of radar, None if unknown. bands: canonical bands that it gave,
    difference bands included.
    """

    id: str
    sensor: str
    role: Role
    product: str
    acquired: str | None
    bands: tuple[str, ...]
    orbit: Orbit | None = None
    relative_orbit: int | None = None

    @property
    def track(self) -> str | None:
        """Direction and relative orbit in words: `descending 107`; None for optical scenes."""
        if self.sensor != "sentinel-1":
            return None
        number = "of unknown number" if self.relative_orbit is None else str(self.relative_orbit)
        return f"{self.orbit or 'unknown direction'} {number}"


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
    decided. warnings: lines a person should read first. acquired: sensor -> ISO 8601 time in UTC, where known, after
    the event for radar. clouds: None where no cloud layer came with the optical bands. scenes: the acquisitions it was
    made of. event_time: ISO 8601 in UTC, None if nobody stated it.
    """

    id: str
    grid: Grid
    bands: dict[str, BandSource]
    decisions: tuple[Decision, ...] = ()
    warnings: tuple[str, ...] = ()
    acquired: dict[str, str] = field(default_factory=dict)
    clouds: CloudLayer | None = None
    scenes: tuple[Scene, ...] = ()
    event_time: str | None = None

    def scenes_of(self, bands: Iterable[str]) -> tuple[Scene, ...]:
        """The acquisitions behind some canonical bands, in the tile's order."""
        wanted = set(bands)
        return tuple(scene for scene in self.scenes if wanted & set(scene.bands))
