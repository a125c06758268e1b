"""Resident memory of one lsd-run over 100 tiles: does it grow with the number of tiles?

    python -m lsd.benchmarks.stream_memory bundles/reference --folder /tmp/memory -o result.json

The run is a process of its own; its VmRSS (proc(5)) is sampled every 20 ms, beside the number of tile folders in the
output. The tiles are made up: noise. A plot of the same name is written beside the JSON (needs matplotlib).
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.benchmarks.run_kills import command, write_tiles
from lsd.runtime.bundle import open_bundle
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts

EVERY_S = 0.02
WARM_TILES = 10  # the slope is taken after these: libraries and caches are filled by then
Sample = tuple[float, int, float]  # seconds since the start, tiles done, MB


def sampled(words: list[str], out: Path) -> list[Sample]:
    """Run a command and watch its memory.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    found: list[Sample] = []
    begun_s = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text("ascii"))
            tiles = sum(1 for path in out.glob("[!.]*") if path.is_dir()) if out.exists() else 0
            if resident:  # not of a process that is just ending
                found.append((time.monotonic() - begun_s, tiles, int(resident[1]) / 1024))
            time.sleep(EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return found


def peaks_of(samples: list[Sample], tiles: int) -> list[float]:
    """Most memory in MB while the first, second, ... tile was in hand; NaN where a tile was faster than the samples."""
    found = [[mb for _, done, mb in samples if done == number] for number in range(tiles)]
    return [max(one, default=float("nan")) for one in found]


def slope_mb(peaks: list[float]) -> tuple[float, float]:
    """Growth in MB a tile after the first `WARM_TILES`, by least squares, and its standard error."""
    number, mb = np.arange(len(peaks))[WARM_TILES:], np.array(peaks[WARM_TILES:])
    number, mb = number[~np.isnan(mb)], mb[~np.isnan(mb)]
    (slope, _), covariance = np.polyfit(number, mb, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def plot(samples: list[Sample], peaks: list[float], slope: float, path: Path) -> None:
    """Memory over time, and the peak of each tile."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    upper.plot([second for second, _, _ in samples], [mb for _, _, mb in samples], linewidth=0.8)
    upper.set(xlabel="seconds since the start", ylabel="resident memory (MB)", ylim=(0, None))
    lower.plot(np.arange(1, len(peaks) + 1), peaks, ".")
    lower.set(xlabel="tile", ylabel="peak while in hand (MB)", ylim=(0, 1.1 * float(np.nanmax(peaks))))
    lower.set_title(f"{slope * 1024:+.1f} kB a tile after the first {WARM_TILES}", fontsize=9)
    figure.savefig(path, dpi=110)


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tiles and products go; new.")
@click.option("--tiles", default=100, show_default=True, help="Tiles of the run.")
@click.option("--size", "size_px", default=512, show_default=True, help="Width and height of a tile in pixels.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(bundle: Path, folder: Path, tiles: int, size_px: int, output: Path, commit: str) -> None:
    """Sample the memory of one run over many tiles (two minutes)."""
    source, out = write_tiles(folder / "tiles", tiles, size_px), folder / "products"
    samples = sampled(command(bundle, source, out), out)
    peaks = peaks_of(samples, tiles)
    slope, error = slope_mb(peaks)
    result: dict[str, Any] = {
        "conditions": {"commit": commit, **facts(open_bundle(bundle)), "tiles": tiles, "size_px": size_px},
        "seconds": round(samples[-1][0], 1),
        "samples": len(samples),
        "first_tile_mb": round(peaks[0], 1),
        "last_tile_mb": round(peaks[-1], 1),
        "peak_mb": round(max(mb for _, _, mb in samples), 1),
        "slope_mb_a_tile": {"value": round(slope, 4), "standard_error": round(error, 4), "after_tiles": WARM_TILES},
        "peak_of_tile_mb": [None if np.isnan(mb) else round(mb, 1) for mb in peaks],
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(samples, peaks, slope, output.with_suffix(".png"))
    click.echo(f"{tiles} tiles: peak {result['peak_mb']} MB, {slope * 1024:+.1f} kB a tile (+- {error * 1024:.1f})")


if __name__ == "__main__":
    main()
