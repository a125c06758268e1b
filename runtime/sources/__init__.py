"""Sources: from paths to tiles.

A path is a SAFE, a zip, a stack, a folder of single-band files, a tile file, a STAC item or catalog, or a folder above.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from lsd.runtime.errors import LsdError, SourceError, TileError
from lsd.runtime.ingest.raster import GDAL_ERRORS, on_disk
from lsd.runtime.sources import bigearthnet, ssl4eo
from lsd.runtime.sources.assembly import tile_of
from lsd.runtime.sources.folder import MASK_KEY, is_side_file, product_from_folder, tiffs_in
from lsd.runtime.sources.joining import FoundScene, joined, loose_scene
from lsd.runtime.sources.memo import Memo
from lsd.runtime.sources.part import product_of
from lsd.runtime.sources.product import Candidate, SourceOptions, TileFailure, band_name_of
from lsd.runtime.sources.stac_catalog import candidate_of_item, candidates_of_catalog, is_stac_catalog
from lsd.runtime.sources.stac_item import MAX_ITEM_BYTES, is_stac_item, read_item
from lsd.runtime.sources.stack import is_stack
from lsd.runtime.sources.tile_file import candidate_of_tile_file, is_tile_file
from lsd.runtime.sources.walk import Folder, folders_of, is_left, items_of_file, named_by
from lsd.runtime.tiles import Tile

__all__ = ["Memo", "SourceOptions", "TileFailure", "tiles_of"]

MAX_DEPTH = 32  # folders above a tile that may go into its id


def tiles_of(
    paths: Sequence[Path],
    options: SourceOptions | None = None,
    left_alone: Collection[Path] = (),
    memo: Memo | None = None,
) -> Iterator[Tile | TileFailure]:
    """The tiles below some paths, in sorted order within each path, every file once.

    Files are listed first, so that products that belong together (BigEarthNet, SSL4EO) become one tile wherever they
    lie; they are opened one tile at a time. A tile that cannot be used is a `TileFailure` and the next one follows.

    Args:
        left_alone: resolved paths, files and whole folders, that are still being written (`Round.left_alone`). They are
            not opened as rasters, and a tile that needs one of them is no tile yet: neither given nor a failure.
        memo: of the rounds before, where there are any. Folders are listed and texts read again, but no raster is
            opened that has not changed, and a tile of such files is the very object that was given before.
    Raises:
        SourceError: a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise SourceError(f"source {path} does not exist; check the path, or mount the disk it is on")
    options = options or SourceOptions()
    paths = [path if path.name not in ("", "..") else path.resolve() for path in paths]  # a tile is named by its folder
    if memo is not None:
        memo.begin()
    found: list[Candidate | TileFailure] = []
    entered: set[Path] = set()  # resolved folders
    seen: set[Path] = set()  # resolved files that are a tile's already
    listed: list[tuple[Path, list[Folder | TileFailure]]] = []
    for path in paths:
        if path.resolve() not in entered and not is_left(path, left_alone):
            folders = list(folders_of(path, entered, left_alone)) if path.is_dir() else []
            listed.append((path, folders))
            items = [one for folder in folders if isinstance(folder, Folder) for one in folder.items]
            seen |= named_by(items if folders else items_of_file(path))
    for path, folders in listed:
        if path.resolve() in seen:
            continue
        if not folders:
            found += _file(path, seen, options, left_alone, memo)
        for folder in folders:
            found += [folder] if isinstance(folder, TileFailure) else _inside(folder, seen, options, left_alone, memo)
        found += _nothing_in(path, seen, left_alone)
    found = [one for one in found if isinstance(one, TileFailure) or not _needs_left(one, left_alone)]
    candidates = bigearthnet.pair([one for one in found if isinstance(one, Candidate)])
    if options.event_time is not None:
        candidates, failures = _joined(candidates, options, memo)
        found += failures
    for candidate in _with_unique_ids(candidates):
        yield _made(candidate, options, memo)
    yield from (one for one in found if isinstance(one, TileFailure))


def _made(candidate: Candidate, options: SourceOptions, memo: Memo | None) -> Tile | TileFailure:
    """The tile of a candidate, or why there is none; what the memo has if neither it nor its files have changed."""

    def made() -> Tile | TileFailure:
        try:
            return tile_of(candidate, options)
        except LsdError as error:
            return TileFailure(candidate.id, error)

    if memo is None:
        return made()
    files = {file.path: None for product in candidate.products for file in product.files if not file.is_ignored}
    masks = [Path(product.metadata[MASK_KEY]) for product in candidate.products if MASK_KEY in product.metadata]
    described = hashlib.blake2b(repr((candidate, options)).encode(), digest_size=16).digest()
    return memo.of(described, [*files, *masks], made, _lasts)


