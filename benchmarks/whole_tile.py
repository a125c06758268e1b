"""A Sentinel-2-sized tile of 12 bands through lsd-run: seconds by stage and peak memory of the whole process.

    python -m lsd.benchmarks.whole_tile bundles/reference --size 10980 --folder /tmp/tile

The content is made up (one block of correlated noise, repeated): it measures reading, statistics, forests and writing,
and says nothing about detections. Files are tiled, 512 px, ZSTD; they stay in the folder for the next run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BANDS
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts

BLOCK_PX = 512
NAME = "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419"  # the baseline that holds the offset


def write_tile(folder: Path, size_px: int) -> Path:
    """One file a band; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    patches = simulated_patches((BLOCK_PX // 64) ** 2, seed=1)  # (64, 12, 64, 64)
    for number, band in enumerate(BANDS):
        rows = patches[:, number].reshape(BLOCK_PX // 64, BLOCK_PX // 64, 64, 64)
        block = rows.transpose(0, 2, 1, 3).reshape(BLOCK_PX, BLOCK_PX)
        profile = {
            "driver": "GTiff", "width": size_px, "height": size_px, "count": 1, "crs": "EPSG:32633",
            "dtype": "uint16" if band.modality == "optical" else "float32",
            "transform": from_origin(399_960, 5_300_040, 10, 10), "tiled": True,
            "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "compress": "ZSTD", "zstd_level": 1,
        }  # fmt: skip
        with rasterio.open(folder / f"{band.name}.tif", "w", **profile) as file:
            for y in range(0, size_px, BLOCK_PX):
                for x in range(0, size_px, BLOCK_PX):
                    window = Window(x, y, min(BLOCK_PX, size_px - x), min(BLOCK_PX, size_px - y))
                    part = block[: window.height, : window.width]
                    file.write(np.ascontiguousarray(part).astype(profile["dtype"]), 1, window=window)
    return folder


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--size", "size_px", default=10_980, show_default=True, help="Width and height of the tile in pixels.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tile and products go.")
def main(bundle: Path, size_px: int, folder: Path) -> None:
    """Time lsd-run on a made-up tile; prints JSON."""
    tile = folder / str(size_px) / NAME
    if not tile.exists():
        write_tile(tile, size_px)
    code = "from lsd.runtime.cli.run import main; main()"
    words = [str(bundle), str(tile), "-o", str(folder / "products"), "--overwrite", "--json", "--progress", "off"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    totals = json.loads(done.stdout)["totals"]
    measured = {
        "size_px": size_px,
        "bands": len(BANDS),
        "patches": totals["patches"],
        "seconds": totals["seconds"],
        "last_line": done.stderr.strip().splitlines()[-1],
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "conditions": facts(),
    }
    click.echo(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
