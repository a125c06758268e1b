"""A GeoTIFF stack with named bands: one file, one tile."""

from __future__ import annotations

from pathlib import Path

from rasterio.io import DatasetReader

from lsd.runtime.errors import BandError
from lsd.runtime.sources.memo import Memo, ask
from lsd.runtime.sources.product import BandFile, Product, band_name_of


def product_from_stack(path: Path, memo: Memo | None = None) -> Product:
    """The bands of a GeoTIFF by their descriptions; a single band without one is named by the end of the file name.

    Raises:
        TileError: the file cannot be opened.
        BandError: a band has no name.
    """
    descriptions, metadata = ask(path, _described, memo)
    names = list(descriptions)
    if names == [None]:
        names = [band_name_of(path.stem)]
    unnamed = [i for i, name in enumerate(names, 1) if not name]
    if unnamed:
        raise BandError(
            f"{path}: no name for band {', '.join(map(str, unnamed))} of {len(names)}; set the band descriptions "
            "(rasterio: dataset.descriptions = ('red', 'green', ...)) or end the file name in the band"
        )
    files = tuple(BandFile(str(name), path, i) for i, name in enumerate(names, 1))
    return Product(path.stem, path, files, metadata)


def is_stack(path: Path, memo: Memo | None = None) -> bool:
    """True if a file holds several bands or names its one band.

    Raises:
        TileError: the file cannot be opened.
    """
    descriptions, _ = ask(path, _described, memo)
    return len(descriptions) > 1 or bool(descriptions[0])


def _described(dataset: DatasetReader) -> tuple[tuple[str | None, ...], dict[str, str]]:
    """The description of each band, and the tags of the file."""
    return tuple(dataset.descriptions), dict(dataset.tags())
