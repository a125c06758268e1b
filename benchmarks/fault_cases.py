"""The faults of METHOD's table, and others that arrive in practice, as they look on disk: names, metadata, pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.simulated_scenes import (
    EVENT_TIME,
    L2A_NAME,
    ORIGIN,
    Pixels,
    RadarPass,
    moved,
    radar_pass,
    renamed,
    scene_levels,
    write_band,
    write_optical,
    write_radar,
    write_tile_file,
)
from lsd.runtime.bands import BY_NAME, PATCH_SIZE_PX, Orbit, of_modality

Bands = Mapping[str, Pixels]
Expected = Literal["same", "refused", "flagged", "other bands", "not scored", "undetectable"]
BOTH: tuple[Orbit, ...] = ("descending", "ascending")
OPPOSITE: dict[Orbit, Orbit] = {"descending": "ascending", "ascending": "descending"}
ROLE = {False: "radar_pre", True: "radar_post"}
OLD_NAME = L2A_NAME.replace("_N0400_", "_N0214_")
CLEAR_SCL, CLOUD_SCL = 4, 9
CLOUD_DN = 7000.0
GAMMA0_NAME = "S1A_IW_{time}_DVP_RTC10_G_gduned_{tail}"  # ASF HyP3: gamma0, dB, unfiltered


def _kept(pixels: Pixels) -> Pixels:
    return pixels


def _pass(orbit: Orbit, after: bool) -> RadarPass:
    return radar_pass(orbit, after)


@dataclass(frozen=True)
class Case:
    """One way in which a scene arrives. What is not stated is as it should be.

    expected: what should come of it (`benchmarks.faults.outcome`; `not scored`: the patches under cloud). optical_name:
    product name. dn: change of the optical DN. reflectance: written as float 0..1. swap_visible: B02 holds red, B04
    blue. cloud, scl: half of the patches under cloud; the class that the layer gives them (None: no layer). orbits;
    before: with scenes from before the event. level: change of levels in dB, of (orbit, after, VV, VH). stored: what
    is written of dB. unit: declared in the file. passes: name and metadata. shift_px: of the radar's grid. parts: key
    and value of a scene in the tile file. ready_made: radar bands by their full names instead of scenes. edit: of the
    bands, before all else. event_time: as the tile file states it.
    """

    name: str
    expected: Expected
    optical_name: str = L2A_NAME
    dn: Callable[[Pixels], Pixels] = _kept
    reflectance: bool = False
    swap_visible: bool = False
    cloud: bool = False
    scl: int | None = CLEAR_SCL
    orbits: tuple[Orbit, ...] = BOTH
    before: bool = True
    level: Callable[[Orbit, bool, Pixels, Pixels], tuple[Pixels, Pixels]] = field(default=lambda o, a, vv, vh: (vv, vh))
    stored: Callable[[Pixels], Pixels] = _kept
    unit: str | None = None
    passes: Callable[[Orbit, bool], RadarPass] = _pass
    shift_px: tuple[float, float] = (0.0, 0.0)
    parts: Callable[[Orbit, bool, str], tuple[str, str]] = field(default=lambda o, a, path: ("radar", f'"{path}"'))
    ready_made: bool = False
    edit: Callable[[Bands], Bands] = field(default=lambda bands: bands)
    event_time: str = EVENT_TIME

    def write(self, folder: Path, bands: Bands) -> Path:
        """Write the scenes of a mosaic and return the tile file, or the folder where there is none."""
        bands = dict(self.edit(bands))
        if self.cloud:
            bands.update(_under_cloud(bands))
        optical = self._write_optical(folder, bands)
        if self.ready_made:
            names = {name: pixels for name, pixels in bands.items() if BY_NAME[name].modality != "optical"}
            paths = {name: write_band(folder / "bands" / f"{name}.tif", pixels) for name, pixels in names.items()}
            lines = [f'{name} = "{path.relative_to(folder)}"' for name, path in paths.items()]
            file = write_tile_file(folder, optical, {}, self.event_time)
            file.write_text(file.read_text(encoding="utf-8") + "[bands]\n" + "\n".join(lines) + "\n", encoding="utf-8")
            return file
        parts: dict[str, list[str]] = {}
        for orbit in self.orbits:
            for after in (False, True) if self.before else (True,):
                path = self._write_radar(folder, bands, orbit, after)
                key, text = self.parts(orbit, after, str(path.relative_to(folder)))
                parts.setdefault(key, []).append(text)
        return write_tile_file(folder, optical, parts, self.event_time)

    def _write_optical(self, folder: Path, bands: Bands) -> Path:
        names = of_modality("optical")
        light = {name: self.dn(bands[name]) for name in names}
        if self.swap_visible:
            light["red"], light["blue"] = light["blue"], light["red"]
        scl = None
        if self.scl is not None:
            scl = np.full(light["red"].shape, CLEAR_SCL, np.uint8)
            scl[_cloudy(scl.shape)] = self.scl
        if not self.reflectance:
            return write_optical(folder, light, self.optical_name, scl)
        for name, pixels in light.items():
            reflectance = ((pixels - 1000) / 10_000).astype(np.float32)
            write_band(folder / self.optical_name / f"{BY_NAME[name].product_band}.tif", reflectance)
        return folder / self.optical_name

    def _write_radar(self, folder: Path, bands: Bands, orbit: Orbit, after: bool) -> Path:
        levels = self.level(orbit, after, *scene_levels(bands, orbit, after))
        return write_radar(
            folder,
            self.passes(orbit, after),
            self.stored(levels[0]),
            self.stored(levels[1]),
            moved(ORIGIN, *self.shift_px),
            self.unit,
        )


def _cloudy(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool (y, x): every second patch, as on a chess board."""
    y, x = np.mgrid[: shape[0], : shape[1]] // PATCH_SIZE_PX
    return np.asarray((y + x) % 2 == 1)


