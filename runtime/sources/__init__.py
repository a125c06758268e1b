"""Sources: from paths to tiles.

A path is a SAFE, a zip, a stack, a folder of single-band files, a tile file, a STAC item or catalog, or a folder above.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from lsd.runtime.errors import LsdError, SourceError, TileError
from lsd.runtime.ingest.raster import on_disk, open_raster
from lsd.runtime.sources import bigearthnet, ssl4eo
from lsd.runtime.sources.assembly import tile_of
from lsd.runtime.sources.folder import is_side_file, product_from_folder, tiffs_in
from lsd.runtime.sources.joining import FoundScene, joined, loose_scene
from lsd.runtime.sources.part import product_of
from lsd.runtime.sources.product import Candidate, SourceOptions, TileFailure, band_name_of
from lsd.runtime.sources.safe import is_safe, is_sentinel1_safe
from lsd.runtime.sources.stac_catalog import candidate_of_item, candidates_of_catalog, is_stac_catalog
from lsd.runtime.sources.stac_item import MAX_ITEM_BYTES, is_stac_item, read_item
from lsd.runtime.sources.tile_file import candidate_of_tile_file, is_tile_file
from lsd.runtime.tiles import Tile

__all__ = ["SourceOptions", "TileFailure", "tiles_of"]

MAX_DEPTH = 32  # folders above a tile that may go into its id


def tiles_of(
    paths: Sequence[Path], options: SourceOptions | None = None, left_alone: Collection[Path] = ()
) -> Iterator[Tile | TileFailure]:
    """The tiles below some paths, in sorted order within each path, every file once.

    Files are listed first, so that products that belong together (BigEarthNet, SSL4EO) become one tile wherever they
    lie; they are opened one tile at a time. A tile that cannot be used is a `TileFailure` and the next one follows.

    Args:
        left_alone: resolved paths, files and whole folders, that are still being written (`Round.left_alone`). They are
            not opened, and a tile that needs one of them is no tile yet: neither given nor a failure.
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
        if path.resolve() not in seen and not _is_left(path, left_alone):
            found += list((_walk if path.is_dir() else _file)(path, seen, options, left_alone))
            found += _nothing_in(path, seen, left_alone)
    found = [one for one in found if isinstance(one, TileFailure) or not _needs_left(one, left_alone)]
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


def _walk(
    folder: Path, seen: set[Path], options: SourceOptions, left_alone: Collection[Path]
) -> Iterator[Candidate | TileFailure]:
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
            yield from _file(path, seen, options, left_alone)
        return
    if is_stac_catalog(folder):
        seen.update(path.resolve() for path in folder.rglob("*"))
        yield from _listed(folder, options, left_alone)
        return
    if ssl4eo.is_place(folder):
        seen.update(path.resolve() for path in folder.rglob("*"))
        yield from ssl4eo.candidates_of_place(folder)
        return
    children = [path for path in children if not _is_left(path, left_alone)]
    arrived = [path for path in tiffs_in(folder) if path.resolve() not in seen]
    files = [path for path in arrived if not _is_left(path, left_alone)]
    if any(band_name_of(path.stem) for path in files):
        stacks = [path for path in files if not (band_name_of(path.stem) or is_side_file(path)) and _is_stack(path)]
        singles = [path for path in files if path not in stacks]
        seen.update(path.resolve() for path in singles)
        coming = [path for path in arrived if _is_left(path, left_alone)]
        if not any(band_name_of(path.stem) for path in coming):  # else the product is not whole yet
            try:
                yield Candidate(folder.name, (product_from_folder(folder, singles),), loose=True)
            except LsdError as error:
                yield TileFailure(folder.name, error)
    else:
        stacks = files
    others = [path for path in children if path.suffix.casefold() == ".zip" or is_stac_item(path)]
    for path in (*stacks, *others):
        yield from _file(path, seen, options, left_alone)
    for child in children:
        if child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, seen, options, left_alone)


def _file(
    path: Path, seen: set[Path], options: SourceOptions, left_alone: Collection[Path]
) -> Iterator[Candidate | TileFailure]:
    """The candidates of one file."""
    seen.add(path.resolve())
    if (is_tile_file(path) or is_stac_item(path)) and _waits(path, left_alone):
        return
    if is_tile_file(path):
        yield from _one(path, lambda: candidate_of_tile_file(path, options))
    elif is_stac_item(path):
        yield from _one(path, lambda: candidate_of_item(path, options))
    elif is_stac_catalog(path):
        yield from _listed(path, options, left_alone)
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


def _listed(path: Path, options: SourceOptions, left_alone: Collection[Path]) -> Iterator[Candidate | TileFailure]:
    """The candidates of a STAC catalog; an item that waits for files that are being written cannot fail yet."""
    try:
        found = candidates_of_catalog(path, options)
    except LsdError as error:
        yield TileFailure(path.name, error)
        return
    waiting: set[str] = set()
    if left_alone and any(isinstance(one, TileFailure) for one in found):
        items = (path if path.is_dir() else path.parent).rglob("*.*json")
        waiting = {name for item in items if _waits(item, left_alone) for name in _names_of(item)}
    yield from (one for one in found if isinstance(one, Candidate) or one.id not in waiting)


def _names_of(item: Path) -> set[str]:
    """What a failure of an item may be called: its id, or its file's name."""
    try:
        return {read_item(item).id, item.stem}
    except LsdError:
        return {item.stem}


def _is_left(path: Path, left_alone: Collection[Path]) -> bool:
    """True for what is still being written, and for what lies in it."""
    if not left_alone:
        return False
    resolved = path.resolve()
    return any(one in left_alone for one in (resolved, *resolved.parents))


def _waits(path: Path, left_alone: Collection[Path]) -> bool:
    """True for a tile file or item that is still being written, or whose text has the name of something that is."""
    if _is_left(path, left_alone):
        return True
    names = "|".join(re.escape(one.name) for one in left_alone)
    try:
        if not names or path.stat().st_size > MAX_ITEM_BYTES:
            return False
        text = unquote(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False
    return re.search(rf"""(?<![^/"'])({names})(?![^/"'\\])""", text) is not None


def _needs_left(candidate: Candidate, left_alone: Collection[Path]) -> bool:
    """True if any file of a candidate is still being written."""
    files = {file.path for product in candidate.products for file in product.files}
    places = [product.path for product in candidate.products] + [found for file in files if (found := on_disk(file))]
    return any(_is_left(path, left_alone) for path in places)


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


def _nothing_in(folder: Path, seen: set[Path], left_alone: Collection[Path]) -> list[TileFailure]:
    """A failure if a folder given by the user holds nothing that could be a tile, or may become one."""
    if any(folder.resolve() in path.parents for path in left_alone):
        return []
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
