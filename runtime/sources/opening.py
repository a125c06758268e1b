"""The files of a product, opened and sampled, sorted into bands, radar levels of unknown direction and cloud layers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from lsd.runtime.errors import TileError
from lsd.runtime.ingest import sentinel2
from lsd.runtime.ingest.raster import open_raster, samples
from lsd.runtime.sources.alignment import grid_of
from lsd.runtime.sources.folder import MASK_KEY
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
        mask = self.product.metadata.get(MASK_KEY)
        where = None if mask is None else Path(mask)
        return BandSource(band, self.file.path, self.file.index, nodata, conversion, pre, where)


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
    used = [file for file in product.files if not file.is_ignored]
    places: dict[str, list[int]] = {}  # file -> where its bands stand in `used`
    for i, file in enumerate(used):
        places.setdefault(str(file.path), []).append(i)
    found: dict[int, OpenFile] = {}
    for of_file in places.values():
        dataset = stack.enter_context(open_raster(used[of_file[0]].path))
        grid = grid_of(dataset)
        for i, values in zip(of_file, samples(dataset, [used[i].index for i in of_file]), strict=True):
            found[i] = OpenFile(product, used[i], dataset, grid, values)
    opened = [found[i] for i in range(len(used))]
    mask = product.metadata.get(MASK_KEY)
    if mask is not None:
        decisions.append(_checked_mask(product, Path(mask), opened))
    return (
        OpenProduct(
            product,
            tuple(one for one in opened if not one.file.needs_orbit and one.file.cloud_kind is None),
            tuple(one for one in opened if one.file.needs_orbit),
            tuple(one for one in opened if one.file.cloud_kind is not None),
        ),
        decisions,
    )


def _checked_mask(product: Product, mask: Path, opened: list[OpenFile]) -> Decision:
    """Raise TileError unless the mask lies on the grid of the bands."""
    with open_raster(mask) as dataset:
        grid = grid_of(dataset)
    for file in opened:
        if file.grid != grid:
            raise TileError(
                f"{mask} should lie on the grid of {file.file.path}, {file.grid.width_px} x {file.grid.height_px} px, "
                f"is {grid.width_px} x {grid.height_px} px; fetch both again"
            )
    return Decision(product.name, f"masked by {mask.name}", "layover, shadow and no data are not valid")
