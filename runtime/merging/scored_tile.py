"""A tile as its products tell it: score grid and detections, read back from the output folder of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import TileError
from lsd.runtime.ingest.raster import open_raster, read_window
from lsd.runtime.merging.ground import MM_PER_M, Boxes
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import LIKELY, NOT_OBSERVED, POSSIBLE
from lsd.runtime.sinks.products import PRODUCTS
from lsd.runtime.tiles import Grid

SCORES_NAME, DETECTIONS_NAME = PRODUCTS["scores"], PRODUCTS["detections"]
# tags of the score grid that tiles must share to be told as one result
SHARED_TAGS = ("bundle_sha256", "assumed_prevalence", "event_time")
_OPTIONAL_TAGS = {"event_time": ""}  # GDAL drops an empty tag: nobody stated it
_SIZES = ("stride_px", "tile_width_px", "tile_height_px")


@dataclass(frozen=True)
class ScoredTile:
    """Scores of one tile.

    folder: name of its folder in the output. classes: uint8 (row, column), codes of `scores.CLASS_TEXT`. probability:
    float32 (row, column), NaN where not scored. features: (row, column) -> feature of its GeoJSON. head: the GeoJSON
    without features. tags: of the score grid.
    """

    folder: str
    id: str
    grid: Grid
    patches: PatchGrid
    classes: NDArray[np.uint8]
    probability: NDArray[np.float32]
    features: Mapping[tuple[int, int], Mapping[str, Any]]
    head: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def crs_name(self) -> str:
        """CRS as text, the same for tiles of the same CRS."""
        return str(self.grid.crs.to_string())

    def outline(self) -> Boxes:
        """The tile's ground, (1, 4) in mm of its CRS."""
        return self._boxes(0, 0, self.grid.width_px, self.grid.height_px)

    def boxes(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Boxes:
        """The squares of n patches, (n, 4) in mm of the tile's CRS, shift inward included."""
        tops, lefts = self._edges()
        top, left = tops[rows], lefts[columns]
        return self._boxes(left, top, left + PATCH_SIZE_PX, top + PATCH_SIZE_PX)

    def certainty(self) -> NDArray[np.float64]:
        """float64 (row, column): class x 2 + probability, so that the most certain finding is the largest number."""
        return np.asarray(self.classes * 2.0 + np.nan_to_num(self.probability.astype(np.float64)), np.float64)

    def certainty_at(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Largest `certainty` among the patches over n places (n, 2) in the tile's CRS, and whether the tile has them.

        Returns:
            float64 (n,), 0 where no patch was scored, and bool (n,).
        """
        places = np.where(np.isfinite(points), points, np.nan)  # infinite: no place in this CRS
        x, y = self.grid.pixel(places[:, 0], places[:, 1])
        inside = (x >= 0) & (y >= 0) & (x < self.grid.width_px) & (y < self.grid.height_px)
        tops, lefts = self._edges()
        first_row, end_row = _over(tops, y[inside])
        first_column, end_column = _over(lefts, x[inside])
        certainty = self.certainty()
        best = np.zeros(int(inside.sum()))
        for down in range(int((end_row - first_row).max(initial=0))):
            row = first_row + down
            for right in range(int((end_column - first_column).max(initial=0))):
                column = first_column + right
                there = (row < end_row) & (column < end_column)
                np.maximum(best, certainty[row * there, column * there], out=best, where=there)
        found = np.zeros(len(points))
        found[inside] = best
        return found, inside

    def _edges(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        tops = np.array([self.patches.y_px(row) for row in range(self.patches.rows)], np.intp)
        lefts = np.array([self.patches.x_px(column) for column in range(self.patches.columns)], np.intp)
        return tops, lefts

    def _boxes(self, left: Any, top: Any, right: Any, bottom: Any) -> Boxes:
        west, north = self.grid.ground(np.atleast_1d(left), np.atleast_1d(top))
        east, south = self.grid.ground(np.atleast_1d(right), np.atleast_1d(bottom))
        return np.asarray(np.rint(np.stack([west, south, east, north], axis=1) * MM_PER_M), np.int64)


def class_of(certainty: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Class codes behind values of `ScoredTile.certainty`."""
    return np.asarray(certainty // 2, np.uint8)


def read_scored_tile(folder: Path) -> ScoredTile:
    """Read the products of one tile.

    Raises:
        TileError: a product is missing, unreadable, of another version, or the two do not belong together.
    """
    for name in (SCORES_NAME, DETECTIONS_NAME):
        if not (folder / name).is_file():
            raise TileError(f"{folder} holds no {name}; run this tile again with --overwrite")
    with open_raster(folder / SCORES_NAME) as raster:
        tags = {**_OPTIONAL_TAGS, **raster.tags()}
        grid, patches = _grids(folder, raster, tags)
        classes = _band(folder, raster, "class")
        probability = _band(folder, raster, "probability")
    if not (np.isfinite(classes) & (classes >= NOT_OBSERVED) & (classes <= LIKELY)).all():
        raise TileError(f"{folder / SCORES_NAME}: band class holds unknown codes; run this tile again with --overwrite")
    head, features = _detections(folder / DETECTIONS_NAME)
    slides = {(int(row), int(column)) for row, column in np.argwhere(classes >= POSSIBLE)}
    if slides != set(features):
        raise TileError(
            f"{folder}: {SCORES_NAME} has {len(slides)} detections, {DETECTIONS_NAME} has {len(features)}, and they "
            "are not the same patches; run this tile again with --overwrite"
        )
    return ScoredTile(
        folder=folder.name,
        id=tags["tile"],
        grid=grid,
        patches=patches,
        classes=classes.astype(np.uint8),
        probability=probability,
        features=features,
        head=head,
        tags=tags,
    )


def _over(starts: NDArray[np.intp], position: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Half-open range of the patches along one axis that a position in pixels lies in; `starts` ascend."""
    first = np.searchsorted(starts, position - PATCH_SIZE_PX, side="right")
    return first, np.searchsorted(starts, position, side="right")


def _grids(folder: Path, raster: DatasetReader, tags: Mapping[str, str]) -> tuple[Grid, PatchGrid]:
    path = folder / SCORES_NAME
    missing = [key for key in ("tile", *_SIZES, *SHARED_TAGS) if key not in tags]
    if missing or raster.crs is None:
        raise TileError(
            f"{path} lacks {', '.join(missing) or 'a CRS'}, so it is no score grid of this version of lsd-run; run "
            "this tile again with --overwrite"
        )
    try:
        stride_px, width_px, height_px = (int(tags[key]) for key in _SIZES)
        patches = PatchGrid(width_px, height_px, stride_px)
    except ValueError as error:
        raise TileError(f"{path}: {', '.join(_SIZES)} make no grid of patches ({error}); run this tile again") from None
    if raster.shape != (patches.rows, patches.columns):
        raise TileError(
            f"{path} has {raster.height} x {raster.width} pixels, its tags promise {patches.rows} x {patches.columns}; "
            "run this tile again with --overwrite"
        )
    t = raster.transform
    gsd_m, margin_px = t.a / stride_px, (PATCH_SIZE_PX - stride_px) / 2
    origin = Affine(gsd_m, 0, t.c - gsd_m * margin_px, 0, -gsd_m, t.f + gsd_m * margin_px)
    return Grid(raster.crs, origin, width_px, height_px), patches


def _band(folder: Path, raster: DatasetReader, name: str) -> NDArray[np.float32]:
    if name not in raster.descriptions:
        raise TileError(
            f"{folder / SCORES_NAME} has no band {name!r}, so it was made by an older lsd-run; run this tile again "
            "with --overwrite"
        )
    index = raster.descriptions.index(name) + 1
    everything = Window(0, 0, raster.width, raster.height)
    return np.asarray(read_window(raster, [index], everything)[0], np.float32)


def _detections(path: Path) -> tuple[dict[str, Any], dict[tuple[int, int], Mapping[str, Any]]]:
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        found = head.pop("features")
        features = {(one["properties"]["row"], one["properties"]["column"]): one for one in found}
        if len(features) != len(found) or not all(isinstance(one["id"], str) and one["geometry"] for one in found):
            raise ValueError("two detections of one patch, or one without id or place")
    except OSError as error:
        raise TileError(f"{path} cannot be read ({error.strerror}); run this tile again with --overwrite") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TileError(f"{path} is no GeoJSON of lsd-run ({error}); run this tile again with --overwrite") from error
    return head, features
