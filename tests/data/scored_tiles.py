"""Tiles with scores, as sinks get them, without files or forests behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from lsd.runtime.bands import of_modality
from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import (
    LOOK,
    NO_CONFIGURATION,
    NO_SLIDE,
    NO_STAGE,
    NOT_SCORED,
    SCORED,
    SLIDE,
    WHOLE_ENSEMBLE,
    TileScores,
)
from lsd.runtime.tiles import Decision, Grid, Scene, Tile

DESCENDING_CHANGE = ("desc_dvv", "desc_dvh")
ASCENDING_CHANGE = ("asc_dvv", "asc_dvh")
SCENES = (
    Scene("S2_post", "sentinel-2", "optical", "Sentinel-2 L2A SAFE", "2022-07-06T08:56:11Z", of_modality("optical")),
    Scene(
        "S1_desc_post",
        "sentinel-1",
        "post",
        "ASF HyP3 RTC",
        "2022-07-08T05:08:00Z",
        ("desc_vv", "desc_vh", *DESCENDING_CHANGE),
        "descending",
        107,
    ),
    Scene(
        "S1_desc_pre", "sentinel-1", "pre", "ASF HyP3 RTC", "2022-06-26T05:08:00Z", DESCENDING_CHANGE, "descending", 107
    ),
    Scene(
        "S1_asc_post",
        "sentinel-1",
        "post",
        "ASF HyP3 RTC",
        "2022-07-09T17:08:00Z",
        ("asc_vv", "asc_vh", *ASCENDING_CHANGE),
        "ascending",
        173,
    ),
    Scene(
        "S1_asc_pre", "sentinel-1", "pre", "ASF HyP3 RTC", "2022-06-27T17:08:00Z", ASCENDING_CHANGE, "ascending", 173
    ),
)


def make_tile(
    width_px: int, height_px: int, epsg: int = 32633, x: float = 500_000.0, y: float = 5_200_000.0, **changes: Any
) -> Tile:
    """A tile of 10 m with its upper left corner at (x, y); fields of `Tile` replaced as given."""
    grid = Grid(CRS.from_epsg(epsg), Affine(10, 0, x, 0, -10, y), width_px, height_px)
    fields: dict[str, Any] = {
        "decisions": (Decision("offset", "none", "baseline N0400"),),
        "warnings": ("cloud unchecked",),
        "acquired": {"sentinel-2": "2022-07-06T08:56:11Z"},
        "scenes": SCENES,
        "event_time": "2022-07-01T00:00:00Z",
    }
    return Tile("T33TVM_20220706", grid, {}, **{**fields, **changes})


def make_scores(tile: Tile, stride_px: int = 64, default: int = NO_SLIDE) -> TileScores:
    """Scores with the same decision in every patch."""
    scores = TileScores(PatchGrid(tile.grid.width_px, tile.grid.height_px, stride_px))
    answer(scores, slice(None), slice(None), default)
    return scores


def answer(scores: TileScores, row: Any, column: Any, decision: int, status: int = NO_CONFIGURATION) -> None:
    """Put one decision, with a probability that fits it, into a cell; `status` counts where it is not scored."""
    scored = decision != NOT_SCORED
    scores.decision[row, column] = decision
    scores.probability[row, column] = {SLIDE: 0.91, LOOK: 0.3, NO_SLIDE: 0.02}.get(decision, np.nan)
    scores.configuration[row, column] = 2 if scored else 0
    scores.valid_fraction[row, column] = 0.97 if scored else 0.3
    scores.status[row, column] = SCORED if scored else status
    scores.stage[row, column] = WHOLE_ENSEMBLE if scored else NO_STAGE
