"""The channels of a tile as they are stored: read, made canonical, and placed on the tile's grid.

Order matters and is the same on every grid: read, mark what is invalid, convert, and only then resample. So the border
of a swath does not bleed into valid pixels, and radar is averaged as power, not as dB, where its pixels are larger or
smaller than the tile's; else it comes by nearest neighbour, which keeps its speckle. Channels of another grid go
through GDAL's warper (`WarpedVRT`) in blocks that are fixed to the tile, so no pixel depends on how windows were cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader, MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from lsd.runtime.bands import BY_NAME, PATCH_SIZE_PX
from lsd.runtime.errors import TileError
from lsd.runtime.ingest.projection import placed
from lsd.runtime.ingest.raster import GDAL_ERRORS, is_valid, open_raster, read_window
from lsd.runtime.native.conversion import CONVERSIONS, STORED, Blocks, Into, Rule, blocks_of, convert, convert_blocks
from lsd.runtime.native.library import native_library
from lsd.runtime.nodata import mask_zeros
from lsd.runtime.tiles import BandSource, Grid

OFFSET_DN = 1000.0
BLOCK_WIDTH_PX, BLOCK_HEIGHT_PX = 8 * PATCH_SIZE_PX, PATCH_SIZE_PX  # of the tile's grid, for bands of another grid
MARGIN_PX = 3  # source pixels around a block: bilinear needs 1, the rest is for rounding and curved edges
SAME_SIZE = 1.25  # radar pixels up to a quarter larger or smaller count as of the tile's size
EDGE_POINTS = 9  # of a block's outline, on each side, transformed to find its source window
# rasterio 1.4.4 fails with a WarpedVRT tolerance of exactly 0; this many source pixels is as exact
WARP_TOLERANCE_PX = 1e-9

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """The channels of a tile that are stored on one grid: their positions in its list, sources and open files.

    blocks: where a channel lies in its file, if it can be read without GDAL.
    """

    grid: Grid
    positions: tuple[int, ...]
    sources: tuple[BandSource, ...]
    datasets: tuple[DatasetReader, ...]
    masks: tuple[DatasetReader | None, ...]
    blocks: tuple[Blocks | None, ...]

    def dtype(self, i: int) -> str:
        """What a channel is stored as."""
        return str(self.datasets[i].dtypes[self.sources[i].index - 1])

    @cached_property
    def is_for_library(self) -> bool:
        """The native library is here and knows what the channels are stored as; else numpy does its work."""
        return native_library() is not None and all(self.dtype(i) in STORED for i in range(len(self.sources)))

    @cached_property
    def is_done_by_library(self) -> bool:
        """Nothing is left to do after it."""
        known = all(source.conversion in CONVERSIONS and source.mask is None for source in self.sources)
        return self.is_for_library and known


def open_layers(channels: Sequence[BandSource], stack: ExitStack) -> list[Layer]:
    """Open every file once and group the channels by grid."""
    datasets: dict[Path | None, DatasetReader] = {}
    groups: dict[Grid, list[int]] = {}
    for position, channel in enumerate(channels):
        path = channel.path
        for file in (path, channel.mask):
            if file is not None and file not in datasets:
                datasets[file] = stack.enter_context(open_raster(file))
        dataset = datasets[path]
        if dataset.crs is None or dataset.count < channel.index:
            raise TileError(f"{path} was changed while it was being read; run again when it is complete")
        grid = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        groups.setdefault(grid, []).append(position)
    return [
        Layer(
            grid,
            tuple(positions),
            tuple(channels[i] for i in positions),
            tuple(datasets[channels[i].path] for i in positions),
            tuple(datasets.get(channels[i].mask) for i in positions),
            tuple(_blocks(channels[i], datasets[channels[i].path], stack) for i in positions),
        )
        for grid, positions in groups.items()
    ]


def _blocks(channel: BandSource, dataset: DatasetReader, stack: ExitStack) -> Blocks | None:
    return None if native_library() is None else blocks_of(channel.path, dataset, channel.index, stack)


def plausible_range(band: str) -> tuple[float, float]:
    """Canonical values outside are not valid. The dark end of optical bands is 0: one dark band is ordinary."""
    about = BY_NAME[band]
    return 0.0 if about.modality == "optical" else about.plausible_min, about.plausible_max


def read_layer(
    layer: Layer, tile: Grid, y: int, x: int, height: int, width: int, marked: NDArray[np.bool_] | None = None
) -> Pixels:
    """float32 (channel, y, x) of a window of the tile in canonical units, NaN where invalid or outside of the source.

    Args:
        marked: bool (y, x); values out of their band's range become NaN, and True here. Only for a layer on the tile's
            grid that `is_done_by_library`.
    Raises:
        TileError: a file cannot be read or placed on the tile's grid.
    """
    if layer.grid == tile:
        return _canonical(layer, RasterWindow(x, y, width, height), marked)
    return _aligned(layer, tile, y, x, height, width)


def _canonical(layer: Layer, window: RasterWindow, marked: NDArray[np.bool_] | None = None) -> Pixels:
    """float32 (channel, y, x) of a window of the layer's own grid, in canonical units, NaN where invalid.

    Zeros are told by `mask_zeros` among the bands of the layer; radar power and amplitude that are not positive are
    invalid too.
    """
    pixels = np.empty((len(layer.sources), window.height, window.width), np.float32)
    if layer.is_for_library:
        _read_by_library(layer, window, pixels, marked)
    else:
        _read_by_numpy(layer, window, pixels)
    for band, source, mask in zip(pixels, layer.sources, layer.masks, strict=True):
        if mask is not None:
            band[read_window(mask, [1], window)[0] != 0] = np.nan
        if source.conversion in ("linear_to_db", "amplitude_to_db"):
            band[:] = _decibels(band, 10.0 if source.conversion == "linear_to_db" else 20.0)
    return pixels


def _read_by_numpy(layer: Layer, window: RasterWindow, pixels: Pixels) -> None:
    """Fill float32 (channel, y, x) with canonical values, but for what is to become dB."""
    for i, (band, source) in enumerate(zip(pixels, layer.sources, strict=True)):
        raw = _stored(layer, i, window, band)
        if source.nodata is not None or raw.dtype.kind == "f":
            band[~is_valid(raw, source.nodata)] = np.nan
    mask_zeros(pixels, [source.band for source in layer.sources])
    for band, source in zip(pixels, layer.sources, strict=True):
        if source.conversion == "add_1000":
            band[band != 0] += OFFSET_DN  # below 0 in products that were harmonised as signed integers
        elif source.conversion == "reflectance_to_dn":
            band[:] = 10_000.0 * band + OFFSET_DN


def _read_by_library(layer: Layer, window: RasterWindow, pixels: Pixels, marked: NDArray[np.bool_] | None) -> None:
    """The same in one pass a band, and values out of range; without GDAL where blocks are known."""
    library = native_library()
    assert library is not None
    optical = [i for i, source in enumerate(layer.sources) if BY_NAME[source.band].modality == "optical"]
    unseen = np.ones(pixels.shape[1:], bool)  # 0 or not valid in the optical bands so far
    for i, (band, source, blocks) in enumerate(zip(pixels, layer.sources, layer.blocks, strict=True)):
        into = Into(band, unseen if i in optical and unseen.any() else None, marked)
        dtype = "float32" if blocks is None else layer.dtype(i)  # GDAL has converted it
        conversion = source.conversion if source.conversion in CONVERSIONS else "none"
        rule = Rule.of(dtype, conversion, source.nodata, i in optical, *plausible_range(source.band))
        if blocks is None:
            _stored(layer, i, window, band)
            convert(library, band, rule, into)
            continue
        try:
            convert_blocks(library, blocks, window.row_off, window.col_off, rule, into)
        except OSError as error:
            raise TileError(
                f"{source.path} cannot be read ({error}); is the file complete? Fetch or copy it again"
            ) from error
    if optical and unseen.any():
        for i in optical:
            pixels[i][unseen] = np.nan


def _stored(layer: Layer, i: int, window: RasterWindow, band: Pixels) -> NDArray[Any]:
    """(y, x) values of a channel as stored, and `band` filled with them; `band` itself where it holds them exactly."""
    dataset, index = layer.datasets[i], layer.sources[i].index
    if layer.dtype(i) in STORED:  # GDAL converts, without a loss, where the band is to lie
        read_window(dataset, [index], window, out=band[None])
        return band
    raw: NDArray[Any] = read_window(dataset, [index], window)[0]
    band[:] = raw
    return raw


def _decibels(values: Pixels, factor: float) -> Pixels:
    """`factor` x log10 of float32 values, NaN where they are not positive."""
    positive = np.where(values > 0, values, np.nan).astype(np.float64)
    return (factor * np.log10(positive)).astype(np.float32)


def _aligned(layer: Layer, tile: Grid, y: int, x: int, height: int, width: int) -> Pixels:
    """float32 (band, y, x) of bands of another grid, bilinear on the tile's grid; NaN outside of the source."""
    out = np.empty((len(layer.sources), height, width), np.float32)
    for top in range(y - y % BLOCK_HEIGHT_PX, y + height, BLOCK_HEIGHT_PX):
        for left in range(x - x % BLOCK_WIDTH_PX, x + width, BLOCK_WIDTH_PX):
            try:
                block = _block(layer, tile, top, left)
            except GDAL_ERRORS as error:
                raise TileError(f"{layer.sources[0].path} cannot be aligned with the tile's grid ({error})") from error
            y0, x0 = max(top, y), max(left, x)
            y1, x1 = min(top + block.shape[1], y + height), min(left + block.shape[2], x + width)
            out[:, y0 - y : y1 - y, x0 - x : x1 - x] = block[:, y0 - top : y1 - top, x0 - left : x1 - left]
    return out


