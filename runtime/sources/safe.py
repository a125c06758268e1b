"""Sentinel-2 SAFE: the folder as ESA delivers it, or its zip, read in place.

Layout (ESA Sentinel-2 Products Specification Document): MTD_MSIL2A.xml, and below GRANULE/TILE/IMG_DATA the folders
R10m and R20m with one JPEG 2000 a band. Products before baseline 02.07 begin file names with `L2A_`.
"""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from lsd.runtime.errors import SourceError, TileError, UnprovenUnitError
from lsd.runtime.ingest.raster import in_zip
from lsd.runtime.ingest.sentinel2 import refuse_level_1c
from lsd.runtime.sources.memo import Memo
from lsd.runtime.sources.product import BandFile, Product

METADATA = "MTD_MSIL2A.xml"
LEVEL_1C_METADATA = "MTD_MSIL1C.xml"
# band -> folder and resolution
BANDS = {"B02": "10m", "B03": "10m", "B04": "10m", "B08": "10m"}
# `S2A_MSIL2A_....SAFE`, `S2A_USER_PRD_MSIL2A_....SAFE`; in a zip also a part of one, or its content without the folder
_NAME = re.compile(r"S2[A-D]_.*MSIL(1C|2A)", re.IGNORECASE)
_SAFE = re.compile(r"S2[A-D]_.*\.SAFE", re.IGNORECASE)
_SAFE_1 = re.compile(r"S1[A-D]_.*\.SAFE", re.IGNORECASE)
_IN_ZIP = re.compile(rf"(^|/)({METADATA}|{LEVEL_1C_METADATA}|S2[A-D]_[^/]*\.SAFE/.*|GRANULE/.*)$", re.IGNORECASE)
MAX_XML_BYTES = 16 * 2**20  # a real one has 60 kB
KEYS = (
    "PRODUCT_URI", "PROCESSING_BASELINE", "PRODUCT_START_TIME", "PRODUCT_TYPE",
    "SENSING_ORBIT_NUMBER", "SENSING_ORBIT_DIRECTION",
)  # fmt: skip
BAND_ID = {"B02": "1", "B03": "2", "B04": "3", "B08": "7"}  # band_id of BOA_ADD_OFFSET: B01 is 0, B8A is 8
QUANTIFICATION = 10_000.0
QUANTIFICATION_TAGS = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")  # the latter before baseline 02.07
# What zipfile raises for an archive that is cut, damaged, encrypted or packed in an unknown way
ZIP_ERRORS = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def is_safe(path: Path) -> bool:
    """True for a Sentinel-2 SAFE folder or a zip that holds one; by names alone, whole or not.

    A folder that only bears a product's name (BigEarthNet's patches do) is none; a zip that cannot be listed is one by
    its name.
    """
    names = _listed(path)
    if names is None:
        return path.suffix.casefold() == ".zip" and _NAME.match(path.name) is not None
    if path.is_dir():
        return _SAFE.fullmatch(path.name) is not None or not {METADATA, LEVEL_1C_METADATA, "GRANULE"}.isdisjoint(names)
    return any(_IN_ZIP.search(name) for name in names)


def is_sentinel1_safe(path: Path) -> bool:
    """True for a Sentinel-1 SAFE folder or a zip that holds one: Level-1, not geocoded."""
    names = _listed(path) or []
    if path.is_dir():
        return _SAFE_1.fullmatch(path.name) is not None or {"manifest.safe", "measurement"} <= set(names)
    return any(_SAFE_1.fullmatch(part) for name in names for part in PurePosixPath(name).parts[:-1])


def refuse_sentinel1_safe(path: Path) -> TileError:
    """Why a Sentinel-1 SAFE cannot be used."""
    return TileError(
        f"{path} is a Sentinel-1 Level-1 product (SAFE): neither calibrated nor geocoded; calibrate to sigma0 and "
        "geocode it first (e.g. SNAP: Calibration, Range-Doppler Terrain Correction), or fetch a terrain-corrected one"
    )


