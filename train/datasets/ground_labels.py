"""What is known of the ground of a tile, pixel by pixel: a raster or polygons, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.tiles import Tile

NO_SLIDE, SLIDE, UNKNOWN = 0, 1, 255

# y, x, height, width of a window in pixels of the tile -> uint8 (y, x) of NO_SLIDE, SLIDE and UNKNOWN
ReadLabels = Callable[[int, int, int, int], NDArray[np.uint8]]


class GroundLabels(Protocol):
    """Labels of the ground under tiles. name: file or folder they come from."""

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        ...

    def of_tile(self, tile: Tile) -> AbstractContextManager[ReadLabels]:
        """Labels on the grid of a tile, open while the context is.

        Raises:
            TileError: the tile has no labels, or they cannot be placed on its grid.
        """
        ...