def _block(layer: Layer, tile: Grid, top: int, left: int) -> Pixels:
    """A block of a tile, clipped to it: source pixels made canonical, then warped."""
    height = min(BLOCK_HEIGHT_PX, tile.height_px - top)
    width = min(BLOCK_WIDTH_PX, tile.width_px - left)
    window = _source_window(layer.grid, tile, top, left, height, width)
    if window is None:
        return np.full((len(layer.sources), height, width), np.nan, np.float32)
    pixels = _canonical(layer, window)
    place = RasterWindow(left, top, width, height)
    optical = [i for i, source in enumerate(layer.sources) if BY_NAME[source.band].modality == "optical"]
    radar = [i for i in range(len(layer.sources)) if i not in optical]
    block = np.empty((len(layer.sources), height, width), np.float32)
    if optical:
        block[optical] = _warp(pixels[optical], layer.grid, window, tile, place, Resampling.bilinear)
    if radar:
        block[radar] = _warp_radar(layer, radar, pixels, window, tile, place)
    return block


def _warp_radar(
    layer: Layer, radar: Sequence[int], pixels: Pixels, window: RasterWindow, tile: Grid, place: RasterWindow
) -> Pixels:
    """Radar channels on a block: levels are averaged as power, where anything is averaged."""
    how = radar_resampling(layer.grid, tile)
    if how is Resampling.nearest:
        return _warp(pixels[list(radar)], layer.grid, window, tile, place, how)
    levels = [i for i in radar if layer.sources[i].is_level]
    pixels[levels] = 10.0 ** (pixels[levels].astype(np.float64) / 10.0)
    block = _warp(pixels[list(radar)], layer.grid, window, tile, place, how)
    for position, i in enumerate(radar):
        if i in levels:
            block[position] = _decibels(block[position], 10.0)
    return block


