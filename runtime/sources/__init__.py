"""Sources: from paths to tiles. A path is a stack, a folder of single-band files, or a folder above such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lsd.runtime.errors import LsdError, SourceError, TileError
from lsd.runtime.ingest.raster import open_raster
from lsd.runtime.sources import bigearthnet, ssl4eo
from lsd.runtime.sources.assembly import tile_of
from lsd.runtime.sources.folder import product_from_folder, tiffs_in
from lsd.runtime.sources.product import (
    TIFF_SUFFIXES,
    Candidate,
    SourceOptions,
    TileFailure,
    band_name_of,
)
from lsd.runtime.sources.stack import product_from_stack
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
    paths = [path if path.name not in ("", "..") else path.resolve() for path in paths]  # a tile is named by its folder
    found: list[Candidate | TileFailure] = []
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() not in seen:
            found += list(_walk(path, seen)) if path.is_dir() else list(_stack(path, seen))
            found += _nothing_in(path, seen)
    candidates = bigearthnet.pair([one for one in found if isinstance(one, Candidate)])
    for candidate in _with_unique_ids(candidates):
        try:
            yield tile_of(candidate, options or SourceOptions())
        except LsdError as error:
            yield TileFailure(candidate.id, error)
    yield from (one for one in found if isinstance(one, TileFailure))


def _walk(folder: Path, seen: set[Path]) -> Iterator[Candidate | TileFailure]:
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
    if ssl4eo.is_place(folder):
        seen.update(path.resolve() for path in folder.rglob("*"))
        yield from ssl4eo.candidates_of_place(folder)
        return
    files = [path for path in tiffs_in(folder) if path.resolve() not in seen]
    if any(band_name_of(path.stem) for path in files):
        stacks = [path for path in files if band_name_of(path.stem) is None and _is_stack(path)]
        singles = [path for path in files if path not in stacks]
        seen.update(path.resolve() for path in singles)
        try:
            yield Candidate(folder.name, (product_from_folder(folder, singles),))
        except LsdError as error:
            yield TileFailure(folder.name, error)
    else:
        stacks = files
    for path in stacks:
        yield from _stack(path, seen)
    for child in children:
        if child.is_dir() and not child.name.startswith("."):
            yield from _walk(child, seen)


def _stack(path: Path, seen: set[Path]) -> Iterator[Candidate | TileFailure]:
    """The candidate of one file."""
    seen.add(path.resolve())
    try:
        if path.suffix.casefold() not in TIFF_SUFFIXES:
            raise SourceError(
                f"{path} is no GeoTIFF ({path.suffix or 'no suffix'}); give GeoTIFF stacks with named bands or folders "
                "of single-band GeoTIFFs"
            )
        yield Candidate(path.stem, (product_from_stack(path),))
    except LsdError as error:
        yield TileFailure(path.stem, error)


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
