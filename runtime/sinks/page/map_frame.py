"""What part of the world a map shows, which tiles share one, and where its graticule runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH = 720.0  # of the whole picture, in units of its view box
LEFT, RIGHT, TOP, BOTTOM = 60.0, 12.0, 10.0, 24.0  # margins around the frame, for labels
_MIN_ASPECT, _MAX_ASPECT = 0.5, 1.1  # height over width of what the frame shows
_PADDING = 0.06  # on each side, as a share of the longer one
_STEPS_DEG = (30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_KM_PER_DEG = 6371.0088 * math.pi / 180  # mean radius of the Earth (IUGG)
_MIN_SPAN_DEG = 0.004
_MIN_SHRINK = 0.05  # nearer to a pole than 87 degrees the map is stretched
_NEAR = 3.0  # tiles share a map if the gap between them is smaller than this many sizes of the larger one

Corners = Sequence[tuple[float, float]]  # longitude and latitude in degrees


@dataclass(frozen=True)
class Frame:
    """A part of the world in degrees; longitudes run on beyond 180 across the antimeridian.

    The projection is equirectangular, true to scale along the middle latitude.
    """

    west: float
    south: float
    east: float
    north: float

    @property
    def shrink(self) -> float:
        """Length of a degree of longitude over one of latitude, at the middle latitude."""
        return _shrink((self.south + self.north) / 2)

    @property
    def scale(self) -> float:
        """Units of the view box per degree of latitude."""
        return (WIDTH - LEFT - RIGHT) / ((self.east - self.west) * self.shrink)

    @property
    def height(self) -> float:
        """Of the whole picture, in units of its view box."""
        return TOP + (self.north - self.south) * self.scale + BOTTOM

    @property
    def km_per_unit(self) -> float:
        """Kilometres per unit of the view box, at the middle latitude."""
        return _KM_PER_DEG / self.scale

    def place(self, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        """Units of the view box, (..., 2), x right and y down, of longitudes and latitudes (..., 2)."""
        longitude = _unrolled(degrees[..., 0], (self.west + self.east) / 2)
        x = LEFT + (longitude - self.west) * self.scale * self.shrink
        return np.stack([x, TOP + (self.north - degrees[..., 1]) * self.scale], axis=-1)

    def graticule(self) -> tuple[float, list[float], list[float]]:
        """The step, at least a third of the shorter side, and the longitudes and latitudes of the lines."""
        span = min(self.east - self.west, self.north - self.south)
        step = next((step for step in _STEPS_DEG if span / step >= 3), _STEPS_DEG[-1])
        longitudes = _multiples(self.west, self.east, step)
        while len(longitudes) > 9:  # near the poles
            longitudes = longitudes[::2]
        return step, longitudes, _multiples(self.south, self.north, step)


def frame_of(outlines: Sequence[Corners]) -> Frame:
    """The part of the world around some outlines, padded, neither too flat nor too tall."""
    corners = np.array([corner for outline in outlines for corner in outline], np.float64)
    corners[:, 0] = _unrolled(corners[:, 0], corners[0, 0])
    (west, south), (east, north) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    width = max((east - west) * _shrink((south + north) / 2), _MIN_SPAN_DEG)
    height = max(north - south, _MIN_SPAN_DEG)
    padding = 2 * _PADDING * max(width, height)
    width, height = width + padding, height + padding
    width = max(width, height / _MAX_ASPECT)
    height = max(height, width * _MIN_ASPECT)
    x, y = (west + east) / 2, (south + north) / 2
    south, north = max(-90.0, y - height / 2), min(90.0, y + height / 2)
    half = width / _shrink((south + north) / 2) / 2
    return Frame(x - half, south, x + half, north)


def groups_of(outlines: Sequence[Corners]) -> list[list[int]]:
    """Positions of the outlines that share a map: each is near another of its group, so that none shrinks to a dot."""
    boxes = [_box(outline) for outline in outlines]
    groups: list[list[int]] = []
    for position, box in enumerate(boxes):
        near = [group for group in groups if any(_are_near(box, boxes[other]) for other in group)]
        joined = sorted([position, *(other for group in near for other in group)])
        groups = sorted([*(group for group in groups if group not in near), joined])
    return groups


def label(degrees: float, step: float, letters: str) -> str:
    """`12.5° E`: as many decimals as the step has; letters are those of positive and negative values."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if letters == "EW":
        degrees = (degrees + 180.0) % 360.0 - 180.0
    size = round(abs(degrees), decimals)
    letter = "" if size in (0.0, 180.0) else f" {letters[degrees < 0]}"
    return f"{size:.{decimals}f}°{letter}"


def _shrink(latitude: float) -> float:
    return max(_MIN_SHRINK, math.cos(math.radians(latitude)))


def _unrolled(longitude: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """The same longitudes at most 180 degrees from another one."""
    return np.asarray(longitude + 360.0 * np.round((near - longitude) / 360.0))


def _multiples(low: float, high: float, step: float) -> list[float]:
    return [round(k * step, 6) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _box(outline: Corners) -> tuple[float, ...]:
    """Middle longitude and latitude, width and height in degrees."""
    corners = np.array(outline, np.float64)
    corners[:, 0] = _unrolled(corners[:, 0], corners[0, 0])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return (*((low + high) / 2).tolist(), *(high - low).tolist())


def _are_near(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    shrink = _shrink((a[1] + b[1]) / 2)
    east = abs((b[0] - a[0] + 180.0) % 360.0 - 180.0) - (a[2] + b[2]) / 2
    north = abs(b[1] - a[1]) - (a[3] + b[3]) / 2
    size = max(a[2] * shrink, b[2] * shrink, a[3], b[3], _MIN_SPAN_DEG)
    return max(east * shrink, north) < _NEAR * size