def _under_cloud(bands: Bands) -> dict[str, Pixels]:
    cloudy = _cloudy(bands["red"].shape)
    return {
        name: np.where(cloudy, CLOUD_DN + 0.2 * bands[name], bands[name]).astype(np.float32)
        for name in of_modality("optical")
    }


def _without_offset(dn: Pixels) -> Pixels:
    """Older baselines cut negative reflectance off at DN 1; 0 stays nodata."""
    return np.asarray(np.where(dn > 0, np.maximum(dn - 1000, 1), 0), np.float32)


def _power(db: Pixels) -> Pixels:
    return np.asarray(10 ** (db / 10), np.float32)


def _amplitude(db: Pixels) -> Pixels:
    return np.asarray(10 ** (db / 20), np.float32)


def _with_differences(value: float) -> Callable[[Bands], Bands]:
    """Ready-made bands whose differences are all `value`."""
    return lambda bands: {
        name: np.full_like(pixels, value) if BY_NAME[name].modality == "sar_diff" else pixels
        for name, pixels in bands.items()
    }


def _other_direction(bands: Bands) -> Bands:
    """Ready-made bands with `asc` and `desc` exchanged in their names."""
    swapped = {"desc": "asc", "asc": "desc"}
    return {
        "_".join([swapped.get(name.split("_")[0], name.split("_")[0]), *name.split("_")[1:]]): pixels
        for name, pixels in bands.items()
    }


def _stated_direction(one: RadarPass, orbit: Orbit) -> RadarPass:
    return renamed(one, orbitProperties_pass=OPPOSITE[orbit].upper())


def _declared_direction(orbit: Orbit, after: bool, path: str) -> tuple[str, str]:
    return "radar", f'{{path = "{path}", orbit = "{OPPOSITE[orbit]}"}}'


def _boxed(db: Pixels) -> Pixels:
    """Mean power over 3 x 3 pixels: a simple speckle filter."""
    padded = np.pad(10 ** (db / 10), 1, mode="edge")
    height, width = db.shape
    total = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    return np.asarray(10 * np.log10(total / 9), np.float32)


def _only(when: bool, direction: Orbit | None, change: Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]) -> Any:
    """A change of levels of scenes after (or before) the event, of one direction or both."""

    def changed(orbit: Orbit, after: bool, vv: Pixels, vh: Pixels) -> tuple[Pixels, Pixels]:
        return change(vv, vh) if after is when and direction in (None, orbit) else (vv, vh)

    return changed


