"""Grids: the grid of a tile, and how each band of another grid comes onto it."""

from __future__ import annotations

import math
from pathlib import Path

from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader

from lsd.runtime.bands import BY_NAME, PATCH_GSD_M
from lsd.runtime.errors import TileError
from lsd.runtime.ingest.projection import crs_name, placed_bounds, projected
from lsd.runtime.layers import radar_resampling
from lsd.runtime.tiles import Decision, Grid

WGS84_EPSG = 4326  # a CRS made at import would open PROJ's database: 10 ms of every start
# A degree of latitude is 110.6..111.7 km (WGS84 ellipsoid); pixels of 1e-4 degrees are 10 m products put on degrees.
METRES_PER_DEGREE = 111_000.0
GEOGRAPHIC_TOLERANCE = 0.25


def grid_of(dataset: DatasetReader) -> Grid:
    """Grid of an open raster.

    Raises:
        TileError: it has no CRS.
    """
    if dataset.crs is None:
        path = Path(dataset.name)
        if dataset.gcps[0]:
            raise TileError(
                f"{path} has ground control points but no CRS: Sentinel-1 GRD Level-1, or another raw product; "
                "calibrate to sigma0 and geocode it first (e.g. SNAP: Calibration, Range-Doppler Terrain Correction)"
            )
        raise TileError(f"{path} has no CRS, so its place is unknown; set it with gdal_edit.py -a_srs EPSG:326xx")
    return Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)


def centre_deg(path: Path, grid: Grid) -> tuple[float, float]:
    """Longitude and latitude (WGS84, degrees) of the middle of a grid; path is for messages.

    Raises:
        TileError: the middle has no place on the ground.
    """
    x, y = grid.ground(grid.width_px / 2, grid.height_px / 2)
    longitude, latitude = (float(axis[0]) for axis in projected(grid.crs, CRS.from_epsg(WGS84_EPSG), x, y))
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise TileError(
            f"{path}: the middle of the grid, {x:.8g} {y:.8g} in {crs_name(grid.crs)}, is nowhere on the ground; "
            "correct the CRS or the transform"
        )
    return longitude, latitude


def pixel_m(path: Path, grid: Grid) -> float:
    """Height of a pixel in metres; degrees are turned into metres along the meridian.

    Raises:
        TileError: the grid is nowhere on the ground.
    """
    height = abs(grid.transform.e) or abs(grid.transform.a)
    if grid.crs.is_geographic:
        return float(height * METRES_PER_DEGREE)
    return float(height * grid.crs.linear_units_factor[1])


def cropped(path: Path, grid: Grid, bbox_deg: tuple[float, float, float, float]) -> Grid:
    """The part of a grid that holds a box of longitude and latitude, in whole pixels.

    Args:
        path: for messages.
        bbox_deg: west, south, east, north (WGS 84).
    Raises:
        TileError: the box lies outside.
    """
    left, bottom, right, top = placed_bounds(f"{path}: bbox", CRS.from_epsg(WGS84_EPSG), grid.crs, bbox_deg)
    x0, y0 = grid.pixel(left, top)
    x1, y1 = grid.pixel(right, bottom)
    x0, y0 = max(0, math.floor(x0 + 1e-6)), max(0, math.floor(y0 + 1e-6))
    x1, y1 = min(grid.width_px, math.ceil(x1 - 1e-6)), min(grid.height_px, math.ceil(y1 - 1e-6))
    if x1 <= x0 or y1 <= y0:
        raise TileError(f"{path}: bbox {bbox_deg} lies outside of the tile; correct it (west, south, east, north)")
    return Grid(grid.crs, grid.transform_at(x0, y0), x1 - x0, y1 - y0)


