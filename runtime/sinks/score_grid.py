"""Scores of all patches as a Cloud Optimized GeoTIFF, one pixel a patch: it shows where the unseen ground is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.commit import write_bytes
from lsd.runtime.scores import CLASS_TEXT, NOT_SCORED, STAGE_TEXT, STATUS_TEXT, TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT, coverage_of
from lsd.runtime.tiles import Tile

_GEOMETRY = (
    "a pixel is the central stride x stride square of its patch of 64 x 64 tile pixels; the patches of the last row "
    "and column are shifted inward to end at the tile's edge (band shifted) but keep their regular pixel, which may "
    "reach beyond the tile"
)


def write_score_grid(path: Path, tile: Tile, scores: TileScores, context: RunContext) -> None:
    """Write the score grid: float32 bands probability, decision, valid_fraction, configuration, status, shifted, class,
    stage.

    NaN is nodata: probability and decision hold it where a patch was not scored. The meaning of each band's codes is in
    its tag `meaning`.

    Raises:
        OutputError: the file cannot be written.
    """
    bands = score_bands(scores, context)
    profile = {
        "driver": "COG",
        "dtype": "float32",
        "count": len(bands),
        "height": scores.grid.rows,
        "width": scores.grid.columns,
        "crs": tile.grid.crs,
        "transform": score_transform(tile, scores),
        "nodata": np.nan,
        "compress": "DEFLATE",
        "predictor": "YES",
        "overview_resampling": "NEAREST",  # codes cannot be averaged
        "num_threads": "1",
    }
    with MemoryFile(ext=".tif") as memory:  # GDAL never writes to disk: a full disk is then an error of Python's write
        with memory.open(**profile) as raster:
            raster.update_tags(**_tags(tile, scores, context))
            for index, (name, (values, meaning)) in enumerate(bands.items(), start=1):
                raster.write(values.astype(np.float32), index)
                raster.set_band_description(index, name)
                raster.update_tags(index, meaning=meaning)
        write_bytes(path, bytes(memory.getbuffer()))


def score_transform(tile: Tile, scores: TileScores) -> Affine:
    """Transform of the score grid: a pixel measures stride x GSD and lies in the middle of its patch."""
    stride_px = scores.grid.stride_px
    margin_px = (PATCH_SIZE_PX - stride_px) / 2
    t = tile.grid.transform  # spelt out: affine 2 has no `@`, affine 3 warns of `*`
    x0, y0 = t.c + (t.a + t.b) * margin_px, t.f + (t.d + t.e) * margin_px
    return Affine(t.a * stride_px, t.b * stride_px, x0, t.d * stride_px, t.e * stride_px, y0)


def score_bands(scores: TileScores, context: RunContext) -> dict[str, tuple[NDArray[np.generic], str]]:
    """Band name -> values (row, column) and what they mean, in the order of the bands."""
    decision = np.where(scores.decision == NOT_SCORED, np.nan, scores.decision)
    names = "".join(f"; {number} {name}" for number, name in enumerate(context.names, start=1))
    return {
        "probability": (scores.probability, "calibrated probability of a landslide in the patch, 0..1; NaN not scored"),
        "decision": (decision, "0 no slide; 1 slide; 2 look; NaN not scored"),
        "valid_fraction": (scores.valid_fraction, "share of the patch's pixels valid in the bands needed, 0..1"),
        "configuration": (scores.configuration, f"0 none{names}"),
        "status": (scores.status, "; ".join(f"{code} {text}" for code, text in STATUS_TEXT.items())),
        "shifted": (scores.shifted, "1 patch shifted inward at the tile's right or lower edge; 0 on the regular grid"),
        "class": (scores.classes(), "; ".join(f"{code} {text}" for code, text in CLASS_TEXT.items())),
        "stage": (scores.stage, "; ".join(f"{code} {text}" for code, text in STAGE_TEXT.items())),
    }


def _tags(tile: Tile, scores: TileScores, context: RunContext) -> dict[str, str]:
    return {
        "tile": tile.id,
        "note": f"{coverage_of(scores, tile.grid.gsd_m).note()} {CAVEAT}",
        "geometry": _GEOMETRY,
        "patch_size_px": str(PATCH_SIZE_PX),
        "stride_px": str(scores.grid.stride_px),
        "tile_width_px": str(tile.grid.width_px),
        "tile_height_px": str(tile.grid.height_px),
        "configurations": ",".join(context.names),
        "thresholds": ",".join(str(threshold) for threshold in context.thresholds),
        "assumed_prevalence": ",".join(str(prevalence) for prevalence in context.prevalences),
        "prevalence_stated_by_user": str(context.prevalence is not None).lower(),
        "event_time": tile.event_time or "",
        "bundle_name": context.bundle_name,
        "bundle_sha256": context.bundle_sha256,
        "synthetic": str(context.synthetic).lower(),
        "software": f"lsd-edge {context.version}",
    }
