"""A simulated event with planted slides: two radar scenes a track, one optical scene after it, and a tile file.

Texture and radiometry are those of real rows of the published table (`lsd.train.surrogate`): rows without a slide as
ground, rows with one where slides are planted. A bright point, which no row has, stands at a place that is known to a
fraction of a metre. Every file says that it is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine

from lsd.benchmarks.simulated_scenes import (
    ORIGIN,
    Pixels,
    mosaic,
    moved,
    needed_statistics,
    patches_of,
    radar_pass,
    scene_levels,
    write_optical,
    write_radar,
    write_tile_file,
)
from lsd.runtime.bands import PATCH_GSD_M, PATCH_SIZE_PX, Orbit
from lsd.runtime.haze import is_hazy
from lsd.train.configuration import SEA_STATISTIC
from lsd.train.metrics import is_open_sea
from lsd.train.samples import Samples
from lsd.train.table import read_table

MARGIN_PX = 24  # by which the radar reaches beyond the optical scene on every side
SHIFTED_PX = (0.37, -0.29)  # of the radar's grid against the optical one: east, south
PLOT_DB = -12.0  # of even ground around the bright point, before and after
PLOT_RADIUS_M = 150.0
POINT_DB = 25.0  # of the bright point above its ground, at its peak
POINT_SIGMA_M = 12.0
HELD_OUT = 5  # every fifth row of the table may be planted; a bundle for honest figures trains on the others


@dataclass(frozen=True)
class Event:
    """Where things are.

    tile_file: what lsd-run is given. slides: (row, column) of the cells with a planted slide. point_cell: cell of the
    bright point, neither slide nor plain ground. point_m: its east and north. shape: rows and columns of cells.
    """

    tile_file: Path
    slides: frozenset[tuple[int, int]]
    point_cell: tuple[int, int]
    point_m: tuple[float, float]
    shape: tuple[int, int]

    def outline(self, row: int, column: int) -> tuple[float, float, float, float]:
        """West, south, east, north of a cell in metres."""
        size = PATCH_SIZE_PX * PATCH_GSD_M
        west, north = ORIGIN.c + column * size, ORIGIN.f - row * size
        return west, north - size, west + size, north


def held_out(n: int) -> np.ndarray:
    """bool (n,): rows of the table that may be planted."""
    return np.asarray(np.arange(n) % HELD_OUT == 0)


def build_event(
    folder: Path,
    table: Path,
    orbits: Sequence[Orbit] = ("descending",),
    rows: int = 6,
    columns: int = 7,
    slides: int = 12,
    seed: int = 0,
    radar_unit: str | None = None,
    shift_px: tuple[float, float] = SHIFTED_PX,
) -> Event:
    """Write the scenes and the tile file.

    Args:
        table: the published feature table.
        orbits: directions of flight of the radar pairs.
        slides: cells with a planted slide; the others but one are ground without.
        radar_unit: None: dB without a declared unit; `power`: linear power, declared.
        shift_px: by which the radar's grid lies east and south of the optical one.
    """
    rng = np.random.default_rng(seed)
    samples = read_table(table, needed_statistics())
    chosen, planted = _cells(samples, rows * columns, slides, rng)
    bands = mosaic(patches_of(samples, chosen, seed), columns)
    free = [cell for cell in range(1, rows * columns) if cell not in planted]
    point = int(rng.choice(free))
    cell = divmod(point, columns)
    place = (
        ORIGIN.c + (cell[1] * PATCH_SIZE_PX + 30.62) * PATCH_GSD_M,
        ORIGIN.f - (cell[0] * PATCH_SIZE_PX + 33.27) * PATCH_GSD_M,
    )

    scl = np.full(bands["red"].shape, 4, np.uint8)  # vegetation: clear
    optical = write_optical(folder, bands, scl=scl)
    transform = moved(ORIGIN, shift_px[0] - MARGIN_PX, shift_px[1] - MARGIN_PX)
    radar = []
    for orbit in orbits:
        for after in (False, True):
            levels = [np.pad(one, MARGIN_PX, mode="reflect") for one in scene_levels(bands, orbit, after)]
            levels = [_with_point(one, transform, place, after) for one in levels]
            if radar_unit == "power":
                levels = [(10 ** (one / 10)).astype(np.float32) for one in levels]
            radar.append(write_radar(folder, radar_pass(orbit, after), *levels, transform, radar_unit))
    tile_file = write_tile_file(folder, optical, {"radar": [f'"{one.name}"' for one in radar]})
    cells = frozenset(divmod(one, columns) for one in planted)
    return Event(tile_file, cells, cell, place, (rows, columns))


def _cells(samples: Samples, n: int, slides: int, rng: np.random.Generator) -> tuple[np.ndarray, frozenset[int]]:
    """Row of the table for every cell, and the cells with a slide: held-out rows of clear land."""
    statistics = samples.statistics
    fit = held_out(len(samples)) & ~is_open_sea(statistics[SEA_STATISTIC])
    fit &= ~is_hazy(statistics["red_mean"], statistics["blue_mean"])
    fit &= ~is_hazy(statistics["blue_mean"], statistics["red_mean"])
    slide_rows = rng.choice(np.flatnonzero(fit & (samples.labels == 1)), slides, replace=False)
    chosen = rng.choice(np.flatnonzero(fit & (samples.labels == 0)), n, replace=False)
    cells = rng.choice(n, slides, replace=False)
    chosen[cells] = slide_rows
    return chosen, frozenset(int(cell) for cell in cells)


def _with_point(level_db: Pixels, transform: Affine, place: tuple[float, float], after: bool) -> Pixels:
    """A level in dB with even ground around a place, and after the event a Gaussian point of power in its middle.

    It is sampled at the middles of the pixels.
    """
    y, x = np.mgrid[: level_db.shape[0], : level_db.shape[1]]
    east = transform.c + (x + 0.5) * transform.a
    north = transform.f + (y + 0.5) * transform.e
    distance = (east - place[0]) ** 2 + (north - place[1]) ** 2
    ground = np.where(distance < PLOT_RADIUS_M**2, 10 ** (PLOT_DB / 10), 10 ** (level_db.astype(np.float64) / 10))
    point = 10 ** ((PLOT_DB + POINT_DB) / 10) * np.exp(-distance / (2 * POINT_SIGMA_M**2)) if after else 0.0
    return np.asarray(10 * np.log10(ground + point), np.float32)