def product_from_safe(path: Path, memo: Memo | None = None) -> Product:
    """The 10 m bands and the scene classification of a SAFE folder or zip.

    `metadata` holds the keys of `KEYS`, `BOA_ADD_OFFSET` where there is one, and `safe`: True.

    Args:
        memo: of metadata that did not change; they are not parsed again.
    Raises:
        TileError: half a SAFE, several granules, Level-1C, Sentinel-1, or metadata that make no sense.
        UnprovenUnitError: another quantification, or offsets that differ between bands.
        SourceError: a zip or the metadata that cannot be read.
    """
    if is_sentinel1_safe(path):
        raise refuse_sentinel1_safe(path)
    names, place, read = _contents(path)
    name = re.sub(r"(\.SAFE)?(\.zip)?$", "", path.name, flags=re.IGNORECASE)
    refuse_level_1c(str(path), [name, *(one for one in names if one.endswith(LEVEL_1C_METADATA))], {}, ())
    xml = [one for one in names if PurePosixPath(one).name == METADATA]
    files = {band: _image(names, band, resolution) for band, resolution in BANDS.items()}
    files["SCL"] = _image(names, "SCL", "20m") or _image(names, "SCL", "60m")
    missing = ([] if xml else [METADATA]) + [f"{band} at 10 m" for band in BANDS if not files[band]]
    if missing:
        raise TileError(
            f"{path} is half a SAFE: it lacks {', '.join(missing)}; fetch the product again, or unpack it whole"
        )
    for what, found in ((METADATA, xml), *files.items()):
        if len(found) > 1:
            raise TileError(
                f"{path} holds {what} {len(found)} times ({found[0]}, {found[1]}); a SAFE of one granule is expected: "
                "give each by itself"
            )

    def parsed() -> dict[str, Any]:
        return _metadata(path, read(xml[0]))

    metadata = parsed() if memo is None else memo.of((str(path), _metadata), [place(xml[0])], parsed)
    refuse_level_1c(str(path), [name], metadata, ())
    bands = tuple(BandFile(band, place(found[0]), 1) for band, found in files.items() if found)
    return Product(str(metadata.get("PRODUCT_URI") or name).removesuffix(".SAFE"), path, bands, metadata)


def _listed(path: Path) -> list[str] | None:
    """Names directly in a folder, or all in a zip; None where they cannot be had."""
    try:
        if path.is_dir():
            return [child.name for child in path.iterdir()]
        if path.suffix.casefold() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
    except ZIP_ERRORS:
        pass
    return None


def _contents(path: Path) -> tuple[list[str], Callable[[str], Path], Callable[[str], bytes]]:
    """Names of the files of a SAFE, how to open one with GDAL, and how to read a small one."""
    if path.is_dir():
        names = [one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()]
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [one.filename for one in archive.infolist() if not one.is_dir()]
        except ZIP_ERRORS as error:
            raise SourceError(f"{path} cannot be read as zip ({error}); is it complete? Fetch it again") from error

    def read(name: str) -> bytes:
        try:
            if path.is_dir():
                with (path / name).open("rb") as plain:
                    return plain.read(MAX_XML_BYTES + 1)
            with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                return file.read(MAX_XML_BYTES + 1)
        except ZIP_ERRORS as error:
            raise SourceError(f"{path}: {name} cannot be read ({error}); fetch the product again") from error

    def place(name: str) -> Path:
        return path / name if path.is_dir() else in_zip(path, name)

    # macOS leaves a hidden ._NAME beside NAME
    return sorted(name for name in names if not PurePosixPath(name).name.startswith(".")), place, read


def _image(names: list[str], band: str, resolution: str) -> list[str]:
    """Files of a band: `.../IMG_DATA/R10m/T33NZA_20220706T085611_B02_10m.jp2`."""
    wanted = re.compile(rf"(^|/)IMG_DATA/R{resolution}/[^/]*_{band}_{resolution}\.(jp2|tiff?)$", re.IGNORECASE)
    return [name for name in names if wanted.search(name)]


def _metadata(path: Path, xml: bytes) -> dict[str, Any]:
    """What MTD_MSIL2A.xml says, by the tag's name without namespace."""
    if len(xml) > MAX_XML_BYTES:
        raise TileError(
            f"{path}: {METADATA} is larger than {MAX_XML_BYTES // 2**20} MiB, as no product's; do not trust it"
        )
    try:
        if b"<!DOCTYPE" in xml:
            raise ElementTree.ParseError("it declares entities, as no product's does")
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise TileError(f"{path}: {METADATA} is not XML ({error}); fetch the product again") from error
    found: dict[str, Any] = {"safe": True}
    offsets: dict[str, float] = {}
    for element in root.iter():
        tag, text = str(element.tag).rpartition("}")[2], (element.text or "").strip()
        if tag in KEYS and tag not in found and text:
            found[tag] = text
        elif tag == "BOA_ADD_OFFSET" and text:
            offsets[element.get("band_id", "")] = _number(path, tag, text)
        elif tag in QUANTIFICATION_TAGS and text and _number(path, tag, text) != QUANTIFICATION:
            raise UnprovenUnitError(
                f"{path}: {tag} is {text}, expected {QUANTIFICATION:g}; convert the bands to reflectance x 10,000 first"
            )
    ours = {offsets[key] for key in BAND_ID.values() if key in offsets} or set(offsets.values())
    if len(ours) > 1:
        raise UnprovenUnitError(f"{path}: BOA_ADD_OFFSET differs between bands ({sorted(ours)}); expected one value")
    if ours:
        found["BOA_ADD_OFFSET"] = ours.pop()
    return found


def _number(path: Path, tag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise TileError(
            f"{path}: {tag} in {METADATA} is {text!r}, expected a number; fetch the product again"
        ) from error
