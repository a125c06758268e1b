"""Reading a tile window by window: validity, canonical units, bands of other grids aligned on the way.

Differences of scenes are taken last, on the tile's grid; the cloud layer comes by nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime import bands
from lsd.runtime.bands import BY_NAME, PATCH_SIZE_PX
from lsd.runtime.cloud_reader import CloudReader
from lsd.runtime.layers import Pixels, open_layers, plausible_range, read_layer
from lsd.runtime.native.library import native_library
from lsd.runtime.native.validity import mask_out_of_range
from lsd.runtime.patches import PatchBatch, PatchGrid
from lsd.runtime.tiles import BandSource, Tile


@dataclass(frozen=True)
class Window:
    """Part of a tile that holds whole patches; owned by the receiver.

    pixels: float32 (band, y, x) in canonical units, NaN where the band is not valid. bands: canonical names along
    axis 0, in canonical order. y_px, x_px: offset in the tile. rows, columns: cells of the patch grid it holds whole.
    cloud: bool (y, x), marked by the tile's cloud layer, None without one. out_of_range: bool (y, x), a band held a
    value outside its plausible range. clouds_known: the cloud layer can be trusted.
    """

    pixels: Pixels
    bands: tuple[str, ...]
    y_px: int
    x_px: int
    rows: range
    columns: range
    cloud: NDArray[np.bool_] | None
    out_of_range: NDArray[np.bool_]
    clouds_known: bool


class _Channels:
    """What is stored behind the bands of a tile, each read once: a scene gives its level and a part of a difference."""

    def __init__(self, bands: Sequence[BandSource]) -> None:
        self.sources: list[BandSource] = []
        places: dict[tuple[object, ...], int] = {}
        self._of_band: list[list[int]] = []  # after the event, then before it
        for band in bands:
            mine = []
            for source in (band, *band.pre):
                key = (source.path, source.index, source.nodata, source.conversion, source.mask, source.is_level)
                if key not in places:
                    places[key] = len(self.sources)
                    self.sources.append(source)
                mine.append(places[key])
            self._of_band.append(mine)

    @property
    def are_bands(self) -> bool:
        """Every channel is a band, in order."""
        return self._of_band == [[i] for i in range(len(self.sources))]

    def bands(self, stored: Pixels) -> Pixels:
        """float32 (band, y, x): a channel as it is, or its level minus the level of the mean power before, in dB.

        `stored` itself where every channel is a band, in order. A pixel of a difference is valid where the scene after
        the event and every scene before it are.
        """
        if self.are_bands:
            return stored
        pixels = np.empty((len(self._of_band), *stored.shape[1:]), np.float32)
        for i, (after, *earlier) in enumerate(self._of_band):
            pixels[i] = stored[after]
            if earlier:
                before = stored[earlier].astype(np.float64)
                level = before[0] if len(before) == 1 else 10.0 * np.log10((10.0 ** (before / 10.0)).mean(axis=0))
                pixels[i] = (stored[after].astype(np.float64) - level).astype(np.float32)
        return pixels


class TileReader:
    """Context manager over the open files of a tile. Not thread-safe.

    Raises:
        TileError: a file cannot be opened, or was changed since the tile was assembled.
    """

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        self.bands = bands.in_order(tile.bands)
        self._optical = [i for i, name in enumerate(self.bands) if BY_NAME[name].modality == "optical"]
        self._stack = ExitStack()

    def __enter__(self) -> TileReader:
        tile = self.tile
        channels = _Channels([tile.bands[name] for name in self.bands])
        self._channels = channels
        try:
            self._layers = open_layers(channels.sources, self._stack)
            self._marks_range = channels.are_bands and [
                (layer.grid, layer.is_done_by_library) for layer in self._layers
            ] == [(tile.grid, True)]
            self._clouds = self._stack.enter_context(CloudReader(tile.clouds, tile.grid)) if tile.clouds else None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(
        self, y: int, x: int, height: int, width: int
    ) -> tuple[Pixels, NDArray[np.bool_] | None, NDArray[np.bool_]]:
        """Pixels of a window as `Window` describes them, its cloud mask (None without a layer) and out-of-range mask.

        Raises:
            TileError: a file cannot be read.
        """
        out_of_range = np.zeros((height, width), bool) if self._marks_range else None
        if len(self._layers) == 1:  # its channels are all there are, in order
            stored = read_layer(self._layers[0], self.tile.grid, y, x, height, width, out_of_range)
        else:
            stored = np.empty((len(self._channels.sources), height, width), np.float32)
            for layer in self._layers:
                stored[list(layer.positions)] = read_layer(layer, self.tile.grid, y, x, height, width)
        pixels = self._channels.bands(stored)
        if out_of_range is None:
            out_of_range = _mask_implausible(pixels, self.bands)
        cloud = self._clouds.invalid(y, x, height, width) if self._clouds else None
        if cloud is not None and self._optical:
            pixels[self._optical] = np.where(cloud, np.nan, pixels[self._optical])
        return pixels, cloud, out_of_range


def read_windows(
    tile: Tile, grid: PatchGrid, rows_per_window: int = 1, columns_per_window: int = 64
) -> Iterator[Window]:
    """Read a tile in windows of whole patches, row by row; memory holds one window.

    Args:
        grid: the patches of the tile, of the tile's size.
        rows_per_window, columns_per_window: patches in a window, at most; they do not change any pixel.
    Raises:
        TileError: a file cannot be read, or was changed since the tile was assembled.
        ValueError: the patch grid has another size than the tile.
    """
    if (grid.width_px, grid.height_px) != (tile.grid.width_px, tile.grid.height_px):
        raise ValueError(
            f"patch grid should be as the tile, {tile.grid.width_px} x {tile.grid.height_px} px, "
            f"is {grid.width_px} x {grid.height_px}"
        )
    known = tile.clouds is not None and tile.clouds.trusted
    with TileReader(tile) as reader:
        for first_row in range(0, grid.rows, rows_per_window):
            rows = range(first_row, min(first_row + rows_per_window, grid.rows))
            for first_column in range(0, grid.columns, columns_per_window):
                columns = range(first_column, min(first_column + columns_per_window, grid.columns))
                y, x = grid.y_px(rows[0]), grid.x_px(columns[0])
                height = grid.y_px(rows[-1]) + PATCH_SIZE_PX - y
                width = grid.x_px(columns[-1]) + PATCH_SIZE_PX - x
                pixels, cloud, out_of_range = reader.read(y, x, height, width)
                yield Window(pixels, reader.bands, y, x, rows, columns, cloud, out_of_range, known)


def patch_batches(window: Window, grid: PatchGrid, batch_size: int) -> Iterator[PatchBatch]:
    """Cut a window into batches of at most `batch_size` patches, row by row.

    Patches side by side are a view of the window's pixels; the last one of a row, where it is shifted inward, is a
    batch of its own. A batch keeps its window in memory: what outlives it is copied (`pending.some_of`).
    """
    for row in window.rows:
        y = grid.y_px(row) - window.y_px
        for first, last in _side_by_side(window.columns, grid, batch_size):
            columns = np.arange(first, last, dtype=np.intp)
            x = grid.x_px(first) - window.x_px
            yield PatchBatch(
                _view(window.pixels, y, x, grid.stride_px, len(columns)),
                window.bands,
                np.full(len(columns), row, np.intp),
                columns,
                None if window.cloud is None else _shares(window.cloud, y, x, grid.stride_px, len(columns)),
                _shares(window.out_of_range, y, x, grid.stride_px, len(columns)),
                window.clouds_known,
            )


def _side_by_side(columns: range, grid: PatchGrid, most: int) -> Iterator[tuple[int, int]]:
    """(first, end) of runs of at most `most` columns, each one stride further."""
    end = columns.stop - 1 if grid.x_px(columns.stop - 1) != (columns.stop - 1) * grid.stride_px else columns.stop
    for first in range(columns.start, end, most):
        yield first, min(first + most, end)
    if end < columns.stop:
        yield end, columns.stop


def _view(pixels: NDArray[Any], y: int, x: int, stride_px: int, n: int) -> NDArray[Any]:
    """(n, ..., 64, 64): patches of (..., y, x) side by side, `stride_px` apart; read-only, nothing is copied."""
    rows = pixels[..., y : y + PATCH_SIZE_PX, x : x + stride_px * (n - 1) + PATCH_SIZE_PX]
    patches = np.lib.stride_tricks.sliding_window_view(rows, PATCH_SIZE_PX, axis=-1)[..., ::stride_px, :]
    return np.moveaxis(patches, -2, 0)


def _shares(marked: NDArray[np.bool_], y: int, x: int, stride_px: int, n: int) -> NDArray[np.float32]:
    """float32 (n,) in 0..1: share of the pixels that are marked, patch by patch."""
    rows = marked[y : y + PATCH_SIZE_PX, x : x + stride_px * (n - 1) + PATCH_SIZE_PX]
    if not rows.any():
        return np.zeros(n, np.float32)
    return np.asarray(_view(marked, y, x, stride_px, n).mean(axis=(1, 2)), np.float32)


def _mask_implausible(pixels: Pixels, names: Sequence[str]) -> NDArray[np.bool_]:
    """Set values outside the plausible range of their band to NaN; bool (y, x), True where one was."""
    least, most = zip(*map(plausible_range, names), strict=True)
    library = native_library()
    if library is not None:
        return mask_out_of_range(library, pixels, least, most)
    wild = np.zeros(pixels.shape[1:], bool)
    for band, low, high in zip(pixels, least, most, strict=True):
        with np.errstate(invalid="ignore"):
            outside = (band < low) | (band > high)
        band[outside] = np.nan
        wild |= outside
    return wild
