"""The key of a tile: what it was made from and how, as one hash. The same key means the same products, bundle aside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsd.runtime.ingest.raster import on_disk
from lsd.runtime.tiles import Tile


def paths_of(tile: Tile) -> Iterator[Path]:
    """Every file behind a tile, as it is opened (in an archive, too), some more than once."""
    for band in tile.bands.values():
        for source in (band, *band.pre):
            yield source.path
            if source.mask is not None:
                yield source.mask
    if tile.clouds is not None:
        yield tile.clouds.path


def files_of(tile: Tile) -> list[Path]:
    """The files on disk behind a tile, sorted, each once; what lies on the network is not among them."""
    found = {on_disk(path) for path in paths_of(tile)}
    return sorted(path for path in found if path is not None)


def tile_key(tile: Tile, options: Mapping[str, Any]) -> str:
    """SHA-256 in hex of a tile's description, the size and time of change of its files, and the options.

    The content is not read for it: a tile of a gigabyte would be read twice. A file that was copied anew has another
    time of change, and its tile is done again; one that was changed in place without a trace is not.

    Args:
        options: what else changes products, as plain JSON; not the bundle (see `lsd-run --rescore`).
    Raises:
        OSError: a file is gone.
    """
    files = []
    for file in files_of(tile):
        status = file.stat()
        files.append([str(file), status.st_size, status.st_mtime_ns])
    grid = tile.grid
    described = {
        "id": tile.id,
        "grid": [grid.crs.to_wkt(), list(grid.transform)[:6], grid.width_px, grid.height_px],
        "bands": {name: asdict(source) for name, source in tile.bands.items()},
        "clouds": None if tile.clouds is None else asdict(tile.clouds),
        "scenes": [asdict(scene) for scene in tile.scenes],
        "decisions": [asdict(decision) for decision in tile.decisions],
        "event_time": tile.event_time,
        "files": files,
        "options": dict(options),
    }
    text = json.dumps(described, sort_keys=True, default=str)  # a path is its text; NaN as nodata is "NaN"
    return hashlib.sha256(text.encode()).hexdigest()
