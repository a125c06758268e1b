"""The tile file: TOML or JSON that names the parts of one place and time (`runtime/data/tile.schema.json`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lsd.runtime import bands
from lsd.runtime.errors import TileError, UsageError
from lsd.runtime.ingest.times import iso
from lsd.runtime.nearest import did_you_mean
from lsd.runtime.sources.folder import count_of
from lsd.runtime.sources.memo import Memo, ask
from lsd.runtime.sources.part import product_of
from lsd.runtime.sources.product import (
    CLOUD_LAYERS,
    BandFile,
    Candidate,
    Declared,
    Product,
    SourceOptions,
    band_name_of,
)
from lsd.runtime.sources.tile_table import JSON_SUFFIX, TOML_SUFFIX, Part, Table, read_table, shown
from lsd.runtime.tiles import Decision

SUFFIXES = (TOML_SUFFIX, JSON_SUFFIX)
SCHEMA_VERSION = 1
TOP_KEYS = (
    "schema_version",
    "id",
    "event_time",
    "bbox",
    "optical",
    "radar",
    "radar_pre",
    "radar_post",
    "bands",
    "clouds",
)
OPTICAL_KEYS = ("path", "time", "s2_offset")
RADAR_KEYS = ("path", "time", "radar_unit", "orbit", "relative_orbit")
BAND_KEYS = ("path", "band")
CLOUD_KEYS = ("path", "band", "kind")
ROLES: dict[str, Literal["pre", "post"] | None] = {"radar": None, "radar_pre": "pre", "radar_post": "post"}
RELATIVE_ORBITS = 175  # Sentinel-1: orbits in one repeat cycle of 12 days
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # becomes the name of a folder
_LAYER = {kind: name for name, kind in CLOUD_LAYERS.items()}


def is_tile_file(path: Path) -> bool:
    """True if the name ends in `.tile.toml` or `.tile.json`; the content is not looked at."""
    return path.name.casefold().endswith(SUFFIXES) and not path.name.startswith(".") and not path.is_dir()


def candidate_of_tile_file(path: Path, options: SourceOptions, memo: Memo | None = None) -> Candidate:
    """The tile that a tile file describes; its parts are found, their pixels are not read.

    Raises:
        SourceError: the file cannot be read, or the file of a part is missing.
        TileError: it is no TOML or JSON, or a key or value is not what the schema says.
        BandError: a band is unknown or cannot be told by name.
        UsageError: `options.event_time` differs from the file's.
    """
    stated = Table(path, "", read_table(path))
    stated.refuse_unknown(TOP_KEYS)
    version = stated.required("schema_version", int)
    if version != SCHEMA_VERSION:
        raise stated.error("schema_version", f"should be {SCHEMA_VERSION}, is {version}; update lsd-edge")
    tile_id = stated.optional("id", str) if "id" in stated.values else path.name[: -len(TOML_SUFFIX)]
    if not ID.fullmatch(tile_id):
        raise stated.error(
            "id", f"should be at most 100 letters, digits, '.', '_' and '-', is {tile_id!r}; give another"
        )
    event_time = stated.time("event_time")
    if event_time is not None and options.event_time not in (None, event_time):
        raise UsageError(
            f"--event-time {iso(options.event_time)} differs from event_time {iso(event_time)} of {path}; "
            "leave the option out, or correct the file"
        )
    decisions: list[Decision] = []
    products = [*_optical(stated, options, memo), *_ready_made(stated, tile_id, memo)]
    if "clouds" in stated.values:
        if not any(file.is_optical for one in products for file in one.files):
            raise stated.error("clouds", "are given without optical bands; add optical, or leave them out")
        products[0], notes = _with_clouds(products[0], stated.part("clouds", CLOUD_KEYS), memo)
        decisions += notes
    for key, role in ROLES.items():
        for part in stated.parts(key, RADAR_KEYS):
            products.append(_product(part, options, role, memo))
    if not products:
        raise TileError(f"{path}: no part is named; give optical, radar, radar_pre, radar_post or bands")
    _refuse_twice(path, products)
    return Candidate(tile_id, tuple(products), tuple(decisions), event_time, _bbox(stated))


def _product(part: Part, options: SourceOptions, role: Literal["pre", "post"] | None, memo: Memo | None) -> Product:
    """The product at a part's path, with what the file declares about it."""
    number = part.optional("relative_orbit", int)
    if number is not None and not 1 <= number <= RELATIVE_ORBITS:
        raise part.error("relative_orbit", f"should be 1..{RELATIVE_ORBITS}, is {number}")
    unit, orbit, time = part.choice("radar_unit"), part.choice("orbit"), part.time("time")
    declared = Declared(part.choice("s2_offset"), unit, orbit, number, time, role)
    return replace(product_of(part.path, options, memo), declared=declared)


