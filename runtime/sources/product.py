"""A product: the files of one acquisition (or one stack) as found, before their bands are resolved and opened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsd.runtime import bands
from lsd.runtime.bands import Orbit
from lsd.runtime.errors import LsdError, SourceError
from lsd.runtime.ingest.sentinel2 import DeclaredOffset
from lsd.runtime.tiles import Decision

TIFF_SUFFIXES = (".tif", ".tiff")
# Bands and layers of Sentinel-2 Level-2A products that the models do not use (ESA Sentinel-2 Products Specification);
# cloud_mask is Major TOM's. B10 exists in Level-1C only: it is known here so that the product can be refused as such.
_UNUSED_BANDS = ("b01", "b1", "b05", "b5", "b06", "b6", "b07", "b7", "b8a", "b09", "b9", "b10", "b11", "b12")
IGNORED = frozenset((*_UNUSED_BANDS, "scl", "aot", "wvp", "tci", "cloud_mask"))
_ORBIT_FREE = frozenset(("vv", "vh", "dvv", "dvh"))  # radar names that need a direction of flight


@dataclass(frozen=True)
class SourceOptions:
    """What the user declares about the sources.

    s2_offset: `present` if the DN hold the 1,000 of baseline >= 04.00, `absent` if they do not, `auto` to decide by
    evidence. orbit: direction of flight of radar bands whose names and metadata do not tell it.
    """

    s2_offset: DeclaredOffset = "auto"
    orbit: Orbit | None = None


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
    def needs_orbit(self) -> bool:
        """True for `VV`, `VH`, `dVV`, `dVH`."""
        return self.name.casefold() in _ORBIT_FREE


@dataclass(frozen=True)
class Product:
    """Files of one acquisition. metadata: JSON beside the files or the tags of a stack, unread keys included."""

    name: str
    path: Path
    files: tuple[BandFile, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that may tell level, baseline and time: of the product, then of its files."""
        return tuple(dict.fromkeys([self.name, *(file.path.stem for file in self.files)]))


@dataclass(frozen=True)
class Candidate:
    """What may become one tile: products that belong together, and why they were joined."""

    id: str
    products: tuple[Product, ...]
    decisions: tuple[Decision, ...] = ()


def band_name_of(stem: str) -> str | None:
    """The longest known band name that a file stem ends in: `x_desc_vv` -> `desc_vv`; None if there is none."""
    parts = re.split(r"[_.\-]", stem)
    for length in (3, 2, 1):
        name = "_".join(parts[-length:])
        if len(parts) >= length and (bands.is_known(name) or name.casefold() in IGNORED):
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
