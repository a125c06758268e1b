"""The files of a product, opened and sampled, sorted into bands, radar levels of unknown direction and cloud layers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from lsd.runtime.ingest import sentinel2
from lsd.runtime.ingest.raster import open_raster, sample
from lsd.runtime.sources.alignment import grid_of
from lsd.runtime.sources.product import BandFile, Product
from lsd.runtime.tiles import BandSource, Conversion, Decision, Grid


@dataclass(frozen=True)
class OpenFile:
    """One band of an open file, its grid and a sample of its pixels (n,) in the file's units, NaN where invalid."""

    product: Product
    file: BandFile
    dataset: DatasetReader
    grid: Grid
    values: NDArray[np.float64]

    @property
    def unit(self) -> str | None:
        """Unit that the file declares for the band."""
        found: str | None = self.dataset.units[self.file.index - 1]
        return found

    @property
    def scaling(self) -> tuple[float, float]:
        """GDAL scale and offset of the band, (1, 0) where undeclared."""
        return self.dataset.scales[self.file.index - 1], self.dataset.offsets[self.file.index - 1]

    def source(self, band: str, conversion: Conversion, pre: tuple[BandSource, ...] = ()) -> BandSource:
        """What the reader needs to read it as `band`."""
        nodata = self.dataset.nodatavals[self.file.index - 1]
        return BandSource(band, self.file.path, self.file.index, nodata, conversion, pre)


@dataclass(frozen=True)
class OpenProduct:
    """A product by what its files are.

    named: bands whose names say all. directed: `VV`, `VH`, `dVV`, `dVH`, which need a direction of flight. clouds:
    cloud layers.
    """

    product: Product
    named: tuple[OpenFile, ...]
    directed: tuple[OpenFile, ...]
    clouds: tuple[OpenFile, ...]


def open_product(product: Product, stack: ExitStack) -> tuple[OpenProduct, list[Decision]]:
    """Open every file that is used; `stack` closes them.

    Raises:
        TileError: a file cannot be opened or has no CRS, or the product is Sentinel-2 Level-1C.
    """
    decisions: list[Decision] = []
    ignored = [file.name for file in product.files if file.is_ignored]
    if ignored:
        sentinel2.refuse_level_1c(str(product.path), product.names, product.metadata, ignored)
        decisions.append(Decision(product.name, f"ignored {', '.join(ignored)}", "the models do not use these bands"))
    skipped = product.metadata.get("skipped")
    if skipped:
        decisions.append(Decision(product.name, f"ignored {', '.join(skipped)}", "side files, no bands"))
    datasets: dict[str, DatasetReader] = {}
    opened: list[OpenFile] = []
    for file in product.files:
        if file.is_ignored:
            continue
        key = str(file.path)
        if key not in datasets:
            datasets[key] = stack.enter_context(open_raster(file.path))
        dataset = datasets[key]
        opened.append(OpenFile(product, file, dataset, grid_of(dataset), sample(dataset, [file.index])[0]))
    return (
        OpenProduct(
            product,
            tuple(one for one in opened if not one.file.needs_orbit and one.file.cloud_kind is None),
            tuple(one for one in opened if one.file.needs_orbit),
            tuple(one for one in opened if one.file.cloud_kind is not None),
        ),
        decisions,
    )
