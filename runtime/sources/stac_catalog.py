"""A STAC catalog on disk, or a folder of items: which of its items make which tiles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lsd.runtime.errors import LsdError, SourceError
from lsd.runtime.ingest.times import acquired
from lsd.runtime.sources.joining import FoundScene, joined
from lsd.runtime.sources.product import Candidate, SourceOptions, TileFailure, read_metadata
from lsd.runtime.sources.stac_item import is_stac_item, product_from_stac_item, read_item

ROOTS = ("catalog.json", "collection.json")
FOLLOWED = ("child", "item")  # STAC catalog specification, relation types of links


def is_stac_catalog(path: Path) -> bool:
    """True for a STAC catalog or collection, a folder with `catalog.json` or `collection.json` or with several items.

    A root file that cannot be parsed counts, so that its reader can say what is wrong with it.
    """
    if path.is_file():
        return path.suffix.casefold() == ".json" and _is_root(path)
    if not path.is_dir():
        return False
    return _root_in(path) is not None or len(_items_in(path)) > 1


def candidate_of_item(path: Path, options: SourceOptions) -> Candidate:
    """The tile of one item alone.

    Raises:
        BandError, SourceError, TileError: as `product_from_stac_item`.
    """
    product = product_from_stac_item(path, options)
    return Candidate(product.name, (product,), loose=True)


def candidates_of_catalog(path: Path, options: SourceOptions) -> list[Candidate | TileFailure]:
    """The tiles of a catalog: one for each Sentinel-2 item after the event, with all Sentinel-1 items that overlap it.

    Sentinel-1 items are joined in order of time, whatever their track: ingest pairs them. Those that no Sentinel-2 item
    takes are tiles of their own, one for each relative orbit and frame. Without an event time every Sentinel-2 item is
    a tile. Those before the event are failures where no later one overlaps them, as are items that cannot be used.
    """
    found = _scenes(path, options)
    failures = [one for one in found if isinstance(one, TileFailure)]
    scenes = [one for one in found if isinstance(one, FoundScene)]
    candidates, too_early = joined(scenes, options)
    failures += too_early
    if not candidates and not failures:
        failures.append(
            TileFailure(_name(path), SourceError(f"{path} links no STAC item; give the folder that holds the items"))
        )
    return [*candidates, *failures]


def items_of_catalog(path: Path) -> list[Path]:
    """The files of its items, as far as they can be reached; whether they can be used is not looked at."""
    return [one for one in _reached(path) if isinstance(one, Path)]


def _is_root(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return path.name in ROOTS
    return isinstance(found, dict) and found.get("type") in ("Catalog", "Collection") and "stac_version" in found


def _root_in(folder: Path) -> Path | None:
    return next((folder / name for name in ROOTS if (folder / name).is_file() and _is_root(folder / name)), None)


def _items_in(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_stac_item(path)]
    except OSError:
        return []


def _scenes(path: Path, options: SourceOptions) -> list[FoundScene | TileFailure]:
    """Every item below a root, read; what cannot be read or followed is a failure."""
    scenes: list[FoundScene | TileFailure] = []
    for one in _reached(path):
        if isinstance(one, TileFailure):
            scenes.append(one)
            continue
        try:
            scenes.append(_scene(one, options))
        except LsdError as error:
            scenes.append(TileFailure(_id_of(one), error))
    return scenes


def _reached(path: Path) -> Sequence[Path | TileFailure]:
    root = path if path.is_file() else _root_in(path)
    return _linked(root) if root else _items_in(path)


def _linked(root: Path) -> list[Path | TileFailure]:
    """Items that a root reaches by child and item links, each once, in order of the links."""
    found: list[Path | TileFailure] = []
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        path = waiting.pop()
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            links = _links(path)
        except LsdError as error:
            found.append(TileFailure(_name(path), error))
            continue
        if links is None:
            found.append(path)
            continue
        following: list[Path] = []
        for href in links:
            parts = urlsplit(href)
            target = path.parent / unquote(parts.path)
            if parts.scheme not in ("", "file"):
                reason = f"{path} links {href}, which is remote: catalogs are followed on disk only; save it beside it"
            elif not target.is_file():
                reason = f"{path} links {target}, which is missing; copy the catalog whole, or remove the link"
            else:
                following.append(target)
                continue
            found.append(TileFailure(Path(parts.path).stem or path.stem, SourceError(reason)))
        waiting += reversed(following)
    return found


def _links(path: Path) -> list[str] | None:
    """Where a catalog or collection leads to; None for anything else, which is read as an item."""
    content = read_metadata(path)
    if content.get("type") not in ("Catalog", "Collection"):
        return None
    links = content.get("links", [])
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise SourceError(f"{path}: links should be a list of objects, is {links!r:.60}; copy the catalog again")
    return [str(link["href"]) for link in links if link.get("rel") in FOLLOWED and link.get("href")]


def _scene(path: Path, options: SourceOptions) -> FoundScene:
    product = product_from_stac_item(path, options)
    is_optical = any(file.is_optical for file in product.files)
    return FoundScene(product, read_item(path).bbox, acquired(product.metadata, product.names), is_optical)


def _id_of(path: Path) -> str:
    """Id of an item that cannot be used: its own, else its file's name."""
    try:
        return read_item(path).id
    except LsdError:
        return path.stem


def _name(path: Path) -> str:
    """What a catalog is called: its folder."""
    return path.resolve().parent.name if path.is_file() else path.name
