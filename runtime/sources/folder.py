"""A folder of single-band GeoTIFFs named by their band (`..._B04.tif`, `VV.tif`): one folder, one product."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rasterio.io import DatasetReader

from lsd.runtime.errors import BandError, SourceError
from lsd.runtime.sources.memo import Memo, ask
from lsd.runtime.sources.product import TIFF_SUFFIXES, BandFile, Product, band_name_of, read_metadata

METADATA_PATTERNS = ("metadata.json", "*_labels_metadata.json")  # SSL4EO-S12, BigEarthNet
README_PATTERN = "*.README.md.txt"  # ASF HyP3; names the granule that the product was made from
# An ESA granule: Sentinel-1 product naming convention; HyP3's own names (S1A_IW_20220708T050800_DVP_RTC10_...) differ.
_GRANULE = re.compile(r"S1[A-D]_IW_(?:SLC_|GRD[HMF])_\d[SA](?:SH|SV|DH|DV)_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_\w{6}_\w{4}")
# What comes with the backscatter: HyP3 RTC product guide (elevation, angles, layover and shadow, area, browse picture),
# OPERA RTC-S1 product specification (mask). `mask` only there: elsewhere it may be a cloud mask of unknown meaning.
_SIDE_FILE = re.compile(
    r"_(dem|inc_map|inc_map_ell|ls_map|rgb|area|water_mask)$|^OPERA_L2_RTC-S1.*_(number_of_looks|incidence_angle)$",
    re.IGNORECASE,
)
# OPERA RTC-S1 product specification: 0 is valid, 1 to 3 shadow and layover, 255 no data
_MASK = re.compile(r"^OPERA_L2_RTC-S1.*_mask$", re.IGNORECASE)
MASK_KEY = "opera:mask"


def tiffs_in(folder: Path) -> list[Path]:
    """GeoTIFF files directly in a folder, sorted; hidden ones (a copy under way) left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.casefold() in TIFF_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def is_side_file(path: Path) -> bool:
    """True for a known companion of radar backscatter (`..._dem.tif`, `..._ls_map.tif`) that is no band."""
    side = _SIDE_FILE.search(path.stem) or _MASK.search(path.stem)
    return band_name_of(path.stem) is None and side is not None


def metadata_of(folder: Path) -> dict[str, object]:
    """The metadata beside the files, {} if there is none; granules that a HyP3 README names under `text:granules`."""
    for pattern in METADATA_PATTERNS:
        for path in sorted(folder.glob(pattern)):
            return read_metadata(path)
    granules: list[str] = []
    for path in sorted(folder.glob(README_PATTERN)):
        try:
            granules += granules_in(path.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise SourceError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return {"text:granules": list(dict.fromkeys(granules))} if granules else {}


def granules_in(text: str) -> list[str]:
    """Names of ESA's Sentinel-1 IW granules in a text, each once, in its order."""
    return list(dict.fromkeys(_GRANULE.findall(text)))


def count_of(dataset: DatasetReader) -> int:
    """Number of bands."""
    return int(dataset.count)


def product_from_folder(folder: Path, paths: Sequence[Path] | None = None, memo: Memo | None = None) -> Product:
    """The single-band files of a folder, with the metadata beside them; side files of radar are skipped.

    Args:
        paths: the files to take, all GeoTIFFs of the folder if None.
    Raises:
        BandError: a file's name ends in no known band, or a file holds more than one band.
        TileError: a file cannot be opened.
        SourceError: the metadata cannot be read.
    """
    paths = tiffs_in(folder) if paths is None else paths
    return product_from_files(folder.name, folder, paths, metadata_of(folder), memo)


def product_from_files(
    name: str, where: Path, paths: Iterable[Path], metadata: Mapping[str, Any], memo: Memo | None = None
) -> Product:
    """A product of single-band files named by their band; names of side files go to its metadata as `skipped`.

    OPERA's mask of layover and shadow goes there as `opera:mask`, with its path.

    Raises:
        BandError: a file's name ends in no known band, or a file holds more than one band.
        TileError: a file cannot be opened.
    """
    files, skipped = [], []
    for path in paths:
        if _MASK.search(path.stem):
            metadata = {**metadata, MASK_KEY: str(path)}
            continue
        if is_side_file(path):
            skipped.append(path.name)
            continue
        band = band_name_of(path.stem)
        if band is None:
            raise BandError(
                f"{path}: the file name ends in no known band (B02, B03, B04, B08, VV, VH, desc_vv, ...); "
                "rename it, or move it out of the folder"
            )
        count = ask(path, count_of, memo)
        if count != 1:
            raise BandError(
                f"{path} should hold the one band {band}, holds {count}; "
                "give a stack its own folder, without a band at the end of its name"
            )
        files.append(BandFile(band, path, 1))
    return Product(name, where, tuple(files), {**metadata, "skipped": skipped} if skipped else metadata)
