"""Polygons as well-known binary (OGC 06-103r4, 8.2), little-endian, and the header that GeoPackage puts before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LITTLE_ENDIAN, _POLYGON = 1, 3
# GeoPackage 1.3, 2.1.3.1.1: flags of a header in little-endian order with an envelope of x and y
_GEOPACKAGE_FLAGS = 0b0000_0011
_Field = tuple[str, str] | tuple[str, str, tuple[int, ...]]


def polygons(rings: NDArray[np.float64]) -> list[bytes]:
    """One WKB Polygon a closed ring; `rings` is float64 (n, corner, 2)."""
    return _cut(_bodies(rings, []))


def geopackage_polygons(rings: NDArray[np.float64], srs_id: int) -> list[bytes]:
    """One GeoPackageBinary Polygon with envelope a closed ring; `rings` is float64 (n, corner, 2), in CRS `srs_id`."""
    header: list[_Field] = [
        ("magic", "S2"),
        ("version", "u1"),
        ("flags", "u1"),
        ("srs_id", "<i4"),
        ("envelope", "<f8", (4,)),
    ]
    bodies = _bodies(rings, header)
    bodies["magic"], bodies["flags"], bodies["srs_id"] = b"GP", _GEOPACKAGE_FLAGS, srs_id
    for place, values in enumerate(
        (rings[..., 0].min(1), rings[..., 0].max(1), rings[..., 1].min(1), rings[..., 1].max(1))
    ):
        bodies["envelope"][:, place] = values
    return _cut(bodies)


def _bodies(rings: NDArray[np.float64], header: list[_Field]) -> NDArray[np.void]:
    """Packed records of a header, left zero, and a WKB Polygon of one ring."""
    n, corners, _ = rings.shape
    body: list[_Field] = [
        ("order", "u1"),
        ("type", "<u4"),
        ("rings", "<u4"),
        ("corners", "<u4"),
        ("points", "<f8", (corners, 2)),
    ]
    bodies = np.zeros(n, np.dtype([*header, *body]))
    bodies["order"], bodies["type"], bodies["rings"], bodies["corners"] = _LITTLE_ENDIAN, _POLYGON, 1, corners
    bodies["points"] = rings
    return bodies


def _cut(bodies: NDArray[np.void]) -> list[bytes]:
    data, size = bodies.tobytes(), bodies.dtype.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]
