"""Memory of a run kept below what the user allows: by GDAL's cache, and by how much is read and scored at a time.

Sizes were measured on a tile of 10,980 x 10,980 px and 12 bands: a patch in hand takes 1 MB while its statistics are
computed in float64; a column of patches in a row of windows 5 MB, as three windows are held and one of them is made.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import rasterio

from lsd.runtime.errors import UsageError
from lsd.runtime.scoring import ScoringOptions

# GDAL keeps decoded blocks in 5 % of the machine's memory unless told otherwise. A row of patches of a Sentinel-2 tile
# in blocks of 512 px is 4 optical uint16 and 8 radar float32 bands of 10,980 x 512 px: 225 MB, decoded once if it fits.
GDAL_CACHE_MB = 256
_LEAST_CACHE_MB, _LEAST_PATCHES, _LEAST_COLUMNS = 16, 8, 4
_PATCH_MB, _COLUMN_MB = 1.0, 5.0
_PRODUCTS_MB = 100  # scores, picture and products of a large tile, and what libraries take by the way
_MB = 2**20


@dataclass(frozen=True)
class MemoryPlan:
    """gdal_cache_mb: for GDAL's block cache. scoring: what is read and scored at a time."""

    gdal_cache_mb: int
    scoring: ScoringOptions


def memory_plan(max_memory_mb: int | None, used_mb: float, scoring: ScoringOptions) -> MemoryPlan:
    """The plan for a limit in MB (2**20 bytes) of resident memory, None for none; it never raises what was asked.

    Args:
        used_mb: taken already, with the bundle open.
    Raises:
        UsageError: the limit leaves too little to work with.
    """
    if max_memory_mb is None:
        return MemoryPlan(GDAL_CACHE_MB, scoring)
    least_mb = _LEAST_CACHE_MB + _LEAST_PATCHES * _PATCH_MB + _LEAST_COLUMNS * _COLUMN_MB
    left_mb = max_memory_mb - used_mb - _PRODUCTS_MB
    if left_mb < least_mb:
        raise UsageError(
            f"--max-memory {max_memory_mb} is too little: {used_mb:.0f} MB are taken with the bundle open; give "
            f"{used_mb + _PRODUCTS_MB + least_mb:.0f} or more"
        )
    patches, columns = int(left_mb / 4 / _PATCH_MB / scoring.workers), int(left_mb / 4 / _COLUMN_MB)
    return MemoryPlan(
        min(GDAL_CACHE_MB, max(_LEAST_CACHE_MB, int(left_mb / 2.5))),
        replace(
            scoring,
            batch_size=min(scoring.batch_size, max(_LEAST_PATCHES, patches)),
            window_columns=min(scoring.window_columns, max(_LEAST_COLUMNS, columns)),
            window_rows=1,
        ),
    )


def gdal_limits(cache_mb: int, threads: int | None) -> rasterio.Env:
    """GDAL with a block cache and threads of its own, in the thread that enters it; the environment variables
    GDAL_CACHEMAX and GDAL_NUM_THREADS win."""
    limits = {"GDAL_CACHEMAX": cache_mb * 2**20, "GDAL_NUM_THREADS": threads}
    return rasterio.Env(**{key: value for key, value in limits.items() if value and key not in os.environ})


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resident_mb() -> float:
    """Resident memory of this process now; its peak so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / _MB if sys.platform == "darwin" else peak / 1024  # in bytes there, in KiB here (getrusage(2))
    return pages * resource.getpagesize() / _MB
