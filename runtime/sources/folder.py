"""A folder of single-band GeoTIFFs named by their band (`..._B04.tif`, `VV.tif`): one folder, one product."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsd.runtime.errors import BandError
from lsd.runtime.ingest.raster import open_raster
from lsd.runtime.sources.product import TIFF_SUFFIXES, BandFile, Product, band_name_of, read_metadata

METADATA_PATTERNS = ("metadata.json", "*_labels_metadata.json")  # SSL4EO-S12, BigEarthNet


def tiffs_in(folder: Path) -> list[Path]:
    """GeoTIFF files directly in a folder, sorted; hidden ones (a copy under way) left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.casefold() in TIFF_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def metadata_of(folder: Path) -> dict[str, object]:
    """The metadata beside the files, {} if there is none."""
    for pattern in METADATA_PATTERNS:
        for path in sorted(folder.glob(pattern)):
            return read_metadata(path)
    return {}


def product_from_folder(folder: Path, paths: Sequence[Path] | None = None) -> Product:
    """The single-band files of a folder, with the metadata beside them.

    Args:
        paths: the files to take, all GeoTIFFs of the folder if None.
    Raises:
        BandError: a file's name ends in no known band, or a file holds more than one band.
        TileError: a file cannot be opened.
        SourceError: the metadata cannot be read.
    """
    files = []
    for path in tiffs_in(folder) if paths is None else paths:
        name = band_name_of(path.stem)
        if name is None:
            raise BandError(
                f"{path}: the file name ends in no known band (B02, B03, B04, B08, VV, VH, desc_vv, ...); "
                "rename it, or move it out of the folder"
            )
        with open_raster(path) as dataset:
            if dataset.count != 1:
                raise BandError(
                    f"{path} should hold the one band {name}, holds {dataset.count}; "
                    "give a stack its own folder, without a band at the end of its name"
                )
        files.append(BandFile(name, path, 1))
    return Product(folder.name, folder, tuple(files), metadata_of(folder))