def tile_grid(path: Path, reference: Grid, coarse: bool = False) -> tuple[Grid, Decision | None]:
    """The tile's grid from that of its reference band: itself if metric at 10 m, UTM at 10 m if in degrees.

    Args:
        path: file of the reference band, for messages.
        coarse: metric pixels of 10 to 40 m are put on a 10 m grid too (radar alone).
    Raises:
        TileError: neither a metric 10 m north-up grid nor a north-up grid in degrees of about 10 m.
    """
    if reference.is_ten_metre and reference.crs.linear_units_factor[1] == 1 and not _is_web_mercator(reference.crs):
        return reference, None
    longitude, latitude = centre_deg(path, reference)
    utm = _utm(longitude, latitude)
    if not _is_ten_metre_in_degrees(reference, latitude) and not (coarse and _is_coarse_metric(reference)):
        t = reference.transform
        raise TileError(
            f"{path} is not on a metric north-up grid of {PATCH_GSD_M:g} m (found {crs_name(reference.crs)}, pixel "
            f"{t.a:g} x {t.e:g}, rotation {t.b:g} {t.d:g}); reproject it: "
            f"gdalwarp -t_srs {crs_name(utm)} -tr 10 10 -r bilinear (radar in linear power)"
        )
    bounds = placed_bounds(path, reference.crs, utm, _bounds(reference))
    left, top = (math.floor(bounds[0] / PATCH_GSD_M), math.ceil(bounds[3] / PATCH_GSD_M))
    right, bottom = (math.ceil(bounds[2] / PATCH_GSD_M), math.floor(bounds[1] / PATCH_GSD_M))
    origin = Affine(PATCH_GSD_M, 0, left * PATCH_GSD_M, 0, -PATCH_GSD_M, top * PATCH_GSD_M)
    t = reference.transform
    reason = (
        f"{path.name} is in {crs_name(reference.crs)} with pixels of {t.a:g} x {-t.e:g}; patches need metric pixels of "
        f"{PATCH_GSD_M:g} m, so the UTM zone of its middle"
    )
    return Grid(utm, origin, right - left, top - bottom), Decision(
        "grid", f"{crs_name(utm)} at {PATCH_GSD_M:g} m", reason
    )


def refuse_disjoint(path: Path, grid: Grid, tile: Grid) -> None:
    """Raise TileError if a band's grid does not overlap that of its tile, or has no place in its CRS."""
    left, bottom, right, top = placed_bounds(path, grid.crs, tile.crs, _bounds(grid))
    tile_left, tile_bottom, tile_right, tile_top = _bounds(tile)
    if not (left < tile_right and right > tile_left and bottom < tile_top and top > tile_bottom):
        raise TileError(
            f"{path} does not overlap the other bands of its tile: in {crs_name(tile.crs)} it covers {left:.0f} "
            f"{bottom:.0f} {right:.0f} {top:.0f}, the tile {tile_left:.0f} {tile_bottom:.0f} {tile_right:.0f} "
            f"{tile_top:.0f}; is it from another place?"
        )


def alignment(names: list[str], grid: Grid, tile: Grid) -> Decision:
    """The note on bands that are resampled from their grid onto the tile's."""
    how = "bilinear"
    if any(BY_NAME[name].modality != "optical" for name in names):
        if radar_resampling(grid, tile) is Resampling.nearest:
            how = "nearest neighbour, which keeps the speckle of radar"
        else:
            how += " (radar levels in linear power)"
    t = grid.transform
    return Decision(
        ", ".join(names),
        f"aligned by {how}",
        f"stored in {crs_name(grid.crs)}, pixel {t.a:g} x {-t.e:g}, origin {t.c:.10g} {t.f:.10g}",
    )


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of the outline in the grid's CRS."""
    corners = [grid.ground(x, y) for x in (0, grid.width_px) for y in (0, grid.height_px)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _is_ten_metre_in_degrees(grid: Grid, latitude_deg: float) -> bool:
    """True if the pixel is about 10 m high and not wider; narrower is ordinary far from the equator."""
    t = grid.transform
    if not grid.crs.is_geographic or t.b != 0 or t.d != 0 or t.a <= 0 or t.e >= 0:
        return False
    height_m = -t.e * METRES_PER_DEGREE
    width_m = t.a * METRES_PER_DEGREE * math.cos(math.radians(latitude_deg))
    largest_m, smallest_m = PATCH_GSD_M * (1 + GEOGRAPHIC_TOLERANCE), PATCH_GSD_M * (1 - GEOGRAPHIC_TOLERANCE)
    return bool(smallest_m <= height_m <= largest_m and width_m <= largest_m)


def _is_coarse_metric(grid: Grid) -> bool:
    """True for north-up metric pixels above 10 m and up to 40 m."""
    t = grid.transform
    metric = grid.crs.is_projected and grid.crs.linear_units_factor[1] == 1 and not _is_web_mercator(grid.crs)
    return bool(metric and t.b == 0 and t.d == 0 and abs(t.a + t.e) < 1e-6 * t.a and PATCH_GSD_M < t.a <= 40.0)


def _is_web_mercator(crs: CRS) -> bool:
    """Web Mercator's metre is a metre on the ground at the equator only."""
    return bool(crs.to_epsg() == 3857)


def _utm(longitude: float, latitude: float) -> CRS:
    """The UTM zone of a place, without the exceptions of Norway and Svalbard."""
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)
