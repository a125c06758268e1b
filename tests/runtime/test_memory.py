"""Memory of a run does not grow with the tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import ended, start
from rasterio.windows import Window
from tiles import L2A_NEW, ORIGIN, UTM

BLOCK_PX = 256
# Prints the peak of resident memory of the process, in MB, after the command has ended.
PEAK = """
import atexit, resource, sys
atexit.register(lambda: print('PEAK_MB', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr))
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
    from lsd.runtime import run

    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with run._bounded_cache():
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == 256 * 2**20  # in bytes
    monkeypatch.setenv("GDAL_CACHEMAX", "64")
    with run._bounded_cache():
        assert "GDAL_CACHEMAX" not in rasterio.env.getenv()
