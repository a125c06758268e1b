"""Seconds that a round over known tiles takes, with a memo and without: what watching costs after a week.

python -m lsd.benchmarks.watched_rounds -o benchmarks/results/watched_rounds.json --commit H
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import rasterio
from affine import Affine

from lsd.runtime.bands import BAND_NAMES, BY_NAME
from lsd.runtime.sources import Memo, tiles_of

NAME = "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419"
SIZE_PX = 64


def write_tiles(folder: Path, stacks: int, folders: int) -> None:
    """Stacks of four bands in `stacks`, folders of twelve single bands in `folders`; noise."""
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff", "width": SIZE_PX, "height": SIZE_PX, "crs": "EPSG:32633",
        "transform": Affine(10, 0, 500_000, 0, -10, 4_600_000),
    }  # fmt: skip
    (folder / "stacks").mkdir()
    for i in range(stacks):
        with rasterio.open(folder / "stacks" / f"{NAME}_{i:05d}.tif", "w", count=4, dtype="uint16", **profile) as one:
            one.write(rng.integers(1100, 1800, (4, SIZE_PX, SIZE_PX)).astype(np.uint16))
            one.descriptions = ("red", "green", "blue", "nir")
    for i in range(folders):
        place = folder / "folders" / f"{NAME}_{i:05d}"
        place.mkdir(parents=True)
        for name in BAND_NAMES:
            level, spread = {"optical": (1500, 100), "sar": (-12, 3), "sar_diff": (0.5, 1)}[BY_NAME[name].modality]
            pixels = rng.normal(level, spread, (1, SIZE_PX, SIZE_PX)).astype(np.float32)
            if BY_NAME[name].modality == "optical":
                pixels = pixels.astype(np.uint16)
            with rasterio.open(place / f"{name}.tif", "w", count=1, dtype=pixels.dtype, **profile) as one:
                one.write(pixels)


def seconds_of(folder: Path, memo: Memo | None) -> dict[str, float]:
    """Wall and processor seconds of one round."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    tiles = sum(1 for _ in tiles_of([folder], memo=memo))
    return {
        "tiles": tiles,
        "wall_s": round(time.perf_counter() - wall_s, 3),
        "cpu_s": round(time.process_time() - cpu_s, 3),
    }


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file.")
@click.option("--commit", required=True, help="What was measured.")
@click.option("--stacks", default=1000, show_default=True, help="Tiles that are one file each.")
@click.option("--folders", default=200, show_default=True, help="Tiles of twelve files each.")
def main(output: Path, commit: str, stacks: int, folders: int) -> None:
    """Measure three rounds with a memo, the first of which fills it, and two without."""
    found = {"commit": commit, "machine": platform.processor() or platform.machine(), "tile_px": SIZE_PX}
    with tempfile.TemporaryDirectory() as place:
        write_tiles(Path(place), stacks, folders)
        for kind in ("stacks", "folders"):
            memo, folder = Memo(), Path(place) / kind
            found[kind] = {
                "without": [seconds_of(folder, None) for _ in range(2)],
                "with": [seconds_of(folder, memo) for _ in range(3)],
            }
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
