"""From products to a tile: bands by name, units and offset proved, grids compared; every choice with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from lsd.runtime import bands
from lsd.runtime.bands import BY_NAME
from lsd.runtime.errors import BandError, TileError, UnprovenUnitError
from lsd.runtime.haze import hazy_share
from lsd.runtime.ingest import sentinel1, sentinel2, times
from lsd.runtime.ingest.raster import open_raster, sample
from lsd.runtime.sources.alignment import alignment, centre_deg, grid_of, refuse_disjoint, tile_grid
from lsd.runtime.sources.product import BandFile, Candidate, Product, SourceOptions
from lsd.runtime.tiles import BandSource, Conversion, Decision, Grid, Tile

VISIBLE = ("red", "green", "blue")
NO_CLOUD_LAYER = "no cloud layer read: clouds are not masked"


@dataclass(frozen=True)
class _OpenBand:
    """A band with its open file, its grid and a sample of its pixels (n,) in the file's units, NaN where invalid."""

    name: str
    product: Product
    file: BandFile
    dataset: DatasetReader
    grid: Grid
    values: NDArray[np.float64]


def tile_of(candidate: Candidate, options: SourceOptions) -> Tile:
    """Assemble a tile. Files are opened, sampled and closed; pixels are read later.

    Raises:
        BandError: a band is unknown, ambiguous or given twice, or none of the 12 is there.
        TileError: unreadable, no CRS, disjoint grids, no 10 m grid, Level-1C, nothing valid.
        UnprovenUnitError: unit or offset neither proved nor declared.
        UsageError: a declaration contradicts the product.
    """
    decisions: list[Decision] = list(candidate.decisions)
    acquired: dict[str, str] = {}
    with ExitStack() as stack:
        opened: dict[str, _OpenBand] = {}
        for product in candidate.products:
            found, notes = _open(product, options, stack)
            decisions += notes
            _refuse_duplicates(opened, found)
            opened.update(found)
            acquired.update(_acquired(product, found))
        if not opened:
            raise BandError(f"{candidate.products[0].path} holds none of the bands {', '.join(bands.BAND_NAMES)}")
        names = bands.in_order(opened)
        if not any((np.nan_to_num(band.values) != 0).any() for band in opened.values()):
            raise TileError(f"{candidate.products[0].path} holds no valid pixel: every band is nodata throughout")

        reference = opened[names[0]]
        grid, note = tile_grid(reference.file.path, reference.grid)
        decisions += [note] if note else []
        decisions += _compare_grids([opened[name] for name in names], grid)

        conversions: dict[str, Conversion] = dict.fromkeys(names, "none")
        for name in names:
            if BY_NAME[name].modality == "sar":
                band = opened[name]
                declared = band.dataset.units[band.file.index - 1]
                conversions[name], decision = sentinel1.unit(name, band.file.path, declared, band.values)
                decisions.append(decision)
        optical = [opened[name] for name in names if BY_NAME[name].modality == "optical"]
        warnings: list[str] = []
        if optical:
            conversion, decision = _offset(optical, options)
            conversions.update((band.name, conversion) for band in optical)
            decisions.append(decision)
            warnings = [NO_CLOUD_LAYER, *_haze(opened, conversion)]

        sources = {
            name: BandSource(
                name,
                opened[name].file.path,
                opened[name].file.index,
                opened[name].dataset.nodatavals[opened[name].file.index - 1],
                conversions[name],
            )
            for name in names
        }
    return Tile(candidate.id, grid, sources, tuple(decisions), tuple(warnings), acquired)


