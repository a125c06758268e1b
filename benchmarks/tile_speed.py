"""A Sentinel-2-sized tile with forests alone: bands in memory, and from file to products beside the bare read.

    python -m lsd.benchmarks.tile_speed bundles/reference --folder /tmp/tile -o result.json

(a) The 12 bands lie in memory as float32; windows of them go through the same scoring as in lsd-run. (b) The same tile
as GeoTIFFs in blocks of 512 px, uncompressed and DEFLATE: the bare read of every band by rasterio, in this process,
then lsd-run as a process of its own, start included; both with the files in the system's cache, in turns. The aim for
(b) is 1.5 times the read plus (a). The content is SYNTHETIC: one block of simulated patches, repeated, none of which
looks like haze.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio
from numpy.typing import NDArray

from lsd.benchmarks.whole_tile import measured
from lsd.benchmarks.whole_tile_input import BLOCK_PX, Content, write_tile
from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.memory import available_cores
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import Window
from lsd.runtime.scoring import Scoring, ScoringOptions
from lsd.runtime.sources import SourceOptions, tiles_of
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.tiles import Tile

COMPRESSIONS = ("none", "deflate")
HELD = 1.5  # times the bare read


class ClearContent(Content):
    """Simulated patches whose blue is held below what looks like haze, so that the first configuration answers all."""

    def _simulated(self) -> NDArray[np.float32]:
        found = super()._simulated()
        red, blue = (BAND_NAMES.index(name) for name in ("red", "blue"))
        found[:, blue] = np.minimum(found[:, blue], np.floor(0.5 * np.round(found[:, red]) + 1290))
        return found


def windows_in_memory(pixels: NDArray[np.float32], grid: PatchGrid, columns_per_window: int) -> Iterator[Window]:
    """Windows of one row of patches, as `lsd.runtime.reader.read_windows` gives them; views of `pixels`."""
    for row in range(grid.rows):
        for first in range(0, grid.columns, columns_per_window):
            columns = range(first, min(first + columns_per_window, grid.columns))
            y, x = grid.y_px(row), grid.x_px(first)
            width = grid.x_px(columns[-1]) + PATCH_SIZE_PX - x
            part = pixels[:, y : y + PATCH_SIZE_PX, x : x + width]
            invalid = np.zeros(part.shape[1:], bool)
            yield Window(part, BAND_NAMES, y, x, range(row, row + 1), columns, None, invalid, False)


def in_memory(bundle: Path, tile: Tile, content: Content, workers: int, turns: int) -> dict[str, Any]:
    """Seconds to score the tile from memory."""
    size_px = tile.grid.width_px
    pixels = np.empty((len(BAND_NAMES), size_px, size_px), np.float32)
    for band, name in zip(pixels, BAND_NAMES, strict=True):
        block = content.block(name)
        repeats = -(-size_px // len(block))
        band[:] = np.tile(block, (repeats, repeats))[:size_px, :size_px]
    chain = Chain(open_bundle(bundle))
    options = ScoringOptions(workers=workers)
    grid, spent, stages = PatchGrid(size_px, size_px), [], []
    for _ in range(turns):
        stopwatch = Stopwatch()
        begun_s = time.perf_counter()
        windows = windows_in_memory(pixels, grid, options.window_columns)
        (one,) = [done for some in Scoring(chain, options).take(tile, stopwatch, windows) for done in some]
        spent.append(time.perf_counter() - begun_s)
        stages.append(stopwatch.seconds)
    counts = one.scores.counts()
    return {
        "patches": int(one.scores.status.size),
        "counts": counts,
        "forest_backend": chain.backend,
        "workers": workers,
        "seconds": round(statistics.median(spent), 3),
        "every_turn_s": [round(one, 3) for one in spent],
        "seconds_by_stage_of_last_turn": {name: round(value, 3) for name, value in stages[-1].items()},
    }


def bare_read_s(folder: Path) -> float:
    """Seconds to read every band whole, as stored, one after the other."""
    begun_s = time.perf_counter()
    for name in BAND_NAMES:
        with rasterio.open(folder / f"{name}.tif") as file:
            file.read(1)
    return time.perf_counter() - begun_s


def recompressed(source: Path, folder: Path, compression: str) -> Path:
    """The bands of a tile in another compression; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in BAND_NAMES:
        if not (folder / f"{name}.tif").exists():
            with rasterio.open(source / f"{name}.tif") as file:
                profile = {**file.profile, "tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX}
                profile |= {"compress": compression, "predictor": 1}
                with rasterio.open(folder / f".{name}.tif", "w", **profile) as out:
                    out.write(file.read())
            (folder / f".{name}.tif").rename(folder / f"{name}.tif")
    return folder


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--size", "size_px", default=10_980, show_default=True, help="Width and height of the tile in pixels.")
@click.option(
    "--compression",
    "compressions",
    multiple=True,
    type=click.Choice(COMPRESSIONS),
    default=COMPRESSIONS,
    show_default=True,
    help="Of the files; may be given twice.",
)
@click.option("--turns", default=3, show_default=True, help="Runs of each; medians are told.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tiles and products go (12 GB).")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(
    bundle: Path, size_px: int, compressions: tuple[str, ...], turns: int, folder: Path, output: Path, commit: str
) -> None:
    """Time a tile from memory and from files."""
    content, workers = ClearContent(), available_cores()
    made = folder / str(size_px) / "zstd" / "tile"
    if not (made / f"{BAND_NAMES[-1]}.tif").exists():
        write_tile(made, size_px, content)
    (tile,) = [found for found in tiles_of([made], SourceOptions(s2_offset="present")) if isinstance(found, Tile)]
    memory = in_memory(bundle, tile, content, workers, turns)
    click.echo(f"in memory: {memory['seconds']} s for {memory['patches']:,} patches, {workers} threads")
    result: dict[str, Any] = {"size_px": size_px, "content": "SYNTHETIC: simulated patches", "in_memory": memory}
    result |= {"from_files": {}, "conditions": {"commit": commit, **facts(), "turns": turns}}
    for compression in compressions:
        place = recompressed(made, folder / str(size_px) / compression / "tile", compression)
        reads, runs = [bare_read_s(place)], []  # the first warms the system's cache and does not count
        for _ in range(turns):
            reads.append(bare_read_s(place))
            one = measured(bundle, place, folder / "products", ("--s2-offset", "present"))
            del one["peak_rss_mb"]  # of a child it holds this process's memory, which has the bands in it
            runs.append(one)
        read_s, run_s = statistics.median(reads[1:]), statistics.median(one["wall_s"] for one in runs)
        allowed_s = HELD * read_s + memory["seconds"]
        result["from_files"][compression] = {
            "stored_mb": round(sum(file.stat().st_size for file in place.glob("*.tif")) / 1e6),
            "bare_read_s": round(read_s, 3),
            "every_bare_read_s": [round(one, 3) for one in reads],
            "lsd_run_wall_s": round(run_s, 3),
            "aim_s": round(allowed_s, 3),
            "last_run": runs[-1],
        }
        click.echo(f"{compression}: bare read {read_s:.1f} s, lsd-run {run_s:.1f} s (aim {allowed_s:.1f} s)")
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
