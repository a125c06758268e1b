"""A picture of a tile to look at: true colour (or radar grey), detections and looks outlined, unseen ground hatched."""

from __future__ import annotations

import warnings
from functools import reduce
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from lsd.runtime.bands import BAND_NAMES, BY_NAME, PATCH_SIZE_PX
from lsd.runtime.commit import write_bytes
from lsd.runtime.scores import LIKELY, LOOK_CLASS, NOT_OBSERVED, POSSIBLE, TileScores
from lsd.runtime.sinks.coverage import corners_px, inside_any
from lsd.runtime.tiles import Tile

_TRUE_COLOUR = ("red", "green", "blue")
_GREY_ORDER = ("desc_vv", "asc_vv", *BAND_NAMES)  # the first of these that the tile has
_MIN_SIZE_PX = 512  # smaller pictures are enlarged
_REFLECTANCE = (0.0, 0.3)  # fixed, so that pictures compare
_LEVEL_DB = (-22.0, 0.0)
_CHANGE_DB = (-6.0, 6.0)
_GAMMA = 1.6
_BRIGHT_SHARE = 0.5  # above this share of saturated pixels (cloud, snow) the stretch follows the picture instead

_INVALID = (38, 30, 46)
_HATCH = (190, 190, 190)
# Thick, thin and dashed between lines of the opposite lightness: told apart whatever the eye's colour vision. Colours
# as in the other products (`qgis_style.py`), the blue lighter: from M. Okabe and K. Ito, Color Universal Design, 2008.
_LIKELY, _LIKELY_CASING = (213, 94, 0), (255, 255, 255)
_POSSIBLE, _POSSIBLE_CASING = (240, 228, 66), (0, 0, 0)
_LOOK, _LOOK_GAP = (86, 180, 233), (0, 0, 0)
_LEGEND = (
    "thick orange-red line between white ones: likely slide (detection, p at least 0.5); thin yellow line between "
    "black ones: possible slide (detection, p below 0.5); dashed blue and black line: no detection, but worth a look; "
    "hatched grey: not scored; dark: no valid pixel"
)

Colour = tuple[int, int, int]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Window(Protocol):
    """Part of a tile as it streams by: pixels float32 (band, y, x) in canonical units, NaN where invalid."""

    @property
    def pixels(self) -> NDArray[np.float32]:
        """Values, (band, y, x)."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Canonical names along axis 0."""

    @property
    def y_px(self) -> int:
        """Upper edge in tile pixels."""

    @property
    def x_px(self) -> int:
        """Left edge in tile pixels."""


