"""Places from one CRS to another, the same whatever was asked before.

GDAL raises for the first twenty points that a transformation cannot place and then falls silent: it gives infinite
coordinates (`OGRProjCT::TransformWithErrorCodes`), and rasterio keeps transformations for later calls. Whoever
transforms places of a tile does it here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform, transform_bounds

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.raster import GDAL_ERRORS

Axes = tuple[NDArray[np.float64], NDArray[np.float64]]
Bounds = tuple[float, float, float, float]  # left, bottom, right, top
DENSIFY_POINTS = 21  # on each side of a box: GDAL's own number, good for a metre over a scene


def crs_name(crs: CRS) -> str:
    """`EPSG:32633`, or that there is no code."""
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else "a CRS without EPSG code"


def projected(source: CRS, target: CRS, x: ArrayLike, y: ArrayLike) -> Axes:
    """Places in another CRS, float64 (n,) each; both infinite where a place cannot be had there.

    Args:
        x, y: n places in the source's axes, east and north or longitude and latitude.
    """
    places = np.stack([np.ravel(np.asarray(axis, np.float64)) for axis in (x, y)])
    if source != target:
        places = _transformed(source, target, places)
    known = np.isfinite(places).all(axis=0)
    found = np.where(known, places, np.inf)
    return found[0], found[1]


def _transformed(source: CRS, target: CRS, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (2, n). GDAL fails for all where it fails for one: halves are tried until the one is alone."""
    try:
        return np.asarray(transform(source, target, *places), np.float64).reshape(places.shape)
    except CRSError:  # no way from one to the other, for any place
        return np.full(places.shape, np.inf)
    except GDAL_ERRORS:
        if places.shape[1] == 1:
            return np.full(places.shape, np.inf)
    halves = np.array_split(places, 2, axis=1)
    return np.concatenate([_transformed(source, target, half) for half in halves], axis=1)


def placed(what: object, source: CRS, target: CRS, x: ArrayLike, y: ArrayLike) -> Axes:
    """`projected`, where every place has to have one.

    Args:
        what: is placed, for the message: a path, or words.
    Raises:
        TileError: a place cannot be had in the target.
    """
    found = projected(source, target, x, y)
    lost = ~np.isfinite(found[0])
    if lost.any():
        first = int(np.argmax(lost))
        place = f"{np.ravel(x)[first]:.8g} {np.ravel(y)[first]:.8g}"
        raise TileError(
            f"{what}: {place} in {crs_name(source)} has no place in {crs_name(target)} ({lost.sum()} of {lost.size} "
            "points have none); correct the CRS or the transform"
        )
    return found


def placed_bounds(what: object, source: CRS, target: CRS, bounds: Bounds) -> Bounds:
    """The box in another CRS around a box: left, bottom, right, top; right < left across the antimeridian.

    Raises:
        TileError: it has no place there.
    """
    if source == target:
        return bounds
    try:
        found = transform_bounds(source, target, *bounds, densify_pts=DENSIFY_POINTS)
    except GDAL_ERRORS:
        found = (np.inf,) * 4
    if not np.isfinite(found).all():
        shown = " ".join(f"{edge:.8g}" for edge in bounds)
        raise TileError(
            f"{what}: the box {shown} in {crs_name(source)} has no place in {crs_name(target)}; correct the CRS or the "
            "transform"
        )
    left, bottom, right, top = map(float, found)
    return left, bottom, right, top