def _gamma0(orbit: Orbit, after: bool) -> RadarPass:
    one = radar_pass(orbit, after)
    time = one.name.split("_")[4]
    return renamed(
        RadarPass(GAMMA0_NAME.format(time=time, tail=f"{time[-4:]}"), one.metadata), S1TBX_Calibration_vers=None
    )


def _nan(vv: Pixels, vh: Pixels) -> tuple[Pixels, Pixels]:
    return np.full_like(vv, np.nan), np.full_like(vh, np.nan)


CASES: tuple[Case, ...] = (
    Case("no fault", "same"),
    # METHOD's fault table
    Case("offset removed, name N0214", "same", optical_name=OLD_NAME, dn=_without_offset),
    Case("offset removed, name N0400", "refused", dn=_without_offset),
    Case("offset removed, no name", "same", optical_name="scene", dn=_without_offset),
    Case("offset there, no name", "refused", optical_name="scene"),
    Case("offset twice, name N0400", "flagged", dn=lambda x: x + 1000),
    Case("offset there, name N0214", "flagged", optical_name=OLD_NAME),
    Case("directions swapped in metadata", "refused", passes=lambda o, a: _stated_direction(radar_pass(o, a), o)),
    Case("directions swapped by the user", "refused", parts=_declared_direction),
    Case("directions swapped in band names", "undetectable", ready_made=True, edit=_other_direction),
    Case("VV and VH swapped", "refused", level=lambda o, a, vv, vh: (vh, vv)),
    Case("VV and VH swapped before the event", "flagged", level=_only(False, None, lambda vv, vh: (vh, vv))),
    Case("before and after reversed by the user", "refused", parts=lambda o, a, path: (ROLE[not a], f'"{path}"')),
    Case("before and after reversed in all metadata", "undetectable", passes=lambda o, a: radar_pass(o, not a)),
    Case("red and blue swapped", "flagged", swap_visible=True),
    Case("radar 1 dB too high", "undetectable", level=lambda o, a, vv, vh: (vv + 1, vh + 1)),
    Case("differences NaN", "other bands", ready_made=True, edit=_with_differences(np.nan)),
    Case("differences zero", "other bands", ready_made=True, edit=_with_differences(0.0)),
    Case("differences of one constant", "refused", ready_made=True, edit=_with_differences(0.7)),
    Case("ascending pair NaN", "other bands", level=lambda o, a, *x: _nan(*x) if o == "ascending" else (x[0], x[1])),
    # units
    Case("linear power, declared", "same", stored=_power, unit="power"),
    Case("linear power, undeclared", "refused", stored=_power),
    Case("amplitude, declared", "same", stored=_amplitude, unit="amplitude"),
    Case("power declared as amplitude", "flagged", stored=_power, unit="amplitude"),
    Case("amplitude declared as power", "flagged", stored=_amplitude, unit="power"),
    Case("power declared as dB", "refused", stored=_power, unit="dB"),
    Case("reflectance 0..1, undeclared", "refused", reflectance=True, scl=None),
    # products
    Case("Level-1C", "refused", optical_name=L2A_NAME.replace("MSIL2A", "MSIL1C")),
    Case("terrain-flattened gamma0", "other bands", passes=_gamma0),
    Case("speckle-filtered", "flagged", level=lambda o, a, vv, vh: (_boxed(vv), _boxed(vh))),
    Case("one scene as before and after", "refused", edit=_with_differences(0.0)),
    # clouds
    Case("cloud that the layer calls clear", "not scored", cloud=True),
    Case("cloud without a layer", "not scored", cloud=True, scl=None),
    Case("cloud that the layer marks", "not scored", cloud=True, scl=CLOUD_SCL),
    # scenes
    Case("no scene before the event", "other bands", before=False),
    Case("another track before the event", "other bands", passes=lambda o, a: radar_pass(o, a, 0 if a else 5)),
    Case("descending only", "other bands", orbits=("descending",)),
    Case("ascending only", "other bands", orbits=("ascending",)),
    Case("event after all scenes", "refused", event_time="2022-08-01T00:00:00Z"),
    Case("event before all scenes", "flagged", event_time="2022-06-01T00:00:00Z"),
    Case("radar grid off by part of a pixel", "same", shift_px=(0.37, -0.29)),
)