def _lasts(made: Tile | TileFailure) -> bool:
    """False for a failure to read, which may come of the disk; what is kept of others is their message."""
    if isinstance(made, TileFailure):
        if isinstance(made.error.__cause__, GDAL_ERRORS):
            return False
        made.error.__traceback__ = made.error.__cause__ = made.error.__context__ = None  # they hold what was read
    return True


def _inside(
    folder: Folder, seen: set[Path], options: SourceOptions, left_alone: Collection[Path], memo: Memo | None
) -> Iterator[Candidate | TileFailure]:
    """Candidates of a folder, without those of the folders that follow it. `seen` is added to."""
    path = folder.path
    if folder.kind != "plain":
        is_named = not folder.below.isdisjoint(seen)
        seen |= folder.below
        if folder.kind == "tile files":  # what else lies here is a part of them
            for child in filter(is_tile_file, folder.children):
                yield from _file(child, seen, options, left_alone, memo)
        elif folder.kind == "catalog":
            yield from _listed(path, options, left_alone)
        elif folder.kind == "ssl4eo place":
            yield from ssl4eo.candidates_of_place(path, memo)
        elif not is_named:  # else the SAFE is a STAC item's
            yield from _alone(path, path.name.removesuffix(".SAFE"), options, memo)
        return
    children = [child for child in folder.children if not is_left(child, left_alone)]
    arrived = [file for file in tiffs_in(path) if file.resolve() not in seen]
    files = [file for file in arrived if not is_left(file, left_alone)]
    if any(band_name_of(file.stem) for file in files):
        others = [file for file in files if not (band_name_of(file.stem) or is_side_file(file))]
        stacks = [file for file in others if _is_stack(file, memo)]
        singles = [file for file in files if file not in stacks]
        seen.update(file.resolve() for file in singles)
        coming = [file for file in arrived if is_left(file, left_alone)]
        if not any(band_name_of(file.stem) for file in coming):  # else the product is not whole yet
            try:
                yield Candidate(path.name, (product_from_folder(path, singles, memo),), loose=True)
            except LsdError as error:
                yield TileFailure(path.name, error)
    else:
        stacks = files
    rest = [child for child in children if child.suffix.casefold() == ".zip" or child in folder.items]
    for file in (*stacks, *rest):
        yield from _file(file, seen, options, left_alone, memo)


def _file(
    path: Path, seen: set[Path], options: SourceOptions, left_alone: Collection[Path], memo: Memo | None
) -> Iterator[Candidate | TileFailure]:
    """The candidates of one file."""
    seen.add(path.resolve())
    if (is_tile_file(path) or is_stac_item(path)) and _waits(path, left_alone):
        return
    if is_tile_file(path):
        yield from _one(path, lambda: candidate_of_tile_file(path, options, memo))
    elif is_stac_item(path):
        yield from _one(path, lambda: candidate_of_item(path, options))
    elif is_stac_catalog(path):
        yield from _listed(path, options, left_alone)
    else:
        yield from _alone(path, path.stem.removesuffix(".SAFE"), options, memo)


def _alone(path: Path, tile_id: str, options: SourceOptions, memo: Memo | None) -> Iterator[Candidate | TileFailure]:
    """One product that is a tile of its own."""
    yield from _one(path, lambda: Candidate(tile_id, (product_of(path, options, memo),), loose=True))


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


def _waits(path: Path, left_alone: Collection[Path]) -> bool:
    """True for a tile file or item that is still being written, or whose text has the name of something that is."""
    if is_left(path, left_alone):
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
    return any(is_left(path, left_alone) for path in places)


def _joined(
    candidates: Sequence[Candidate], options: SourceOptions, memo: Memo | None
) -> tuple[list[Candidate], list[TileFailure]]:
    """With an event time, products found apart are joined by place: optical scenes with the radar over them."""
    scenes: list[FoundScene] = []
    kept: list[Candidate] = []
    for candidate in candidates:
        try:
            scene = loose_scene(candidate, memo) if candidate.loose and len(candidate.products) == 1 else None
        except LsdError:
            scene = None  # assembling it tells what is wrong
        if scene is None:
            kept.append(candidate)
        else:
            scenes.append(scene)
    made, failures = joined(scenes, options)
    return [*kept, *made], failures


def _is_stack(path: Path, memo: Memo | None) -> bool:
    """`is_stack`; an unreadable file counts as single and fails there."""
    try:
        return is_stack(path, memo)
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
