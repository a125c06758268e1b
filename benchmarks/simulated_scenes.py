"""Scenes made of surrogate patches, written as they would arrive: a Sentinel-2 folder, Sentinel-1 folders, a tile file.

Radiometry is that of rows of the published table, place and time are made up. Everything written says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, BY_NAME, PATCH_GSD_M, PATCH_SIZE_PX, Orbit, of_modality
from lsd.train.samples import Samples
from lsd.train.surrogate import INDICES, STATISTICS, rows_of, surrogates

Pixels = NDArray[np.float32]

CRS = "EPSG:32633"
ORIGIN = Affine(PATCH_GSD_M, 0, 500_000, 0, -PATCH_GSD_M, 4_600_000)
EVENT_TIME = "2022-07-01T00:00:00Z"
L2A_NAME = "S2A_MSIL2A_20220706T095041_N0400_R079_T33TVG_20220706T160041"
CARD = """Simulated event. No ground looks like this.

The pixels are surrogates: they have the per-band statistics of rows of a public feature table and a made-up texture.
Place, times, orbits and product names are made up. For tests of software only; derived from data under CC-BY-SA 4.0.
"""
SHORT: dict[Orbit, str] = {"descending": "desc", "ascending": "asc"}
# Times, absolute and relative orbit of Sentinel-1A at longitude 15: 5.1 h UTC descending, 17.1 h ascending
_PASSES: dict[Orbit, tuple[str, str, int, int]] = {
    "descending": ("20220626T0508", "20220708T0508", 43_929, 107),
    "ascending": ("20220627T1708", "20220709T1708", 43_820, 173),
}


@dataclass(frozen=True)
class RadarPass:
    """One simulated acquisition: its folder name and the metadata beside the files."""

    name: str
    metadata: Mapping[str, Any]


def radar_pass(orbit: Orbit, after: bool, orbit_number: int = 0) -> RadarPass:
    """The pass of one direction before or after `EVENT_TIME`; `orbit_number` counts orbits away from its track."""
    before_time, after_time, absolute, relative = _PASSES[orbit]
    time = after_time if after else before_time
    absolute += (175 if after else 0) + orbit_number
    metadata = {
        "note": "simulated",
        "instrumentMode": "IW",
        "transmitterReceiverPolarisation": ["VV", "VH"],
        "platform_number": "A",
        "orbitNumber_start": absolute,
        "relativeOrbitNumber_start": relative + orbit_number,
        "orbitProperties_pass": orbit.upper(),
        "S1TBX_Calibration_vers": "7.0.2",
    }
    return RadarPass(f"S1A_IW_GRDH_1SDV_{time}00_{time}25_{absolute:06d}_0ABCDE_51A1", metadata)


def needed_statistics() -> list[str]:
    """Names of the table's statistics that surrogates are made of."""
    return [f"{channel}_{name}" for channel in (*BAND_NAMES, *INDICES) for name in STATISTICS]


def patches_of(samples: Samples, rows: NDArray[np.intp], seed: int) -> Pixels:
    """Surrogates float32 (n, 12, 64, 64) of some rows of a table that holds `needed_statistics`."""
    chosen = {name: samples.statistics[name][rows] for name in needed_statistics()}
    indices = {name: rows_of(chosen, (name,))[:, 0] for name in INDICES}
    return surrogates(rows_of(chosen), BAND_NAMES, np.random.default_rng(seed), None, indices)


def mosaic(patches: Pixels, columns: int) -> dict[str, Pixels]:
    """Band -> float32 (y, x): patches (n, 12, 64, 64) side by side, row by row; n is a multiple of `columns`."""
    n, size = len(patches), PATCH_SIZE_PX
    grid = patches.reshape(n // columns, columns, len(BAND_NAMES), size, size)
    placed = grid.transpose(2, 0, 3, 1, 4).reshape(len(BAND_NAMES), n // columns * size, columns * size)
    return dict(zip(BAND_NAMES, placed, strict=True))


def moved(transform: Affine, columns: float, rows: float, factor: float = 1) -> Affine:
    """A north-up transform that begins so many pixels further right and down, with pixels `factor` times as large."""
    t = transform
    return Affine(t.a * factor, 0, t.c + columns * t.a, 0, t.e * factor, t.f + rows * t.e)


def write_band(
    path: Path, pixels: NDArray[Any], transform: Affine = ORIGIN, unit: str | None = None, nodata: float | None = None
) -> Path:
    """A single-band GeoTIFF in `CRS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=1,
        dtype=pixels.dtype,
        crs=CRS,
        transform=transform,
        nodata=nodata,
    ) as dataset:
        dataset.write(pixels, 1)
        if unit is not None:
            dataset.units = (unit,)
        dataset.update_tags(note="simulated")
    return path


def write_optical(
    parent: Path, bands: Mapping[str, Pixels], name: str = L2A_NAME, scl: NDArray[np.uint8] | None = None
) -> Path:
    """A Level-2A folder of the optical bands by their product names (B02, ...); returns it.

    Args:
        name: product name, which tells the baseline.
        scl: scene classification on the grid of the bands; every second pixel of it is written, at 20 m.
    """
    folder = parent / name
    for band in of_modality("optical"):
        stored = np.rint(np.clip(bands[band], 0, 65_535)).astype(np.uint16)
        write_band(folder / f"{BY_NAME[band].product_band}.tif", stored, nodata=0)
    if scl is not None:
        write_band(folder / "SCL.tif", scl[::2, ::2], moved(ORIGIN, 0, 0, 2), nodata=0)
    return folder


def write_radar(
    parent: Path,
    one: RadarPass,
    vv: Pixels,
    vh: Pixels,
    transform: Affine = ORIGIN,
    unit: str | None = None,
) -> Path:
    """A folder of VV.tif and VH.tif, sigma0 as given, with its metadata.json; returns it."""
    folder = parent / one.name
    for channel, pixels in (("VV", vv), ("VH", vh)):
        write_band(folder / f"{channel}.tif", pixels.astype(np.float32), transform, unit, float("nan"))
    (folder / "metadata.json").write_text(json.dumps(one.metadata), encoding="utf-8")
    return folder


def write_tile_file(
    folder: Path, optical: Path | None, parts: Mapping[str, Sequence[str]], event_time: str = EVENT_TIME
) -> Path:
    """`event.tile.toml` that names the parts, and a card that says what they are; returns the tile file.

    Args:
        parts: key (`radar`, `radar_pre`, `radar_post`) -> its scenes, in TOML.
    """
    lines = ["schema_version = 1", 'id = "simulated-event"', f'event_time = "{event_time}"']
    if optical is not None:
        lines.append(f'optical = "{optical.relative_to(folder)}"')
    lines += [f"{key} = [{', '.join(scenes)}]" for key, scenes in parts.items()]
    (folder / "CARD.md").write_text(CARD, encoding="utf-8")
    path = folder / "event.tile.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def scene_levels(bands: Mapping[str, Pixels], orbit: Orbit, after: bool) -> tuple[Pixels, Pixels]:
    """VV and VH in dB of one direction after the event, or before it: the level less its change."""
    short = SHORT[orbit]
    found = []
    for channel in ("vv", "vh"):
        level = bands[f"{short}_{channel}"]
        found.append(level if after else level - bands[f"{short}_d{channel}"])
    return found[0], found[1]


def renamed(one: RadarPass, **metadata: Any) -> RadarPass:
    """The pass with some metadata replaced; None removes a key."""
    merged = {**one.metadata, **metadata}
    return replace(one, metadata={key: value for key, value in merged.items() if value is not None})
