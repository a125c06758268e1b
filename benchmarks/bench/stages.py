"""Each stage of an answer by itself: what does a patch cost in it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from lsd.benchmarks.bench.clock import Clock
from lsd.benchmarks.bench.scenarios import Query, offline
from lsd.benchmarks.bench.subject import Subject
from lsd.benchmarks.bench.windows import Rule, Windows
from lsd.runtime.errors import TileError
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import Window, patch_batches, read_windows
from lsd.runtime.sources import TileFailure, tiles_of
from lsd.runtime.tiles import Tile

# what each stage is, for reports; `write` is told by lsd-run itself
ABOUT = {
    "read": "windows read from uncompressed GeoTIFF, files in the system's cache",
    "copy": "patches cut out of the windows",
    "features": "statistics and their combinations, of every forest",
    "forest": "log-odds of every forest of the configuration",
    "encode": "probability of every network of the configuration; copies to and from a device are in it",
    "combine": "members averaged, parts combined, calibrated",
    "score": "all of features, forest, encode, combine, and which patches can be answered; exits in use",
}


def measure_stages(
    subject: Subject, tile: Path, batch: int, clock: Clock, rule: Rule, began: Callable[[str], None]
) -> dict[str, Windows]:
    """Stage -> windows of batches of so many patches, for each that the configuration has.

    `features` to `combine` ask every member about every patch, also where an exit would let a patch leave.

    Args:
        tile: folder of `content.write_tile`, in the configuration's bands. began: told the name of each stage.
    Raises:
        TileError: the tile cannot be read.
    """
    found = {}
    for name, (query, patches) in _queries(subject, tile, batch).items():
        began(name)
        found[name] = offline(query, clock, rule, patches)
    return found


def _queries(subject: Subject, path: Path, batch: int) -> dict[str, tuple[Query, int]]:
    """Stage -> function that does its work for some patches, and how many patches that is a call."""
    chain, configuration, bands = subject.chain, subject.configuration, subject.configuration.bands
    tile, grid = _opened(path)
    pixels = subject.pixels[:batch]
    rows = chain.features(configuration, pixels, bands)
    margins = {member: chain.forests[member].margins(one) for member, one in rows.items()}
    encoded = chain.encoded(configuration, pixels, bands)
    window = next(_windows(tile, grid))
    turn = cycle([subject.pixels[at : at + batch] for at in range(0, len(subject.pixels) - batch + 1, batch)])

    def read(_: int) -> object:
        return sum(1 for _ in _windows(tile, grid))

    def copy(_: int) -> object:
        return sum(len(one) for one in patch_batches(window, grid, batch))

    def forests(_: int) -> object:
        return [chain.forests[member].margins(one) for member, one in rows.items()]

    queries: dict[str, tuple[Query, int]] = {
        "read": (read, grid.rows * grid.columns),
        "copy": (copy, len(window.rows) * len(window.columns)),
        "features": (lambda _: chain.features(configuration, next(turn), bands), batch),
        "forest": (forests, batch),
        "encode": (lambda _: chain.encoded(configuration, next(turn), bands), batch),
        "combine": (lambda _: chain.probabilities(configuration, margins, encoded), batch),
        "score": (subject.query(batch), batch),
    }
    absent = {"encode"} if not encoded else set()
    if not rows:
        absent |= {"features", "forest"}
    return {name: query for name, query in queries.items() if name not in absent}


def _opened(path: Path) -> tuple[Tile, PatchGrid]:
    tile = next(iter(tiles_of([path])))
    if isinstance(tile, TileFailure):
        raise TileError(f"the tile of lsd-bench cannot be read: {tile.error}")
    return tile, PatchGrid(tile.grid.width_px, tile.grid.height_px)


def _windows(tile: Tile, grid: PatchGrid) -> Iterator[Window]:
    return read_windows(tile, grid)