def _optical(stated: Table, options: SourceOptions, memo: Memo | None) -> list[Product]:
    return [_product(stated.part("optical", OPTICAL_KEYS), options, None, memo)] if "optical" in stated.values else []


def _ready_made(stated: Table, tile_id: str, memo: Memo | None) -> list[Product]:
    """One product of all single bands, under their canonical names."""
    given = stated.optional("bands", dict)
    if given is None:
        return []
    table = Table(stated.file, "bands", given)
    files: dict[str, BandFile] = {}
    for alias in given:
        if alias.casefold() in ("vv", "vh", "dvv", "dvh"):
            raise table.error(alias, f"does not say the direction of flight; name it desc_{alias} or asc_{alias}")
        if not bands.is_known(alias):
            known = (*bands.BAND_NAMES, *(name for band in bands.BANDS for name in band.aliases))
            raise table.error(alias, f"is no band{did_you_mean(alias, known)} (bands: {', '.join(bands.BAND_NAMES)})")
        name = bands.resolve(alias)
        if name in files:
            raise table.error(alias, f"gives {name} a second time; remove one")
        part = table.part(alias, BAND_KEYS)
        files[name] = BandFile(name, part.path, _index(part, "band", memo))
    if not files:
        raise stated.error("bands", "is empty; name a band, or leave it out")
    return [Product(f"{tile_id} bands", stated.file, tuple(files.values()))]


def _index(part: Part, key: str, memo: Memo | None) -> int:
    """1-based band of a part's file: as stated, else the only one."""
    count = ask(part.path, count_of, memo)
    index = part.optional(key, int) if key in part.values else None
    if index is None and count > 1:
        raise TileError(f"{part.file}: {part.place} has {count} bands in {part.path}; say which: {{path, band = 1}}")
    if index is not None and not 1 <= index <= count:
        raise part.error(key, f"should be 1..{count}, is {index}")
    return index or 1


def _with_clouds(product: Product, part: Part, memo: Memo | None) -> tuple[Product, list[Decision]]:
    """The product with a cloud layer, which takes the place of one of its own."""
    path = part.path
    kind = part.choice("kind")
    if kind is None:
        kind = CLOUD_LAYERS.get((band_name_of(path.stem) or "").casefold())
    if kind is None:
        raise part.error("kind", f"is missing, and {path.name} does not tell it; give kind = 'scl' or 'mask'")
    own = [file for file in product.files if file.cloud_kind is not None]
    others = tuple(file for file in product.files if file.cloud_kind is None)
    layer = BandFile(_LAYER[kind], path, _index(part, "band", memo))
    choice = f"{path.name} read as {'SCL' if kind == 'scl' else 'mask'}"
    notes = [Decision("clouds", choice, f"named by {part.file.name}")]
    notes += [Decision(product.name, f"own layer {file.name} not used", "the tile file names another") for file in own]
    return replace(product, files=(*others, layer)), notes


def _refuse_twice(file: Path, products: Iterable[Product]) -> None:
    """Raise TileError if two parts are the same file or folder."""
    seen: set[Path] = set()
    for product in products:
        path = product.path.resolve()
        if path in seen:
            raise TileError(f"{file}: {product.path} is named twice; each acquisition is one part: remove one")
        seen.add(path)


def _bbox(stated: Table) -> tuple[float, float, float, float] | None:
    values = stated.optional("bbox", list)
    if values is None:
        return None
    numbers = [one for one in values if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if len(values) == len(numbers) == 4:
        west, south, east, north = map(float, numbers)
        if -180 <= west < east <= 180 and -90 <= south < north <= 90:
            return west, south, east, north
    raise stated.error("bbox", f"should be west, south, east, north in degrees, is {shown(values)}")
