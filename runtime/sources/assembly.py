"""From products to a tile: bands by name, units and offset proved, grids compared; every choice with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime

import numpy as np

from lsd.runtime import bands
from lsd.runtime.bands import BY_NAME
from lsd.runtime.errors import BandError, TileError, UnprovenUnitError
from lsd.runtime.ingest import clouds, sentinel1, sentinel2, times
from lsd.runtime.sources.alignment import alignment, cropped, refuse_disjoint, tile_grid
from lsd.runtime.sources.opening import OpenFile, OpenProduct, open_product
from lsd.runtime.sources.product import Candidate, Product, SourceOptions
from lsd.runtime.sources.radar import radar_bands
from lsd.runtime.tiles import BandSource, CloudLayer, Conversion, Decision, Grid, Scene, Tile

VISIBLE = ("red", "green", "blue")
NO_CLOUD_LAYER = "no cloud layer read: clouds are not masked"


def tile_of(candidate: Candidate, options: SourceOptions) -> Tile:
    """Assemble a tile. Files are opened, sampled and closed; pixels are read later.

    Raises:
        BandError: a band is unknown, ambiguous or given twice, or none of the 12 is there.
        TileError: unreadable, no CRS, disjoint grids, no 10 m grid, Level-1C, nothing valid, times that make no sense.
        UnprovenUnitError: unit or offset neither proved nor declared.
        UsageError: a declaration contradicts the product.
    """
    where = str(candidate.products[0].path)
    event_time = candidate.event_time or options.event_time
    decisions: list[Decision] = list(candidate.decisions)
    with ExitStack() as stack:
        products: list[OpenProduct] = []
        for product in candidate.products:
            opened, notes = open_product(product, stack)
            products.append(opened)
            decisions += notes
        files = _named_bands(products)
        radar = radar_bands(where, [one for one in products if one.directed], event_time, options)
        _refuse_duplicates(files, radar.files)
        files.update(radar.files)
        decisions += radar.decisions
        if not files:
            held = "; ".join(radar.warnings) or f"it holds none of the bands {', '.join(bands.BAND_NAMES)}"
            raise BandError(f"{where}: no band of the models can be had: {held}")
        names = bands.in_order(files)
        if not any((np.nan_to_num(file.values) != 0).any() for file in files.values()):
            raise TileError(f"{where} holds no valid pixel: every band is nodata throughout")

        optical = {name: files[name] for name in names if BY_NAME[name].modality == "optical"}
        reference = files[names[0]]
        grid, note = tile_grid(reference.file.path, reference.grid, coarse=not optical)
        if candidate.bbox is not None:
            grid = cropped(reference.file.path, grid, candidate.bbox)
            decisions.append(Decision("extent", f"cut to {candidate.bbox}", "bbox of the tile file"))
        decisions += [note] if note else []
        decisions += _compare_grids({name: files[name] for name in names}, radar.before, grid)

        sources = dict(radar.sources)
        decisions += _add_levels(sources, files, options)
        sources |= {name: file.source(name, "none") for name, file in files.items() if name not in sources}
        warnings = list(radar.warnings)
        layer = None
        if optical:
            conversion, decision = _offset(optical, options)
            sources.update((name, file.source(name, conversion)) for name, file in optical.items())
            decisions.append(decision)
            layer, note = _clouds([one for product in products for one in product.clouds], optical)
            decisions += [note] if note else []
            warnings += [] if layer else [NO_CLOUD_LAYER]
        named = _scenes(products, files)
        warnings += _resting_on_names(named)
        scenes = [*named, *radar.scenes]
        _refuse_before(scenes, event_time)
    return Tile(
        candidate.id,
        grid,
        {name: sources[name] for name in names},
        tuple(decisions),
        tuple(warnings),
        _acquired(scenes),
        layer,
        tuple(scenes),
        None if event_time is None else times.iso(event_time),
    )


def _named_bands(products: Sequence[OpenProduct]) -> dict[str, OpenFile]:
    """Canonical name -> file of the bands whose names say all."""
    found: dict[str, OpenFile] = {}
    for product in products:
        mine: dict[str, OpenFile] = {}
        for file in product.named:
            try:
                name = bands.resolve(file.file.name)
            except BandError as error:
                raise BandError(f"{file.file.path}: {error}") from error
            _refuse_duplicates({**found, **mine}, {name: file})
            mine[name] = file
        if any(BY_NAME[name].modality == "optical" for name in mine):
            sentinel2.refuse_level_1c(str(product.product.path), product.product.names, product.product.metadata, ())
        found.update(mine)
    return found


def _refuse_duplicates(opened: Mapping[str, OpenFile], new: Mapping[str, OpenFile]) -> None:
    for name, file in new.items():
        if name in opened:
            raise BandError(
                f"band {name!r} is given twice: by {opened[name].file.path} as {opened[name].file.name!r} and by "
                f"{file.file.path} as {file.file.name!r}; remove one"
            )


def _compare_grids(files: Mapping[str, OpenFile], before: Iterable[OpenFile], tile: Grid) -> list[Decision]:
    """Refuse bands from elsewhere; note the bands that have to be resampled, one line a grid."""
    others: dict[tuple[Grid, bool], list[str]] = {}
    for name, file in files.items():
        if file.grid != tile:
            refuse_disjoint(file.file.path, file.grid, tile)
            others.setdefault((file.grid, BY_NAME[name].modality != "optical"), []).append(name)
    for file in before:
        if file.grid != tile:
            refuse_disjoint(file.file.path, file.grid, tile)
    return [alignment(names, grid, tile) for (grid, _), names in others.items()]


def _add_levels(
    sources: dict[str, BandSource], files: Mapping[str, OpenFile], options: SourceOptions
) -> list[Decision]:
    """Prove the unit of radar levels that came with their full name (`desc_vv`)."""
    decisions = []
    for name in bands.in_order(files):
        if BY_NAME[name].modality == "sar" and name not in sources:
            file = files[name]
            declared = file.product.declared.radar_unit or options.radar_unit
            conversion, note = sentinel1.unit(name, file.file.path, file.unit, None, declared, file.values)
            sources[name] = file.source(name, conversion)
            decisions.append(note)
    return decisions


def _offset(optical: Mapping[str, OpenFile], options: SourceOptions) -> tuple[Conversion, Decision]:
    """The offset decision over all optical bands of a tile, which come from one product."""
    first = next(iter(optical.values()))
    visible = [file.values for name, file in optical.items() if name in VISIBLE] or [first.values]
    scalings = {file.scaling for file in optical.values()}
    if len(scalings) > 1:
        raise UnprovenUnitError(
            f"{first.product.path}: the optical bands declare different scales and offsets ({sorted(scalings)}); "
            "correct them"
        )
    return sentinel2.offset(
        str(first.product.path),
        [name for file in optical.values() for name in file.product.names],
        first.product.metadata,
        scalings.pop(),
        np.concatenate(visible),
        first.product.declared.s2_offset or options.s2_offset,
        stated_unit=first.unit,
    )


def _clouds(layers: Sequence[OpenFile], optical: Mapping[str, OpenFile]) -> tuple[CloudLayer | None, Decision | None]:
    """The cloud layer of the optical bands; more than one is refused."""
    if not layers:
        return None, None
    if len(layers) > 1:
        raise BandError(
            f"two cloud layers for one tile: {layers[0].file.path} and {layers[1].file.path}; keep the better one"
        )
    (layer,) = layers
    kind = layer.file.cloud_kind
    assert kind is not None
    reference = next(iter(optical.values())).grid
    return clouds.cloud_layer(layer.file.path, layer.file.index, kind, layer.grid, layer.values, reference)


def _scenes(products: Sequence[OpenProduct], files: Mapping[str, OpenFile]) -> list[Scene]:
    """The acquisitions behind bands that came with their full names, one a sensor and direction of a product."""
    found: list[Scene] = []
    for product in products:
        mine = [name for name in bands.in_order(files) if files[name] in product.named]
        groups: dict[tuple[str, bands.Orbit | None], list[str]] = {}
        for name in mine:
            groups.setdefault((BY_NAME[name].sensor, BY_NAME[name].orbit), []).append(name)
        time = _time(product.product) if len(groups) == 1 else None  # one time fits one sensor at most
        for (sensor, orbit), names in groups.items():
            kind = _kind(product.product) if sensor == "sentinel-2" else "Sentinel-1, bands named by direction"
            role = "optical" if sensor == "sentinel-2" else "post"
            acquired = None if time is None else times.iso(time)
            number = product.product.declared.relative_orbit if sensor == "sentinel-1" else None
            found.append(Scene(product.product.name, sensor, role, kind, acquired, tuple(names), orbit, number))  # type: ignore[arg-type]
    return found


def _resting_on_names(scenes: Sequence[Scene]) -> list[str]:
    """A warning where nothing but the name of a radar band says which direction it is of, and what was subtracted."""
    names = [
        name for scene in scenes if scene.sensor == "sentinel-1" and scene.acquired is None for name in scene.bands
    ]
    if not names:
        return []
    return [
        f"direction of flight and order in time of {', '.join(bands.in_order(names))} rest on the names of the bands: "
        "no time in the files proves them"
    ]


def _time(product: Product) -> datetime | None:
    return product.declared.time or times.acquired(product.metadata, product.names)


def _kind(product: Product) -> str:
    """What an optical product was recognised as, in words."""
    collection = product.metadata.get("stac:collection")
    if product.metadata.get("safe"):
        return "Sentinel-2 L2A SAFE"
    return (
        f"Sentinel-2 L2A, STAC collection {collection}" if collection else "Sentinel-2 L2A, one file a band or a stack"
    )


def _acquired(scenes: Sequence[Scene]) -> dict[str, str]:
    """Sensor -> time, after the event for radar."""
    return {
        f"{scene.sensor} {scene.orbit}" if scene.orbit else scene.sensor: scene.acquired
        for scene in scenes
        if scene.acquired is not None and scene.role != "pre"
    }


def _refuse_before(scenes: Sequence[Scene], event_time: datetime | None) -> None:
    """Raise TileError if the optical scene was taken before the event: the models look at the ground after it."""
    if event_time is None:
        return
    event = times.iso(event_time)
    for scene in scenes:
        if scene.role == "optical" and scene.acquired is not None and scene.acquired <= event:
            raise TileError(
                f"{scene.id} was taken at {scene.acquired}, not after the event ({event}); give an optical scene from "
                "after the event, or correct the event time"
            )
