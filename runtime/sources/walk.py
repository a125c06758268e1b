"""Folders below a source, listed before anything in them is taken: a STAC item may name files that lie anywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsd.runtime.errors import SourceError
from lsd.runtime.sources import ssl4eo
from lsd.runtime.sources.product import TileFailure
from lsd.runtime.sources.safe import is_safe, is_sentinel1_safe
from lsd.runtime.sources.stac_catalog import is_stac_catalog, items_of_catalog
from lsd.runtime.sources.stac_item import ITEM_SUFFIXES, files_of_item, is_stac_item
from lsd.runtime.sources.tile_file import is_tile_file

Kind = Literal["safe", "tile files", "catalog", "ssl4eo place", "plain"]


@dataclass(frozen=True)
class Folder:
    """A folder as it was listed.

    kind: what it is as a whole, `plain` where its children count one by one. children: what lies directly in it, in
    order. below: resolved paths of all that lies in it, at any depth; empty of a plain one, whose folders follow it.
    items: the STAC items that may make tiles of it.
    """

    path: Path
    kind: Kind
    children: Sequence[Path]
    below: frozenset[Path]
    items: Sequence[Path]


def folders_of(folder: Path, entered: set[Path], left_alone: Collection[Path]) -> Iterator[Folder | TileFailure]:
    """A folder and those below it, each before its own; a failure in place of one that cannot be listed.

    Args:
        entered: resolved paths that were looked into already, which are left out; it is added to.
        left_alone: as `lsd.runtime.sources.tiles_of` takes it.
    """
    if folder.resolve() in entered:
        return
    entered.add(folder.resolve())
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        reason = f"{folder} cannot be listed ({error.strerror}); check its permissions"
        yield TileFailure(folder.name, SourceError(reason))
        return
    kind = _kind(folder, children)
    if kind != "plain":
        inside = folder.resolve().rglob("*")
        below = frozenset(path.resolve() if path.is_symlink() else path for path in inside)
        entered |= below
        yield Folder(folder, kind, children, below, items_of_catalog(folder) if kind == "catalog" else ())
        return
    yield Folder(folder, kind, children, frozenset(), [path for path in children if is_stac_item(path)])
    for child in children:
        if child.is_dir() and not child.name.startswith(".") and not is_left(child, left_alone):
            yield from folders_of(child, entered, left_alone)


def _kind(folder: Path, children: Sequence[Path]) -> Kind:
    if is_safe(folder) or is_sentinel1_safe(folder):
        return "safe"
    if any(is_tile_file(path) for path in children):
        return "tile files"
    if is_stac_catalog(folder):
        return "catalog"
    return "ssl4eo place" if ssl4eo.is_place(folder) else "plain"


def items_of_file(path: Path) -> Sequence[Path]:
    """The STAC items of a file that is one, or a catalog; none of any other file."""
    if is_stac_item(path):
        return [path]
    return items_of_catalog(path) if is_stac_catalog(path) else ()


def named_by(items: Sequence[Path]) -> set[Path]:
    """Resolved paths of the files that items name, wherever they lie: they are no tile of their own.

    Folders and texts that they name (metadata, the item itself) are not among them.
    """
    named = {file for item in items for file in files_of_item(item) if file.suffix.casefold() not in ITEM_SUFFIXES}
    return {file.resolve() for file in named if not file.is_dir()}


def is_left(path: Path, left_alone: Collection[Path]) -> bool:
    """True for what is still being written, and for what lies in it."""
    if not left_alone:
        return False
    resolved = path.resolve()
    return any(one in left_alone for one in (resolved, *resolved.parents))
