"""Sentinel-2 SAFE: the folder as ESA delivers it, or its zip, read in place.

Layout (ESA Sentinel-2 Products Specification Document): MTD_MSIL2A.xml, and below GRANULE/TILE/IMG_DATA the folders
R10m and R20m with one JPEG 2000 a band. Products before baseline 02.07 begin file names with `L2A_`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from lsd.runtime.errors import SourceError, TileError, UnprovenUnitError
from lsd.runtime.ingest.raster import in_zip
from lsd.runtime.ingest.sentinel2 import refuse_level_1c
from lsd.runtime.sources.product import BandFile, Product

METADATA = "MTD_MSIL2A.xml"
LEVEL_1C_METADATA = "MTD_MSIL1C.xml"
# band -> folder and resolution
BANDS = {"B02": "10m", "B03": "10m", "B04": "10m", "B08": "10m"}
SCL = ("SCL", "20m")
MAX_XML_BYTES = 16 * 2**20  # a real one has 60 kB
KEYS = (
    "PRODUCT_URI", "PROCESSING_BASELINE", "PRODUCT_START_TIME", "PRODUCT_TYPE",
    "SENSING_ORBIT_NUMBER", "SENSING_ORBIT_DIRECTION",
)  # fmt: skip
BAND_ID = {"B02": "1", "B03": "2", "B04": "3", "B08": "7"}  # band_id of BOA_ADD_OFFSET: B01 is 0, B8A is 8
QUANTIFICATION = 10_000.0


def is_safe(path: Path) -> bool:
    """True for a Sentinel-2 SAFE folder or a zip that holds one; by names alone, whole or not."""
    return (path.name.startswith("S2") and _is_safe_name(path)) or any(
        PurePosixPath(name).name in (METADATA, LEVEL_1C_METADATA) for name in _top_names(path)
    )


def is_sentinel1_safe(path: Path) -> bool:
    """True for a Sentinel-1 SAFE folder or a zip that holds one: Level-1, not geocoded."""
    if path.name.startswith("S1") and _is_safe_name(path):
        return True
    return any(re.match(r"S1[A-D]_.*\.SAFE(/|$)", name) for name in _top_names(path))


def refuse_sentinel1_safe(path: Path) -> TileError:
    """Why a Sentinel-1 SAFE cannot be used."""
    return TileError(
        f"{path} is a Sentinel-1 Level-1 product (SAFE): neither calibrated nor geocoded; calibrate to sigma0 and "
        "geocode it first (e.g. SNAP: Calibration, Range-Doppler Terrain Correction), or fetch a terrain-corrected one"
    )


def product_from_safe(path: Path) -> Product:
    """The 10 m bands and the scene classification of a SAFE folder or zip.

    `metadata` holds the keys of `KEYS`, `BOA_ADD_OFFSET` where there is one, and `safe`: True.

    Raises:
        TileError: half a SAFE, several granules, Level-1C, Sentinel-1, or metadata that cannot be read.
        UnprovenUnitError: another quantification, or offsets that differ between bands.
        SourceError: a zip that cannot be read.
    """
    if is_sentinel1_safe(path):
        raise refuse_sentinel1_safe(path)
    names, place, read = _contents(path)
    name = path.name.removesuffix(".zip").removesuffix(".SAFE")
    if any(PurePosixPath(one).name == LEVEL_1C_METADATA for one in names):
        refuse_level_1c(str(path), [name, "MSIL1C"], {}, ())
    refuse_level_1c(str(path), [name], {}, ())
    xml = [one for one in names if PurePosixPath(one).name == METADATA]
    files = {band: _image(names, band, resolution) for band, resolution in BANDS.items()}
    lacking = [band for band, found in files.items() if not found]
    if len(xml) != 1 or lacking:
        missing = ([METADATA] if not xml else []) + [f"{band} at 10 m" for band in lacking]
        what = f"it lacks {', '.join(missing)}" if missing else f"it holds {len(xml)} {METADATA}"
        raise TileError(f"{path} is half a SAFE: {what}; fetch or unpack the product again")
    twice = [band for band, found in files.items() if len(found) > 1]
    if twice:
        raise TileError(
            f"{path} holds {len(files[twice[0]])} images of {twice[0]}: one granule is expected; give each by itself"
        )
    metadata = _metadata(path, read(xml[0]))
    refuse_level_1c(str(path), [name], metadata, ())
    bands = [BandFile(band, place(found[0]), 1) for band, found in files.items()]
    classes = _image(names, *SCL)
    bands += [BandFile("SCL", place(classes[0]), 1)] if len(classes) == 1 else []
    uri = str(metadata.get("PRODUCT_URI") or name).removesuffix(".SAFE")
    return Product(uri, path, tuple(bands), metadata)


def _is_safe_name(path: Path) -> bool:
    return path.name.endswith((".SAFE", ".SAFE.zip")) or (path.suffix == ".zip" and "_MSIL" in path.name)


def _top_names(path: Path) -> list[str]:
    """Names directly in a folder, or all in a zip; [] for anything else."""
    try:
        if path.is_dir():
            return [child.name for child in path.iterdir()]
        if path.suffix.casefold() == ".zip" and path.is_file():
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        pass
    return []


def _contents(path: Path) -> tuple[list[str], Callable[[str], Path], Callable[[str], bytes]]:
    """Names of the files of a SAFE, how to open one with GDAL, and how to read a small one."""
    if path.is_dir():
        names = sorted(str(PurePosixPath(one.relative_to(path))) for one in path.rglob("*") if one.is_file())
        return names, lambda name: path / name, lambda name: (path / name).read_bytes()[: MAX_XML_BYTES + 1]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(one.filename for one in archive.infolist() if not one.is_dir())
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} cannot be read as zip ({error}); is it complete? Fetch it again") from error

    def read(name: str) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                return file.read(MAX_XML_BYTES + 1)
        except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise SourceError(f"{path}: {name} cannot be read ({error}); fetch the zip again") from error

    return names, lambda name: in_zip(path, name), read


def _image(names: list[str], band: str, resolution: str) -> list[str]:
    """Files of a band: `.../IMG_DATA/R10m/T33NZA_20220706T085611_B02_10m.jp2`."""
    wanted = re.compile(rf"(^|/)IMG_DATA/R{resolution}/[^/]*_{band}_{resolution}\.(jp2|tif)$")
    return [name for name in names if wanted.search(name)]


def _metadata(path: Path, xml: bytes) -> dict[str, Any]:
    """What MTD_MSIL2A.xml says, by the tag's name without namespace."""
    if len(xml) > MAX_XML_BYTES:
        raise TileError(
            f"{path}: {METADATA} is larger than {MAX_XML_BYTES // 2**20} MiB, as no product's; do not trust it"
        )
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise TileError(f"{path}: {METADATA} is not XML ({error}); fetch the product again") from error
    found: dict[str, Any] = {"safe": True}
    offsets: dict[str, float] = {}
    for element in root.iter():
        tag, text = element.tag.rpartition("}")[2], (element.text or "").strip()
        if tag in KEYS and tag not in found and text:
            found[tag] = text
        elif tag == "BOA_ADD_OFFSET" and text:
            offsets[element.get("band_id", "")] = _number(path, tag, text)
        elif tag == "BOA_QUANTIFICATION_VALUE" and text and _number(path, tag, text) != QUANTIFICATION:
            raise UnprovenUnitError(
                f"{path}: BOA_QUANTIFICATION_VALUE is {text}, expected {QUANTIFICATION:g}; convert the bands to "
                "reflectance x 10,000 first"
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
