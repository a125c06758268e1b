"""Which tiles lie on the same ground: they form one group, so that no fold trains on ground it is tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.warp import transform

from lsd.runtime.tiles import Grid, outline_deg

EARTH_RADIUS_M = 6_371_000.0
POINTS_A_SIDE = 17  # of an outline that is compared in another CRS, where its edges are curved


def groups_of_tiles(ids: Sequence[str], grids: Sequence[Grid]) -> tuple[str, ...]:
    """Name of each tile's group: the first id among the tiles that share ground with it, through others too.

    Tiles share ground where their footprints overlap by more than a pixel; a common edge is none. Union-find over the
    pairs that overlap.
    """
    first = list(range(len(ids)))

    def root(tile: int) -> int:
        while first[tile] != tile:
            first[tile] = first[first[tile]]
            tile = first[tile]
        return tile

    centres, radii_m = _circles(grids)
    for i in range(len(ids)):
        distance_m = np.linalg.norm(centres[i + 1 :] - centres[i], axis=1)
        for j in np.flatnonzero(distance_m <= radii_m[i + 1 :] + radii_m[i]) + i + 1:
            a, b = sorted((root(i), root(int(j))))
            if a != b and _overlap(grids[i], grids[int(j)]):
                first[b] = a
    return tuple(ids[root(tile)] for tile in range(len(ids)))


def _circles(grids: Sequence[Grid]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (n, 3) and radii (n,) in metres of balls around the footprints: they know no antimeridian."""
    corners = np.radians(np.array([outline_deg(grid) for grid in grids]).reshape(-1, 4, 2))
    longitude, latitude = corners[..., 0], corners[..., 1]
    places = EARTH_RADIUS_M * np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=-1
    )
    centres = places.mean(axis=1)
    return centres, 1.01 * np.linalg.norm(places - centres[:, None], axis=2).max(axis=1)


def _overlap(a: Grid, b: Grid) -> bool:
    """True if two footprints share more than a pixel, in the CRS of the first."""
    along = np.linspace(0.0, 1.0, POINTS_A_SIDE)[:-1]
    x = b.width_px * np.concatenate([along, np.ones_like(along), 1 - along, np.zeros_like(along)])
    y = b.height_px * np.concatenate([np.zeros_like(along), along, np.ones_like(along), 1 - along])
    east, north = b.ground(x, y)
    if a.crs != b.crs:
        east, north = transform(b.crs, a.crs, east, north)
    theirs = shapely.Polygon(np.column_stack([east, north]))
    west, top = a.ground(0, 0)
    right, bottom = a.ground(a.width_px, a.height_px)
    return bool(shapely.intersection(shapely.box(west, bottom, right, top), theirs).area > a.gsd_m**2)