class Quicklook:
    """Keeps every k-th pixel of the windows of one tile, at most `max_size_px` squared, then draws. Not thread-safe."""

    def __init__(self, tile: Tile, max_size_px: int = 1024) -> None:
        self.step_px = -(-max(tile.grid.width_px, tile.grid.height_px) // max_size_px)
        if set(_TRUE_COLOUR) <= set(tile.bands):
            self.bands: tuple[str, ...] = _TRUE_COLOUR
        else:
            self.bands = tuple(band for band in _GREY_ORDER if band in tile.bands)[:1]
        shape = -(-tile.grid.height_px // self.step_px), -(-tile.grid.width_px // self.step_px)
        self._kept = np.full((len(self.bands), *shape), np.nan, np.float32)

    def add(self, window: Window) -> None:
        """Keep the pixels of a window whose row and column in the tile are multiples of the step."""
        step = self.step_px
        first_y, first_x = -window.y_px % step, -window.x_px % step
        for channel, band in enumerate(self.bands):
            part = window.pixels[window.bands.index(band), first_y::step, first_x::step]
            y, x = (window.y_px + first_y) // step, (window.x_px + first_x) // step
            self._kept[channel, y : y + part.shape[0], x : x + part.shape[1]] = part

    def write(self, path: Path, scores: TileScores) -> None:
        """Draw and write the PNG; its text chunk says what the colours mean.

        Raises:
            OutputError: the file cannot be written.
        """
        picture, legend = self.draw(scores)
        options = {"driver": "PNG", "dtype": "uint8", "count": 3, "height": picture.shape[0], "width": picture.shape[1]}
        with warnings.catch_warnings(), MemoryFile(ext=".png") as memory:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture; the score grid is the map
            with memory.open(**options, DESCRIPTION=legend) as png:
                png.write(np.moveaxis(picture, 2, 0))
            write_bytes(path, bytes(memory.getbuffer()))

    def draw(self, scores: TileScores) -> tuple[Image, str]:
        """The picture, uint8 (y, x, 3), and the sentence that explains it."""
        picture, stretch = _stretched(self._kept, self.bands)
        enlarge = max(1, -(-_MIN_SIZE_PX // max(picture.shape[:2])))
        picture = picture.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
        px_per_px = enlarge / self.step_px
        classes = scores.classes()

        def covered(chosen: Mask) -> Mask:
            return _covered(scores, chosen, px_per_px, picture.shape[:2])

        likely = covered(classes == LIKELY)
        possible = covered(classes == POSSIBLE) & ~likely
        look = covered(classes == LOOK_CLASS) & ~likely & ~possible
        thick_px = int(np.clip(round(PATCH_SIZE_PX * px_per_px / 4), 2, 6))
        thin_px = (thick_px + 1) // 2
        if (unseen := ~covered(classes != NOT_OBSERVED)).any():
            _hatch(picture, unseen)
        if look.any():
            _dashes(picture, look, thin_px)
        if possible.any():
            _outline(picture, possible, thin_px, _POSSIBLE, _POSSIBLE_CASING)
        if likely.any():
            _outline(picture, likely, thick_px, _LIKELY, _LIKELY_CASING)
        return picture, f"{stretch}; {_LEGEND}"


def _stretched(kept: NDArray[np.float32], bands: tuple[str, ...]) -> tuple[Image, str]:
    """Colours of the pixels kept, uint8 (y, x, 3), and how they were made."""
    valid = ~np.isnan(kept).any(axis=0) if bands else np.zeros(kept.shape[1:], bool)
    picture = np.empty((*kept.shape[1:], 3), np.uint8)
    picture[:] = _INVALID
    if not valid.any():
        return picture, "nothing valid to show"
    values = kept[:, valid]
    low, high, gamma, words = _limits(values, bands)
    grey = np.clip((values - low) / (high - low), 0.0, 1.0) ** (1.0 / gamma)
    picture[valid] = np.broadcast_to(np.rint(255.0 * grey), (3, grey.shape[1])).T
    return picture, words


def _limits(values: NDArray[np.float32], bands: tuple[str, ...]) -> tuple[float, float, float, str]:
    """Values shown black and white, gamma, and words for the legend; `values` is (band, n), all valid."""
    name = "true colour" if bands == _TRUE_COLOUR else f"{bands[0]} in grey"
    if BY_NAME[bands[0]].modality != "optical":
        low, high = _LEVEL_DB if BY_NAME[bands[0]].modality == "sar" else _CHANGE_DB
        return low, high, 1.0, f"{name}, {low:g} to {high:g} dB"
    low, high = 1000.0 + 10_000.0 * _REFLECTANCE[0], 1000.0 + 10_000.0 * _REFLECTANCE[1]  # DN: `data/sensors.json`
    if (values > high).any(axis=0).mean() <= _BRIGHT_SHARE:
        return low, high, _GAMMA, f"{name}, reflectance {_REFLECTANCE[0]:g} to {_REFLECTANCE[1]:g}"
    low, high = float(np.percentile(values, 2)), float(np.percentile(values, 98))
    high = max(high, low + 1.0)
    return low, high, 1.0, f"{name}, very bright scene: stretched to its own 2-98 %, DN {low:.0f} to {high:.0f}"


def _covered(scores: TileScores, chosen: Mask, px_per_px: float, shape: tuple[int, ...]) -> Mask:
    """bool (y, x) of the picture: True inside a chosen patch; `px_per_px` is picture pixels a tile pixel."""
    tops, lefts = corners_px(scores.grid)
    rows, columns = np.nonzero(chosen)

    def edges(pixels: NDArray[np.intp], size: int) -> NDArray[np.intp]:
        return np.asarray(np.minimum(np.rint(pixels * px_per_px), size), np.intp)

    return inside_any(
        edges(tops[rows], shape[0]),
        edges(tops[rows] + PATCH_SIZE_PX, shape[0]),
        edges(lefts[columns], shape[1]),
        edges(lefts[columns] + PATCH_SIZE_PX, shape[1]),
        (shape[0], shape[1]),
    )


def _hatch(picture: Image, where: Mask) -> None:
    """Dim the picture and draw grey diagonals there."""
    diagonal = (np.arange(where.shape[0])[:, None] + np.arange(where.shape[1])) % 10 < 2
    picture[where] = picture[where] // 2
    picture[where & diagonal] = _HATCH


def _outline(picture: Image, where: Mask, line_px: int, line: Colour, casing: Colour) -> None:
    """Draw the border of the region, inside it, between two casing lines; thin lines have the outer one only."""
    inner = _shrunk(where, line_px)
    picture[inner & ~_shrunk(inner, line_px // 2)] = casing
    picture[~where & ~_shrunk(~where, (line_px + 1) // 2, beyond=True)] = casing
    picture[where & ~inner] = line


def _dashes(picture: Image, where: Mask, line_px: int) -> None:
    """Draw the border of the region, inside it, as dashes with dark gaps; no casing."""
    border = where & ~_shrunk(where, line_px)
    dash = (np.arange(where.shape[0])[:, None] + np.arange(where.shape[1])) // (4 * line_px) % 2 == 0
    picture[border] = _LOOK_GAP
    picture[border & dash] = _LOOK


def _shrunk(where: Mask, by_px: int, beyond: bool = False) -> Mask:
    """The region without its outermost pixels; `beyond` is what lies outside the picture."""
    for axis, size_px in enumerate(where.shape):
        width = [(by_px, by_px) if axis == side else (0, 0) for side in (0, 1)]
        padded = np.pad(where, width, constant_values=beyond)
        shifts = (slice(step, step + size_px) for step in range(2 * by_px + 1))
        where = reduce(np.logical_and, (padded[one] if axis == 0 else padded[:, one] for one in shifts))
    return where