def radar_resampling(source: Grid, tile: Grid) -> Resampling:
    """Nearest neighbour for pixels of the tile's size (to a quarter), bilinear for others.

    A mean of neighbours takes the speckle out that the forests were trained with: with bilinear, grids that lie a third
    of a pixel apart cost a third to two thirds of the slides (benchmarks/results/faults.json, docs/decisions.md).
    """
    columns, rows = _source_px(source, tile, 0, 0, tile.height_px, tile.width_px)
    steps = np.ptp(columns) / tile.width_px, np.ptp(rows) / tile.height_px
    is_alike = all(1 / SAME_SIZE <= step <= SAME_SIZE for step in steps)
    return Resampling.nearest if is_alike else Resampling.bilinear


def _warp(
    pixels: Pixels, source: Grid, window: RasterWindow, tile: Grid, block: RasterWindow, how: Resampling
) -> Pixels:
    """float32 (band, y, x) of a window of the source grid, resampled on a block of the tile; NaN is invalid in both."""
    columns, rows = _source_px(source, tile, 0, 0, tile.height_px, tile.width_px)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=window.width,
            height=window.height,
            count=len(pixels),
            dtype="float32",
            crs=source.crs,
            transform=source.transform_at(window.col_off, window.row_off),
            nodata=np.nan,
        ) as dataset:
            dataset.write(pixels)
        with (
            memory.open() as dataset,
            WarpedVRT(
                dataset,
                crs=tile.crs,
                transform=tile.transform_at(block.col_off, block.row_off),
                width=block.width,
                height=block.height,
                resampling=how,
                tolerance=WARP_TOLERANCE_PX,
                UNIFIED_SRC_NODATA="NO",  # a pixel that is invalid in one band stays valid in the others
                # GDAL guesses the resampling factor for each block, differently at edges: state it for the tile
                XSCALE=str(tile.width_px / np.ptp(columns)),
                YSCALE=str(tile.height_px / np.ptp(rows)),
            ) as warped,
        ):
            out: Pixels = warped.read()
    return out


def _source_window(source: Grid, tile: Grid, top: int, left: int, height: int, width: int) -> RasterWindow | None:
    """The source pixels that a block of the tile needs, None if it lies outside of the source."""
    columns, rows = _source_px(source, tile, top, left, height, width)
    spans = []
    for px, block_px, size_px in ((columns, width, source.width_px), (rows, height, source.height_px)):
        margin = MARGIN_PX * max(1.0, np.ptp(px) / block_px)  # a finer source is averaged over more of its pixels
        spans.append((max(0, int(np.floor(px.min() - margin))), min(size_px, int(np.ceil(px.max() + margin)))))
    (x0, x1), (y0, y1) = spans
    return RasterWindow(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _source_px(
    source: Grid, tile: Grid, top: int, left: int, height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows in the source's pixels of points along the outline of a part of the tile.

    Raises:
        TileError: the source's CRS has no place for one of them.
    """
    along = np.linspace(0.0, 1.0, EDGE_POINTS)
    x = left + width * np.concatenate([along, along, np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS)])
    y = top + height * np.concatenate([np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS), along, along])
    east, north = tile.ground(x, y)
    if source.crs != tile.crs:
        east, north = placed("the tile's outline", tile.crs, source.crs, east, north)
    columns, rows = source.pixel(east, north)
    return columns, rows
