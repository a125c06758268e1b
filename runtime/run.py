"""One run: every tile of the sources scored and written, one bad tile never stopping the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import rasterio

from lsd.runtime import __version__
from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.commit import folder_name, tile_folder
from lsd.runtime.errors import LsdError, OutputError, TileError
from lsd.runtime.ingest.raster import on_disk
from lsd.runtime.inspection import inspected
from lsd.runtime.scoring import ScoringOptions, score_tile
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.products import PRODUCTS, write_products
from lsd.runtime.sinks.summary import TileResult, done_result, failed_result
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.tiles import Tile

# GDAL keeps decoded blocks in 5 % of the machine's memory unless told otherwise. A row of patches of a Sentinel-2 tile
# in blocks of 512 px is 4 optical uint16 and 8 radar float32 bands of 10,980 x 512 px: 225 MB, decoded once if it fits.
GDAL_CACHE_BYTES = 256 * 2**20


def context_of(bundle: Bundle, prevalence: float | None = None, event_time: str | None = None) -> RunContext:
    """What all products of a run say about the bundle, and what the user stated."""
    manifest = bundle.manifest
    return RunContext(
        bundle_name=manifest.name,
        bundle_sha256=bundle.sha256,
        configurations=manifest.configurations,
        synthetic=manifest.synthetic,
        version=__version__,
        prevalence=prevalence,
        event_time=event_time,
    )


def run_tiles(
    chain: Chain,
    context: RunContext,
    sources: Sequence[Path],
    source_options: SourceOptions,
    scoring_options: ScoringOptions,
    out: Path,
    overwrite: bool,
    report: Callable[[TileResult], None],
    extras: Sequence[str] = (),
) -> None:
    """Score every tile of the sources and write its products into a folder of its own in `out`.

    Args:
        chain: from the bundle that `context` describes.
        out: existing, writable folder.
        overwrite: replace the products of a tile that is there already.
        report: called with the result of each tile as it ends, in source order.
        extras: products to write beside the usual ones: `kml`, `geoparquet`.
    Raises:
        OutputError: the output cannot be written; tiles done before stay.
        SourceError: a source does not exist or holds no tile.
    """
    taken: set[str] = set()
    with _bounded_cache():
        for found in tiles_of(sources, source_options):
            stopwatch = Stopwatch()
            try:
                if isinstance(found, TileFailure):
                    raise found.error
                folder = folder_name(found.id)
                if folder in taken:
                    raise TileError(f"{found.id}: another tile of this run has the same name; give each its own run")
                taken.add(folder)
                _refuse_to_replace_input(found, out / folder)
                with stopwatch.stage("read"):
                    tile = inspected(found)
                result = _score_and_write(tile, chain, context, scoring_options, out, overwrite, stopwatch, extras)
            except OutputError:
                raise
            except LsdError as error:
                result = failed_result(found.id, error, stopwatch.seconds)
            report(result)


def _bounded_cache() -> rasterio.Env:
    """GDAL's block cache of `GDAL_CACHE_BYTES`, or what the environment variable GDAL_CACHEMAX says."""
    return rasterio.Env() if "GDAL_CACHEMAX" in os.environ else rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES)


def _refuse_to_replace_input(tile: Tile, folder: Path) -> None:
    """Raise OutputError if the tile's own files lie where its products go: --overwrite would delete them."""
    place = folder.resolve()
    sources = [one for band in tile.bands.values() for one in (band, *band.pre)]
    for path in [source.path for source in sources] + ([tile.clouds.path] if tile.clouds else []):
        file = on_disk(path)
        if file is not None and place in file.resolve().parents:
            raise OutputError(f"{folder} holds the input of this tile; choose another folder with -o")


def _score_and_write(
    tile: Tile,
    chain: Chain,
    context: RunContext,
    options: ScoringOptions,
    out: Path,
    overwrite: bool,
    stopwatch: Stopwatch,
    extras: Sequence[str],
) -> TileResult:
    with tile_folder(out, tile.id, overwrite, PRODUCTS["scores"]) as folder:
        scores, quicklook = score_tile(tile, chain, options, stopwatch)
        with stopwatch.stage("write"):
            written = write_products(folder, tile, scores, quicklook, context, extras)
    products = {kind: f"{folder_name(tile.id)}/{name}" for kind, name in written.items()}
    return done_result(tile, scores, context, products, stopwatch.seconds)
