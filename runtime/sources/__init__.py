"""Sources: from paths to tiles.

A path is a SAFE, a zip, a stack, a folder of single-band files, a tile file, a STAC item or catalog, or a folder above.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lsd.runtime.errors import LsdError, SourceError, TileError
from lsd.runtime.ingest.raster import open_raster
from lsd.runtime.sources import bigearthnet, ssl4eo
from lsd.runtime.sources.assembly import tile_of
from lsd.runtime.sources.folder import is_side_file, product_from_folder, tiffs_in
from lsd.runtime.sources.joining import FoundScene, joined, loose_scene
from lsd.runtime.sources.part import product_of
from lsd.runtime.sources.product import Candidate, SourceOptions, TileFailure, band_name_of
from lsd.runtime.sources.safe import is_safe, is_sentinel1_safe
from lsd.runtime.sources.stac_catalog import candidate_of_item, candidates_of_catalog, is_stac_catalog
from lsd.runtime.sources.stac_item import is_stac_item
from lsd.runtime.sources.tile_file import candidate_of_tile_file, is_tile_file
from lsd.runtime.tiles import Tile

__all__ = ["SourceOptions", "TileFailure", "tiles_of"]

MAX_DEPTH = 32  # folders above a tile that may go into its id


def tiles_of(paths: Sequence[Path], options: SourceOptions | None = None) -> Iterator[Tile | TileFailure]:
    """The tiles below some paths, in sorted order within each path, every file once.

    Files are listed first, so that products that belong together (BigEarthNet, SSL4EO) become one tile wherever they
    lie; they are opened one tile at a time. A tile that cannot be used is a `TileFailure` and the next one follows.

    Raises:
        SourceError: a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise SourceError(f"source {path} does not exist; check the path, or mount the disk it is on")
    options = options or SourceOptions()
    paths = [path if path.name not in ("", "..") else path.resolve() for path in paths]  # a tile is named by its folder
    found: list[Candidate | TileFailure] = []
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() not in seen:
            found += list((_walk if path.is_dir() else _file)(path, seen, options))
            found += _nothing_in(path, seen)
    candidates = bigearthnet.pair([one for one in found if isinstance(one, Candidate)])
    if options.event_time is not None:
        candidates, failures = _joined(candidates, options)
        found += failures
    for candidate in _with_unique_ids(candidates):
        try:
            yield tile_of(candidate, options)
        except LsdError as error:
            yield TileFailure(candidate.id, error)
    yield from (one for one in found if isinstance(one, TileFailure))


