"""Memory of a run does not grow with the tile, and stays below what the user allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from commands import ended, start
from rasterio.windows import Window
from tiles import L2A_NEW, ORIGIN, UTM, optical, radar, write_band_folder

from lsd.runtime.errors import UsageError
from lsd.runtime.memory import GDAL_CACHE_MB, MemoryPlan, gdal_limits, memory_plan
from lsd.runtime.scoring import ScoringOptions

BLOCK_PX = 256
# Prints the peak of resident memory of the process, in MB, after the command has ended. That of getrusage(2) would hold
# the memory of the test's own process, too, which it was forked from.
PEAK = """
import atexit, re, sys
peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) // 1024
atexit.register(lambda: print('PEAK_MB', peak(), file=sys.stderr))
"""
# GDAL's block cache is the one part that fills as a tile is read, up to its limit: it is set low so that the test sees
# the rest. Measured: 148 MB for 1,024 x 1,024 px, 124 for 1,024 x 8,192 and 134 for 6,144 x 6,144, which is chance.
# What may grow is the picture, at most 1,024 px square (12 MB kept, as much again while it is drawn), and 12 bytes a
# patch. The pixels of the largest tile would be 576 MB as float32.
CACHE_MB = 16
GROWTH_MB = 80


def write_large(path: Path, height: int, width: int) -> None:
    """Four uint16 bands in deflated blocks: noise in the corner, elsewhere stripes or nodata."""
    path.parent.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(1100, 1800, (4, BLOCK_PX, BLOCK_PX)).astype(np.uint16)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "crs": UTM, "transform": ORIGIN, "compress": "deflate"}
    blocks = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX}
    with rasterio.open(path, "w", height=height, width=width, **profile, **blocks) as dataset:
        dataset.descriptions = ("red", "green", "blue", "nir")
        for y in range(0, height, BLOCK_PX):
            stripes = 1400 + 8 * (np.arange(width) % 64)  # one value throughout would be refused as no acquisition
            values = np.broadcast_to(stripes if y < 1024 else 0, (4, BLOCK_PX, width)).astype(np.uint16)
            if y == 0:
                values[:, :, :BLOCK_PX] = noise
            dataset.write(values, window=Window(0, y, width, BLOCK_PX))


@pytest.fixture
def peak_mb(bundle, tmp_path, monkeypatch):
    def measure(height: int, width: int) -> int:
        source, out = tmp_path / f"{height}x{width}", tmp_path / f"out-{height}x{width}"
        write_large(source / f"{L2A_NEW}.tif", height, width)
        ran = ended(start("lsd-run", bundle, source, "-o", out, "--progress", "off", before=PEAK))
        assert ran.code == 0, ran.err
        (line,) = [line for line in ran.err.splitlines() if line.startswith("PEAK_MB")]
        return int(line.split()[1])

    return measure


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_tile(peak_mb, monkeypatch):
    monkeypatch.setenv("GDAL_CACHEMAX", str(CACHE_MB))
    small, wide, large = peak_mb(1024, 1024), peak_mb(1024, 8192), peak_mb(6144, 6144)
    assert wide - small < GROWTH_MB and large - small < GROWTH_MB, (small, wide, large)


def test_the_cache_of_gdal_has_a_limit_of_its_own_unless_the_user_sets_one(monkeypatch):
    for name in ("GDAL_CACHEMAX", "GDAL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with gdal_limits(GDAL_CACHE_MB, None):
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == 256 * 2**20  # in bytes
        assert "GDAL_NUM_THREADS" not in rasterio.env.getenv()
    with gdal_limits(32, 1):
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == 32 * 2**20 and rasterio.env.getenv()["GDAL_NUM_THREADS"] == 1
    monkeypatch.setenv("GDAL_CACHEMAX", "64")
    with gdal_limits(32, None):
        assert "GDAL_CACHEMAX" not in rasterio.env.getenv()


def test_a_limit_lowers_what_is_held_and_never_raises_it():
    asked = ScoringOptions(batch_size=64, window_columns=32, window_rows=4)
    assert memory_plan(None, 200, asked) == MemoryPlan(GDAL_CACHE_MB, asked)
    wide = memory_plan(4000, 200, asked)
    assert wide.gdal_cache_mb == GDAL_CACHE_MB and (wide.scoring.batch_size, wide.scoring.window_columns) == (64, 32)
    tight = memory_plan(400, 200, asked)
    assert tight.gdal_cache_mb == 40 and (tight.scoring.batch_size, tight.scoring.window_columns) == (25, 5)
    assert tight.scoring.window_rows == 1
    with pytest.raises(UsageError, match=r"--max-memory 300 is too little: 200 MB are taken .*; give 344 or more"):
        memory_plan(300, 200, asked)
    least = memory_plan(344, 200, asked)
    assert least.gdal_cache_mb == 17 and (least.scoring.batch_size, least.scoring.window_columns) == (11, 4)


@pytest.mark.slow
def test_a_limit_is_kept_on_a_wide_tile_of_twelve_bands(bundle, tmp_path):
    """Bands of 640 x 8192 px in single files, which GDAL decodes; the same answers as without a limit."""
    folder = tmp_path / "in" / L2A_NEW
    dn, db = optical(640, 8192), radar(640, 8192)
    write_band_folder(folder, dict(zip(("B04", "B03", "B02", "B08"), dn, strict=True)))
    sar = [f"{orbit}_{band}" for orbit in ("desc", "asc") for band in ("vv", "vh", "dvv", "dvh")]
    write_band_folder(folder, {name: db[int(name.endswith("h"))] for name in sar})
    for file in folder.glob("*.tif"):
        rasterio.shutil.copy(file, tmp_path / "packed", driver="GTiff", compress="deflate", zlevel=1)
        (tmp_path / "packed").replace(file)
    peaks, scores = [], []
    for words in ((), ("--max-memory", 300)):
        out = tmp_path / f"out{len(words)}"
        ran = ended(start("lsd-run", bundle, tmp_path / "in", "-o", out, "--progress", "off", *words, before=PEAK))
        assert ran.code == 0, ran.err
        (line,) = [line for line in ran.err.splitlines() if line.startswith("PEAK_MB")]
        peaks.append(int(line.split()[1]))
        scores.append((out / L2A_NEW / "scores.tif").read_bytes())
    assert peaks[1] <= 300 < peaks[0], peaks
    assert scores[0] == scores[1]
