"""A GeoTIFF stack with named bands: one file, one tile."""

from __future__ import annotations

from pathlib import Path

from lsd.runtime.errors import BandError
from lsd.runtime.ingest.raster import open_raster
from lsd.runtime.sources.product import BandFile, Product, band_name_of


def product_from_stack(path: Path) -> Product:
    """The bands of a GeoTIFF by their descriptions; a single band without one is named by the end of the file name.

    Raises:
        TileError: the file cannot be opened.
        BandError: a band has no name.
    """
    with open_raster(path) as dataset:
        names = list(dataset.descriptions)
        metadata = dataset.tags()
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