def _walk(folder: Path, seen: set[Path], options: SourceOptions) -> Iterator[Candidate | TileFailure]:
    """Candidates in a folder and below. `seen` holds the resolved paths taken already and is added to."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        yield TileFailure(
            folder.name, SourceError(f"{folder} cannot be listed ({error.strerror}); check its permissions")
        )
        return
    if is_safe(folder) or is_sentinel1_safe(folder):
        seen.update(path.resolve() for path in folder.rglob("*"))
        yield from _alone(folder, folder.name.removesuffix(".SAFE"), options)
        return
    tile_files = [path for path in children if is_tile_file(path)]
    if tile_files:  # what else lies here is a part of them
        seen.update(path.resolve() for path in folder.rglob("*"))
        for path in tile_files:
            yield from _file(path, seen, options)
        return
    if is_stac_catalog(folder):
        seen.update(path.resolve() for path in folder.rglob("*"))
        yield from _listed(folder, options)
        return
    if ssl4eo.is_place(folder):
        seen.update(path.resolve() for path in folder.rglob("*"))
        yield from ssl4eo.candidates_of_place(folder)
        return
    files = [path for path in tiffs_in(folder) if path.resolve() not in seen]
    if any(band_name_of(path.stem) for path in files):
        stacks = [path for path in files if not (band_name_of(path.stem) or is_side_file(path)) and _is_stack(path)]
        singles = [path for path in files if path not in stacks]
        seen.update(path.resolve() for path in singles)
        try:
            yield Candidate(folder.name, (product_from_folder(folder, singles),), loose=True)
        except LsdError as error:
            yield TileFailure(folder.name, error)
    else:
        stacks = files
    others = [path for path in children if path.suffix.casefold() == ".zip" or is_stac_item(path)]
    for path in (*stacks, *others):
        yield from _file(path, seen, options)
    for child in children:
        if child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, seen, options)


def _file(path: Path, seen: set[Path], options: SourceOptions) -> Iterator[Candidate | TileFailure]:
    """The candidates of one file."""
    seen.add(path.resolve())
    if is_tile_file(path):
        yield from _one(path, lambda: candidate_of_tile_file(path, options))
    elif is_stac_item(path):
        yield from _one(path, lambda: candidate_of_item(path, options))
    elif is_stac_catalog(path):
        yield from _listed(path, options)
    else:
        yield from _alone(path, path.stem.removesuffix(".SAFE"), options)


def _alone(path: Path, tile_id: str, options: SourceOptions) -> Iterator[Candidate | TileFailure]:
    """One product that is a tile of its own."""
    yield from _one(path, lambda: Candidate(tile_id, (product_of(path, options),), loose=True))


def _one(path: Path, make: Callable[[], Candidate]) -> Iterator[Candidate | TileFailure]:
    try:
        yield make()
    except LsdError as error:
        yield TileFailure(path.stem.removesuffix(".tile"), error)


def _listed(path: Path, options: SourceOptions) -> Iterator[Candidate | TileFailure]:
    """The candidates of a STAC catalog."""
    try:
        yield from candidates_of_catalog(path, options)
    except LsdError as error:
        yield TileFailure(path.name, error)


def _joined(candidates: Sequence[Candidate], options: SourceOptions) -> tuple[list[Candidate], list[TileFailure]]:
    """With an event time, products found apart are joined by place: optical scenes with the radar over them."""
    scenes: list[FoundScene] = []
    kept: list[Candidate] = []
    for candidate in candidates:
        try:
            scene = loose_scene(candidate) if candidate.loose and len(candidate.products) == 1 else None
        except LsdError:
            scene = None  # assembling it tells what is wrong
        if scene is None:
            kept.append(candidate)
        else:
            scenes.append(scene)
    made, failures = joined(scenes, options)
    return [*kept, *made], failures


def _is_stack(path: Path) -> bool:
    """True if a file holds several bands or names its one band; an unreadable one counts as single and fails there."""
    try:
        with open_raster(path) as dataset:
            return bool(dataset.count > 1 or dataset.descriptions[0])
    except TileError:
        return False


def _nothing_in(folder: Path, seen: set[Path]) -> list[TileFailure]:
    """A failure if a folder given by the user holds nothing that could be a tile."""
    if not folder.is_dir() or any(folder.resolve() in path.parents and path.is_file() for path in seen):
        return []
    others = sorted({path.suffix or path.name for path in folder.rglob("*") if path.is_file()})
    held = f"it holds {', '.join(others[:5])} files" if others else "it is empty"
    return [
        TileFailure(
            folder.name, SourceError(f"{folder} holds no GeoTIFF, here or below ({held}); give a folder that does")
        )
    ]


def _with_unique_ids(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put parent folders before ids that occur more than once, as many as it takes."""
    ids = [candidate.id for candidate in candidates]
    depth = 1
    while len(set(ids)) < len(ids) and depth < MAX_DEPTH:
        counts = Counter(ids)
        for i, candidate in enumerate(candidates):
            if counts[ids[i]] > 1:
                product = candidate.products[0]
                ids[i] = "_".join([*product.path.resolve().parent.parts[-depth:], product.name])
        depth += 1
    return [replace(candidate, id=unique) for unique, candidate in zip(ids, candidates, strict=True)]
