"""How much of a tile was looked at, and the sentence that keeps an empty result from reading as safe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import NOT_SCORED, TileScores

CAVEAT = (
    "A detection is a square of ground that looks like ground with a landslide in it: it says neither when the slope "
    "failed nor that an event caused it, and nobody has checked it."
)


@dataclass(frozen=True)
class Coverage:
    """Share of a tile that has an answer.

    patches = scored + too_few_valid_pixels + no_configuration + looks_like_cloud + cloud + out_of_range.
    ground_km2: the tile.
    scored_ground_km2: ground inside at least one scored patch, counted once however patches overlap; up to a tenth of
    it may have no valid pixel.
    """

    patches: int
    scored: int
    too_few_valid_pixels: int
    no_configuration: int
    looks_like_cloud: int
    cloud: int
    out_of_range: int
    overlapping: bool
    ground_km2: float
    scored_ground_km2: float

    @property
    def not_scored(self) -> int:
        """Number of patches without an answer."""
        return self.patches - self.scored

    @property
    def share_scored(self) -> float:
        """Share of the patches that have an answer, 0..1."""
        return self.scored / self.patches

    def note(self) -> str:
        """One or two sentences for a reader who sees nothing else of the run."""
        overlap = " Patches overlap, so one slide may lie in several of them." if self.overlapping else ""
        if not self.not_scored:
            return f"All {self.patches} patches were scored.{overlap}"
        reasons = {
            "too few valid pixels": self.too_few_valid_pixels,
            "no trained configuration for the bands that are there": self.no_configuration,
            "ground bright as cloud, haze or snow without a detection": self.looks_like_cloud,
            "cloud, shadow or snow by the cloud layer": self.cloud,
            "values outside of the plausible range": self.out_of_range,
        }
        why = ", ".join(f"{count} for {reason}" for reason, count in reasons.items() if count)
        share = f"{100 * self.not_scored / self.patches:.1f} %"
        return (
            f"{self.not_scored} of {self.patches} patches ({share}) were not scored ({why}): "
            f"there may be landslides there.{overlap}"
        )


def coverage_of(scores: TileScores, gsd_m: float) -> Coverage:
    """Coverage of one tile; `gsd_m` is its pixel size in metres."""
    counts = scores.counts()
    km2_per_px = (gsd_m / 1000.0) ** 2
    grid = scores.grid
    return Coverage(
        patches=counts["patches"],
        scored=counts["patches"] - counts["not_scored"],
        too_few_valid_pixels=counts["too_few_valid_pixels"],
        no_configuration=counts["no_configuration"],
        looks_like_cloud=counts["looks_like_cloud"],
        cloud=counts["cloud"],
        out_of_range=counts["out_of_range"],
        overlapping=grid.stride_px < PATCH_SIZE_PX or counts["shifted"] > 0,
        ground_km2=round(grid.width_px * grid.height_px * km2_per_px, 6),
        scored_ground_km2=round(scored_ground_px(scores) * km2_per_px, 6),
    )


@lru_cache(maxsize=1)
def corners_px(grid: PatchGrid) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Upper edge of every patch row and left edge of every patch column, intp (row,) and (column,), in tile pixels.

    Kept for the next call, as every row of patches that is written asks for them: not to be changed.
    """
    tops = np.array([grid.y_px(row) for row in range(grid.rows)], np.intp)
    lefts = np.array([grid.x_px(column) for column in range(grid.columns)], np.intp)
    return tops, lefts


def scored_ground_px(scores: TileScores) -> int:
    """Number of tile pixels inside at least one scored patch, from the patches' edges alone (no array of the tile)."""
    tops, lefts = corners_px(scores.grid)
    y_edges = np.unique(np.concatenate([tops, tops + PATCH_SIZE_PX]))
    x_edges = np.unique(np.concatenate([lefts, lefts + PATCH_SIZE_PX]))
    rows, columns = np.nonzero(scores.decision != NOT_SCORED)
    inside = inside_any(
        np.searchsorted(y_edges, tops[rows]),
        np.searchsorted(y_edges, tops[rows] + PATCH_SIZE_PX),
        np.searchsorted(x_edges, lefts[columns]),
        np.searchsorted(x_edges, lefts[columns] + PATCH_SIZE_PX),
        (len(y_edges) - 1, len(x_edges) - 1),
    )
    return int(np.diff(y_edges) @ inside @ np.diff(x_edges))


def inside_any(
    top: NDArray[np.intp],
    bottom: NDArray[np.intp],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """bool (y, x) of `shape`: True inside at least one of the n boxes, given by their half-open edges, each (n,)."""
    height, width = shape[0] + 1, shape[1] + 1

    def corners(y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.bincount(y * width + x, minlength=height * width)

    steps = corners(top, left) - corners(top, right) - corners(bottom, left) + corners(bottom, right)
    return np.asarray(steps.reshape(height, width).cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0)
