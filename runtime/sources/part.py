"""From one path to one product, whatever the path holds: SAFE, STAC item, band folder, stack, or a zip of these."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from lsd.runtime.errors import BandError, SourceError
from lsd.runtime.ingest import raster
from lsd.runtime.sources import safe
from lsd.runtime.sources.folder import README_PATTERN, granules_in, product_from_files, product_from_folder, tiffs_in
from lsd.runtime.sources.memo import Memo
from lsd.runtime.sources.product import TIFF_SUFFIXES, Product, SourceOptions
from lsd.runtime.sources.stac_item import is_stac_item, product_from_stac_item
from lsd.runtime.sources.stack import product_from_stack

README_BYTES = 2**20  # a HyP3 README has some 30 kB: no more than this is read of a zip's text


def product_of(path: Path, options: SourceOptions, memo: Memo | None = None) -> Product:
    """The product that a path holds.

    A path is a SAFE folder or its zip, a STAC item, a folder of single-band GeoTIFFs (with one STAC item in it the
    item says which), a zip of such a folder, or a GeoTIFF.

    Args:
        memo: of what is known of files that did not change; they are not opened.
    Raises:
        SourceError: the path does not exist or holds none of these, or a file that it names is missing.
        BandError: bands cannot be told by name.
        TileError: a file cannot be opened, or a SAFE is incomplete or Level-1C.
    """
    if memo is not None and path.suffix.casefold() == ".zip" and path.is_file():  # all that it is lies in it
        return memo.of((str(path), product_of), [path], lambda: product_of(path, options))
    if not path.exists():
        raise SourceError(f"{path} does not exist; check the path, or mount the disk it is on")
    if safe.is_safe(path) or safe.is_sentinel1_safe(path):  # the latter is refused there with its reason
        return safe.product_from_safe(path, memo)
    if path.is_dir():
        return _of_folder(path, options, memo)
    if path.suffix.casefold() == ".zip":
        return _of_zip(path)
    if path.suffix.casefold() in TIFF_SUFFIXES:
        return product_from_stack(path, memo)
    if is_stac_item(path):
        return product_from_stac_item(path, options)
    raise SourceError(
        f"{path} is no product and no GeoTIFF ({path.suffix or 'no suffix'}); give a SAFE folder or zip, a folder or "
        "zip of single-band GeoTIFFs, a GeoTIFF with named bands, or a STAC item"
    )


def _of_folder(folder: Path, options: SourceOptions, memo: Memo | None) -> Product:
    try:
        items = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_stac_item(path)]
        files = tiffs_in(folder)
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error
    if len(items) > 1:
        raise SourceError(f"{folder} holds {len(items)} STAC items, one is expected; name one: {items[0]}")
    if items:
        return product_from_stac_item(items[0], options)
    if not files:
        raise SourceError(f"{folder} holds no SAFE, no STAC item and no GeoTIFF; give the folder that does")
    return product_from_folder(folder, memo=memo)


def _of_zip(path: Path) -> Product:
    """A zip of single-band GeoTIFFs, read in place, or of one stack."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(one.filename for one in archive.infolist() if not one.is_dir())
            granules: list[str] = []
            for member in members:
                if PurePosixPath(member).match(README_PATTERN):
                    with archive.open(member) as file:
                        granules += granules_in(file.read(README_BYTES).decode("utf-8", "replace"))
    except safe.ZIP_ERRORS as error:
        raise SourceError(f"{path} cannot be read as zip ({error}); is it complete? Fetch it again") from error
    tiffs = [
        member
        for member in members
        if PurePosixPath(member).suffix.casefold() in TIFF_SUFFIXES and not PurePosixPath(member).name.startswith(".")
    ]
    if not tiffs:
        raise SourceError(f"{path} holds neither a SAFE nor a GeoTIFF; give the archive of a product")
    folders = sorted({str(PurePosixPath(member).parent) for member in tiffs})
    if len(folders) > 1:
        raise BandError(
            f"{path} holds GeoTIFFs in {len(folders)} folders ({', '.join(folders[:3])}), one product is expected; "
            "unpack it and give each folder"
        )
    metadata = {"text:granules": list(dict.fromkeys(granules))} if granules else {}
    return product_from_files(path.stem, path, [raster.in_zip(path, member) for member in tiffs], metadata)
