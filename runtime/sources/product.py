"""A product: the files of one acquisition (or one stack) as found, before their bands are resolved and opened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from lsd.runtime import bands
from lsd.runtime.acquisition.finding import Force
from lsd.runtime.bands import Orbit
from lsd.runtime.errors import LsdError, SourceError
from lsd.runtime.ingest.sentinel1 import RadarUnit
from lsd.runtime.ingest.sentinel2 import DeclaredOffset
from lsd.runtime.tiles import CloudKind, Decision

TIFF_SUFFIXES = (".tif", ".tiff")
# Bands and layers of Sentinel-2 Level-2A products that the models do not use (ESA Sentinel-2 Products Specification);
# B10 exists in Level-1C only: it is known here so that the product can be refused as such.
_UNUSED_BANDS = ("b01", "b1", "b05", "b5", "b06", "b6", "b07", "b7", "b8a", "b09", "b9", "b10", "b11", "b12")
CLOUD_LAYERS: dict[str, CloudKind] = {"scl": "scl", "cloud_mask": "mask"}  # cloud_mask is Major TOM's
IGNORED = frozenset((*_UNUSED_BANDS, "aot", "wvp", "tci"))
_ORBIT_FREE = frozenset(("vv", "vh", "dvv", "dvh"))  # radar names that need a direction of flight


@dataclass(frozen=True)
class SourceOptions:
    """What the user declares about the sources.

    s2_offset: `present` if the DN hold the 1,000 of baseline >= 04.00, `absent` if they do not, `reflectance` if the
    values are reflectance 0..1, `auto` to decide by evidence. radar_unit: of radar levels that do not tell it. orbit:
    direction of flight of radar bands whose names and metadata do not tell it. event_time: UTC; decides what is before
    and after. pre_scenes: radar scenes before the event whose mean power is subtracted, at most. force_coarse_radar:
    take radar of 30 m. remote: open assets over the network. force: acquisition checks that are overruled, of scenes
    that are looked at here because no later look sees them.
    """

    s2_offset: DeclaredOffset = "auto"
    orbit: Orbit | None = None
    radar_unit: RadarUnit | None = None
    event_time: datetime | None = None
    pre_scenes: int = 1
    force_coarse_radar: bool = False
    remote: bool = False
    force: Force = frozenset()


@dataclass(frozen=True)
class Declared:
    """What a tile file says about one of its parts; None where it says nothing. Wins over `SourceOptions`.

    time: UTC. relative_orbit: 1..175. role: `pre` or `post` for radar, checked against the times.
    """

    s2_offset: DeclaredOffset | None = None
    radar_unit: RadarUnit | None = None
    orbit: Orbit | None = None
    relative_orbit: int | None = None
    time: datetime | None = None
    role: Literal["pre", "post"] | None = None


@dataclass(frozen=True)
class TileFailure:
    """A tile that cannot be used, with the reason; the other tiles go on."""

    id: str
    error: LsdError


@dataclass(frozen=True)
class BandFile:
    """One band as found: its name in the source, the file and the 1-based band of the file."""

    name: str
    path: Path
    index: int

    @property
    def is_ignored(self) -> bool:
        """True for known Sentinel-2 bands that the models do not use."""
        return self.name.casefold() in IGNORED

    @property
    def cloud_kind(self) -> CloudKind | None:
        """Kind of a cloud layer, None for anything else."""
        return CLOUD_LAYERS.get(self.name.casefold())

    @property
    def needs_orbit(self) -> bool:
        """True for `VV`, `VH`, `dVV`, `dVH`."""
        return self.name.casefold() in _ORBIT_FREE

    @property
    def is_optical(self) -> bool:
        """True for red, green, blue and near infrared under any of their names."""
        known = bands.is_known(self.name) and not self.needs_orbit
        return known and bands.BY_NAME[bands.resolve(self.name)].modality == "optical"


@dataclass(frozen=True)
class Product:
    """Files of one acquisition, a cloud layer among them where there is one.

    metadata: JSON beside the files, STAC properties, keys of a SAFE or tags of a stack, unread keys included.
    """

    name: str
    path: Path
    files: tuple[BandFile, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    declared: Declared = Declared()

    @property
    def names(self) -> tuple[str, ...]:
        """Names that may tell level, baseline and time: of the product, then of its files."""
        return tuple(dict.fromkeys([self.name, *(file.path.stem for file in self.files)]))


@dataclass(frozen=True)
class Candidate:
    """What may become one tile: products that belong together, and why they were joined.

    radar products among them may be of any time and track: `pairs` chooses. event_time: UTC, where a tile file states
    it; bbox: west, south, east, north in degrees (WGS 84) to which the tile is cut, None for all of it. loose: a
    product found by itself, which may be joined to others of its place.
    """

    id: str
    products: tuple[Product, ...]
    decisions: tuple[Decision, ...] = ()
    event_time: datetime | None = None
    bbox: tuple[float, float, float, float] | None = None
    loose: bool = False


def band_name_of(stem: str) -> str | None:
    """The longest known band name that a file stem ends in: `x_desc_vv` -> `desc_vv`; None if there is none."""
    parts = re.split(r"[_.\-]", stem)
    for length in (3, 2, 1):
        name = "_".join(parts[-length:])
        if len(parts) >= length and (
            bands.is_known(name) or name.casefold() in IGNORED or name.casefold() in CLOUD_LAYERS
        ):
            return name
    return None


def read_metadata(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        SourceError: it cannot be read or is no JSON object.
    """
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"metadata {path} cannot be read ({error}); fetch it again or remove it") from error
    if not isinstance(metadata, dict):
        raise SourceError(f"metadata {path} should hold a JSON object, holds {type(metadata).__name__}")
    return metadata
