"""Ground as sets of squares: areas that count no place twice, from edges alone, in one CRS or several.

Coordinates are integers in millimetres, so that what tiles of one CRS cover together is exact. No array of the ground
is made: memory grows with the number of squares, never with their pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.projection import placed_bounds, projected
from lsd.runtime.sinks.coverage import inside_any

Boxes = NDArray[np.int64]  # (n, 4): left, bottom, right, top in mm of a CRS
MM_PER_M = 1000
WGS84 = CRS.from_epsg(4326)
# A side of at most 640 m stays straight in another UTM zone to well under a centimetre.
PIECE_MM = 640 * MM_PER_M
_STRIP_EDGES = 64  # edges of boxes swept together
_CHUNK = 65_536  # pieces transformed together


def disjoint(boxes: Boxes) -> Boxes:
    """The same ground in boxes that do not overlap: (n, 4), by bottom, then left; boxes of one row share both edges."""
    found: list[Boxes] = [np.zeros((0, 4), np.int64)]
    y = np.unique(boxes[:, [1, 3]])
    for start in range(0, len(y) - 1, _STRIP_EDGES):
        edges = y[start : start + _STRIP_EDGES + 1]
        near = boxes[(boxes[:, 3] > edges[0]) & (boxes[:, 1] < edges[-1])]
        if not len(near):
            continue
        x = np.unique(near[:, [0, 2]])
        below, above = (np.searchsorted(edges, np.clip(near[:, side], edges[0], edges[-1])) for side in (1, 3))
        left, right = (np.searchsorted(x, near[:, side]) for side in (0, 2))
        covered = inside_any(below, above, left, right, (len(edges) - 1, len(x) - 1))
        steps = np.diff(np.pad(covered, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(steps == 1)
        ends = np.nonzero(steps == -1)[1]  # row by row as many as starts, in the same order
        found.append(np.stack([x[starts], edges[rows], x[ends], edges[rows + 1]], axis=1))
    return np.concatenate(found)


def ground_m2(parts: Sequence[tuple[CRS, Boxes]]) -> float:
    """Area in m2 of the ground inside at least one box, each place counted once.

    Args:
        parts: (CRS in metres, boxes); each CRS once. A place in several parts is measured in the first that has it.
    Returns:
        Exact where one CRS holds all. A later part is measured in its own CRS without the shares of its pieces (640 m)
        that lie in an earlier one, found by clipping their corners there: exact to about 1e-6 of the area between two
        CRS; a piece only partly inside each of two earlier CRS is guessed (as if these were independent).
    """
    known: list[tuple[CRS, Boxes]] = []
    total = 0.0
    for crs, boxes in parts:
        own = disjoint(boxes)
        if not len(own):
            continue
        others = [(other, theirs) for other, theirs in known if _near(crs, own, other, theirs)]
        if others:
            pieces = _pieces(own)
            for start in range(0, len(pieces), _CHUNK):
                total += _new_m2(crs, pieces[start : start + _CHUNK], others)
        else:
            total += _m2(own)
        known.append((crs, own))
    return total


def corners_m(boxes: Boxes) -> NDArray[np.float64]:
    """Corners in metres, float64 (n, 4, 2), counterclockwise from the lower left, each east and north."""
    columns = np.array([[0, 1], [2, 1], [2, 3], [0, 3]])
    return np.asarray(boxes[:, columns] / MM_PER_M, np.float64)


def transformed(points: NDArray[np.float64], source: CRS, target: CRS) -> NDArray[np.float64]:
    """Points (..., 2), east and north, in another CRS; infinite where they have no place there."""
    if source == target or not points.size:
        return points
    return np.stack(projected(source, target, points[..., 0], points[..., 1]), axis=1).reshape(points.shape)


def quad_area(quads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of quadrilaterals (n, 4, 2) by the shoelace formula, float64 (n,), never negative."""
    x, y = quads[..., 0], quads[..., 1]
    return np.asarray(np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(axis=1)) / 2, np.float64)