def _open(product: Product, options: SourceOptions, stack: ExitStack) -> tuple[dict[str, _OpenBand], list[Decision]]:
    """Resolve and open the bands of one product, with the decisions on names and direction of flight."""
    decisions: list[Decision] = []
    ignored = [file.name for file in product.files if file.is_ignored]
    if ignored:
        sentinel2.refuse_level_1c(str(product.path), product.names, product.metadata, ignored)
        decisions.append(Decision(product.name, f"ignored {', '.join(ignored)}", "the models do not use these bands"))
    files = [file for file in product.files if not file.is_ignored]
    opened: dict[str, _OpenBand] = {}
    orbit: bands.Orbit | None = None
    datasets: dict[str, DatasetReader] = {}
    for file in files:
        key = str(file.path)
        if key not in datasets:
            datasets[key] = stack.enter_context(open_raster(file.path))
        dataset = datasets[key]
        grid = grid_of(dataset)
        if file.needs_orbit and orbit is None:
            time = times.acquired(product.metadata, product.names)
            longitude, _ = centre_deg(file.path, grid)
            orbit, decision = sentinel1.direction(product.name, product.metadata, time, longitude, options.orbit)
            decisions.append(decision)
        name = _resolve(file, orbit)
        band = _OpenBand(name, product, file, dataset, grid, sample(dataset, [file.index])[0])
        _refuse_duplicates(opened, {name: band})
        opened[name] = band
    if any(BY_NAME[name].modality == "optical" for name in opened):
        sentinel2.refuse_level_1c(str(product.path), product.names, product.metadata, ())
    return opened, decisions


def _resolve(file: BandFile, orbit: bands.Orbit | None) -> str:
    try:
        return bands.resolve(file.name, orbit)
    except BandError as error:
        raise BandError(f"{file.path}: {error}") from error


def _refuse_duplicates(opened: Mapping[str, _OpenBand], new: Mapping[str, _OpenBand]) -> None:
    for name, band in new.items():
        if name in opened:
            raise BandError(
                f"band {name!r} is given twice: by {opened[name].file.path} as {opened[name].file.name!r} and by "
                f"{band.file.path} as {band.file.name!r}; remove one"
            )


def _acquired(product: Product, names: Collection[str]) -> dict[str, str]:
    """Sensor -> time of a product's bands; nothing for a stack of several sensors, whose one time fits one at most."""
    sensors = {f"{band.sensor} {band.orbit}" if band.orbit else band.sensor for band in map(BY_NAME.__getitem__, names)}
    time = times.acquired(product.metadata, product.names)
    return {sensor: times.iso(time) for sensor in sensors} if time is not None and len(sensors) == 1 else {}


def _compare_grids(opened: Sequence[_OpenBand], tile: Grid) -> list[Decision]:
    """Refuse bands from elsewhere; note the bands that have to be resampled, one line a grid."""
    others: dict[tuple[Grid, bool], list[str]] = {}
    for band in opened:
        if band.grid != tile:
            refuse_disjoint(band.file.path, band.grid, tile)
            others.setdefault((band.grid, BY_NAME[band.name].modality == "sar"), []).append(band.name)
    return [alignment(names, grid, tile) for (grid, _), names in others.items()]


def _offset(optical: Sequence[_OpenBand], options: SourceOptions) -> tuple[Conversion, Decision]:
    """The offset decision over all optical bands of a tile, which come from one product."""
    first = optical[0]
    visible = [band.values for band in optical if band.name in VISIBLE] or [first.values]
    scalings = {
        (band.dataset.scales[band.file.index - 1], band.dataset.offsets[band.file.index - 1]) for band in optical
    }
    if len(scalings) > 1:
        raise UnprovenUnitError(
            f"{first.product.path}: the optical bands declare different scales and offsets ({sorted(scalings)}); "
            "correct them"
        )
    return sentinel2.offset(
        str(first.product.path),
        [name for band in optical for name in band.product.names],
        first.product.metadata,
        scalings.pop(),
        np.concatenate(visible),
        options.s2_offset,
    )


HAZE_WARNING_SHARE = 0.1  # of the sampled pixels of a scene


def _haze(opened: Mapping[str, _OpenBand], conversion: Conversion) -> list[str]:
    """A warning where much of the scene looks like cloud, haze or snow; needs red and blue on one grid."""
    if not {"red", "blue"} <= set(opened) or opened["red"].grid != opened["blue"].grid:
        return []
    red, blue = opened["red"].values, opened["blue"].values
    empty = (red == 0) & (blue == 0)
    added = 1000.0 if conversion == "add_1000" else 0.0
    share = hazy_share(np.where(empty, np.nan, red + added), np.where(empty, np.nan, blue + added))
    if share < HAZE_WARNING_SHARE:
        return []
    return [f"{share:.0%} of the scene is bright as cloud, haze or snow: look at the picture before trusting it"]
