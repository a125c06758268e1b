"""The options that say which labelled patches a command works on, shared by those that read pixels."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from lsd.runtime.errors import UsageError
from lsd.runtime.progress import Mode, Progress
from lsd.train.datasets.base import PatchDataset

Function = TypeVar("Function", bound=Callable[..., Any])

SOURCES = {"patches": "--patches DIR", "tiles": "--tiles DIR", "landslide4sense": "--landslide4sense DIR"}
_BELONGS = {
    "labels": ("--labels", ("patches",)),
    "label_rasters": ("--label-rasters", ("tiles",)),
    "polygons": ("--polygons", ("tiles",)),
    "min_slide_m2": ("--min-slide-m2", ("tiles", "landslide4sense")),
}
_PATH = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--patches", type=_PATH, help="Folder of ID.npy patches (64, 64, 12)."),
    click.option("--labels", type=_PATH, help="CSV with ID and label of --patches.  [default: labels.csv in it]"),
    click.option(
        "--tiles", type=_PATH, help="Folder of tiles as lsd-run reads them; needs labels of one of two kinds:"
    ),
    click.option(
        "--label-rasters", type=_PATH, help="Raster, or folder of TILE.tif: not 0 is slide, declared nodata unknown."
    ),
    click.option("--polygons", type=_PATH, help="Vector file with the outlines of all slides in the tiles."),
    click.option(
        "--min-slide-m2", type=float, help="Slide that makes a patch of tiles or images positive.  [default: 1000]"
    ),
    click.option("--landslide4sense", type=_PATH, help="Folder of image_*.h5, masks beside or in ../mask."),
    click.option(
        "--strict", is_flag=True, help="Stop at the first sample that cannot be used, instead of skipping it."
    ),
)


def data_options(function: Function) -> Function:
    """Add the options; the command hands its flags to `data_of`, and what that returns to `open_shown`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def data_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Take the data options out of a command's flags, leaving the others."""
    return {name: flags.pop(name) for name in (*SOURCES, *_BELONGS, "strict")}


def sources_in(given: Mapping[str, Any]) -> list[str]:
    """The data options that were given, as the user types them: empty where the data come from elsewhere."""
    named = {**SOURCES, **{name: option for name, (option, _) in _BELONGS.items()}}
    return [option for name, option in named.items() if given[name] is not None]


def open_patches(
    *,
    patches: Path | None = None,
    labels: Path | None = None,
    tiles: Path | None = None,
    label_rasters: Path | None = None,
    polygons: Path | None = None,
    min_slide_m2: float | None = None,
    landslide4sense: Path | None = None,
    strict: bool = False,
    advance: Callable[[int], object] = lambda n: None,
) -> PatchDataset:
    """The labelled patches of the one source that is given.

    Args:
        strict: a tile or mask that cannot be used stops the command; else it is told on stderr and left out.
        advance: called with the number of patches labelled; opening tiles reads them once.
    Raises:
        UsageError: no source or several, or an option of another source. TableError: labels cannot be used.
        SourceError: a folder is not there. PatchFileError, TileError: `strict`, and a tile or mask cannot be used.
    """
    given = {
        "patches": patches,
        "labels": labels,
        "tiles": tiles,
        "label_rasters": label_rasters,
        "polygons": polygons,
        "min_slide_m2": min_slide_m2,
        "landslide4sense": landslide4sense,
    }
    sources = [name for name in SOURCES if given[name] is not None]
    if len(sources) != 1:
        found = " and ".join(SOURCES[name] for name in sources) or "none"
        raise UsageError(f"give one of {', '.join(SOURCES.values())}; found {found}")
    for name, (option, owners) in _BELONGS.items():
        if given[name] is not None and sources[0] not in owners:
            raise UsageError(f"{option} belongs to {' and '.join(SOURCES[owner] for owner in owners)}; leave it out")
    if patches is not None:
        from lsd.train.datasets.npy import npy_dataset

        return npy_dataset(patches, labels)
    from lsd.train.datasets.label_rule import LabelRule

    rule = LabelRule() if min_slide_m2 is None else LabelRule(min_slide_m2)
    if landslide4sense is not None:
        _need("--landslide4sense", "h5py")
        from lsd.train.datasets.landslide4sense import landslide4sense_dataset

        return landslide4sense_dataset(landslide4sense, rule, strict)
    _need("--tiles", "pyogrio", "shapely")
    from lsd.train.datasets.polygon_labels import PolygonLabels
    from lsd.train.datasets.raster_labels import RasterLabels
    from lsd.train.datasets.tiles import tile_dataset

    assert tiles is not None
    if (label_rasters is None) == (polygons is None):
        raise UsageError("--tiles DIR needs either --label-rasters PATH or --polygons FILE")
    if polygons is not None:
        return tile_dataset(tiles, PolygonLabels(polygons), rule, strict, advance)
    assert label_rasters is not None
    return tile_dataset(tiles, RasterLabels(label_rasters), rule, strict, advance)


def open_shown(data: Mapping[str, Any], mode: Mode) -> PatchDataset:
    """`open_patches` with progress, where opening reads the patches: tiles."""
    with Progress(mode if data["tiles"] else "off") as shown:
        return open_patches(**data, advance=lambda n: shown.advance(n, "patches labelled"))


def _need(option: str, *libraries: str) -> None:
    absent = [name for name in libraries if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(f"{option} needs {', '.join(absent)}: pip install 'lsd-edge[train]'")