def overlap_area(quads: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that quadrilaterals (n, 4, 2) share with boxes (n, 4) (left, bottom, right, top), pair by pair: (n,).

    Green's theorem: the integral of clamp(x, left, right) - left over dy along the outline, y within the box. Along a
    straight edge it has a closed form, so nothing is cut or sampled.
    """
    left, bottom, right, top = (boxes[:, side, None] for side in range(4))
    x0, y0 = quads[..., 0], quads[..., 1]
    x1, y1 = np.roll(x0, -1, axis=1), np.roll(y0, -1, axis=1)
    rise = y1 - y0
    slope = np.divide(x1 - x0, rise, out=np.zeros_like(rise), where=rise != 0)
    start, end = np.clip(y0, bottom, top), np.clip(y1, bottom, top)
    a, b = x0 + (start - y0) * slope - left, x0 + (end - y0) * slope - left
    width = right - left
    run = b - a
    steep = np.abs(run) < 1e-3  # metres: nearly upright within the box, where the quotient below would cancel
    mean = np.divide(_ramp(b, width) - _ramp(a, width), run, out=np.clip((a + b) / 2, 0, width), where=~steep)
    return np.asarray(np.abs(((end - start) * mean).sum(axis=1)), np.float64)


def _ramp(x: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral of clamp(x, 0, width) from 0 to x."""
    inside = np.clip(x, 0, width)
    return np.asarray(inside * inside / 2 + width * np.maximum(x - width, 0), np.float64)


def _m2(boxes: Boxes) -> float:
    """Sum of areas; boxes do not overlap."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return float(sum((width * height).tolist()) / MM_PER_M**2)  # Python integers: no rounding before the division


def _pieces(boxes: Boxes) -> Boxes:
    """The same boxes cut into pieces of at most `PIECE_MM` a side."""
    for low, high in ((0, 2), (1, 3)):
        counts = -(-(boxes[:, high] - boxes[:, low]) // PIECE_MM)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        boxes = np.repeat(boxes, counts, axis=0)
        end = boxes[:, high].copy()
        boxes[:, low] += number * PIECE_MM
        boxes[:, high] = np.minimum(boxes[:, low] + PIECE_MM, end)
    return boxes


def _bounds_m(boxes: Boxes) -> tuple[float, float, float, float]:
    low, high = boxes[:, :2].min(axis=0) / MM_PER_M, boxes[:, 2:].max(axis=0) / MM_PER_M
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _near(crs: CRS, boxes: Boxes, other: CRS, theirs: Boxes) -> bool:
    """False if the bounds of both in longitude and latitude are apart, so that nothing needs to be transformed."""
    try:
        west, south, east, north = placed_bounds("ground", crs, WGS84, _bounds_m(boxes))
        west_2, south_2, east_2, north_2 = placed_bounds("ground", other, WGS84, _bounds_m(theirs))
    except TileError:  # no way to longitude and latitude: look closely
        return True
    apart = south > north_2 or south_2 > north
    width, width_2 = (east - west) % 360, (east_2 - west_2) % 360  # across the antimeridian east is the smaller
    return not apart and ((west_2 - west) % 360 <= width or (west - west_2) % 360 <= width_2)


def _new_m2(crs: CRS, pieces: Boxes, others: Sequence[tuple[CRS, Boxes]]) -> float:
    """Area of pieces of one CRS outside of the boxes of all others."""
    fresh = np.ones(len(pieces))
    corners = corners_m(pieces)
    for other, theirs in others:
        quads = transformed(corners, crs, other)
        there = np.isfinite(quads).all(axis=(1, 2))
        fresh[there] *= 1 - _covered(quads[there], theirs)
    areas = (pieces[:, 2] - pieces[:, 0]) * (pieces[:, 3] - pieces[:, 1]) / MM_PER_M**2
    return float(areas @ fresh)


def _covered(quads: NDArray[np.float64], theirs: Boxes) -> NDArray[np.float64]:
    """Share 0..1 of each quadrilateral inside the boxes, which come from `disjoint`."""
    low, high = quads.min(axis=1), quads.max(axis=1)
    found = np.zeros(len(quads))
    if not len(quads):
        return found
    boxes = theirs / MM_PER_M
    boxes = boxes[(boxes[:, 3] > low[:, 1].min()) & (boxes[:, 1] < high[:, 1].max())]
    for bottom in np.unique(boxes[:, 1]):
        row = boxes[boxes[:, 1] == bottom]
        near = np.flatnonzero((high[:, 1] > bottom) & (low[:, 1] < row[0, 3]))
        first = np.searchsorted(row[:, 2], low[near, 0], side="right")
        last = np.searchsorted(row[:, 0], high[near, 0], side="left")
        for step in range(int((last - first).max(initial=0))):
            some = first + step < last
            chosen = near[some]
            found[chosen] += overlap_area(quads[chosen], row[first[some] + step])
    return np.clip(found / quad_area(quads), 0, 1)
