"""The files of one tile's folder: which there are, and writing them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.geojson import write_detections
from lsd.runtime.sinks.geopackage import write_geopackage
from lsd.runtime.sinks.quicklook import Quicklook
from lsd.runtime.sinks.score_grid import write_score_grid
from lsd.runtime.sinks.stac import write_item
from lsd.runtime.tiles import Tile

# kind -> file name; the score grid marks a folder as one of ours
PRODUCTS = {
    "detections": "detections.geojson",
    "geopackage": "detections.gpkg",
    "scores": "scores.tif",
    "quicklook": "quicklook.png",
    "item": "item.json",
}
EXTRAS = {"kml": "detections.kml", "geoparquet": "patches.parquet"}


def write_products(
    folder: Path,
    tile: Tile,
    scores: TileScores,
    quicklook: Quicklook,
    context: RunContext,
    extras: Sequence[str] = (),
) -> dict[str, str]:
    """Write every product of a tile into an existing folder; returns kind -> file name.

    Raises:
        OutputError: a file cannot be written.
        UsageError: an extra needs a package that is not installed.
    """
    written = {**PRODUCTS, **{kind: EXTRAS[kind] for kind in extras}}
    write_detections(folder / written["detections"], tile, scores, context)
    write_geopackage(folder / written["geopackage"], tile, scores, context)
    write_score_grid(folder / written["scores"], tile, scores, context)
    quicklook.write(folder / written["quicklook"], scores)
    if "kml" in extras:
        from lsd.runtime.sinks.kml import write_kml

        write_kml(folder / written["kml"], tile, scores, context)
    if "geoparquet" in extras:
        from lsd.runtime.sinks.geoparquet import write_geoparquet

        write_geoparquet(folder / written["geoparquet"], tile, scores, context)
    write_item(folder / written["item"], tile, scores, context, written)
    return written
