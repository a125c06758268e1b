"""One entry of a watched folder, a file or a folder with everything in it, as a look finds it."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lsd.runtime.feeds.temporary import is_temporary_inside

# What a tile can be read from, or what names its parts; a README beside them starts no round.
TILE_SUFFIXES = (".tif", ".tiff", ".jp2", ".zip", ".json", ".geojson", ".toml")


@dataclass(frozen=True)
class EntryState:
    """What tells whether an entry changed, and whether it may be looked into.

    fingerprint: 16 bytes of the relative names, sizes and modification times of all files. device: of the file system.
    changed_ns: the newest inode change time in it, by the clock of whoever keeps the file system. is_being_written: a
    file in it bears a temporary name. has_marker: a done marker lies directly in it. may_hold_tile: some file in it
    has one of `TILE_SUFFIXES`.
    """

    fingerprint: bytes
    device: int
    changed_ns: int
    is_being_written: bool
    has_marker: bool
    may_hold_tile: bool


def state_of(path: Path, done_suffix: str | None = None) -> EntryState:
    """Look at an entry: one `stat` a file, no file is opened. Links to files are followed, links to folders are not.

    Raises:
        OSError: it vanished, or something in it did while it was looked at.
    """
    own = path.stat()
    if not stat.S_ISDIR(own.st_mode):
        fingerprint = _hashed([(b"", own.st_size, own.st_mtime_ns)])
        return EntryState(fingerprint, own.st_dev, own.st_ctime_ns, False, False, _is_tile_name(path.name))
    found: list[tuple[bytes, int, int]] = []
    changed_ns = own.st_ctime_ns
    is_being_written = has_marker = may_hold_tile = False
    waiting = [str(path)]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as children:
            for child in children:
                if child.is_dir(follow_symlinks=False):
                    waiting.append(child.path)
                    found.append((_relative(child.path, path), 0, 0))
                    changed_ns = max(changed_ns, child.stat(follow_symlinks=False).st_ctime_ns)
                    continue
                if done_suffix is not None and folder == str(path) and child.name.endswith(done_suffix):
                    has_marker = True
                    continue
                is_being_written = is_being_written or is_temporary_inside(child.name)
                may_hold_tile = may_hold_tile or _is_tile_name(child.name)
                status = _status(child)
                found.append((_relative(child.path, path), status.st_size, status.st_mtime_ns))
                changed_ns = max(changed_ns, status.st_ctime_ns)
    return EntryState(_hashed(found), own.st_dev, changed_ns, is_being_written, has_marker, may_hold_tile)


def _status(child: os.DirEntry[str]) -> os.stat_result:
    """Of a file, or of what a link leads to; of the link itself where it leads nowhere."""
    try:
        return child.stat()
    except FileNotFoundError:
        return child.stat(follow_symlinks=False)


def _relative(path: str, entry: Path) -> bytes:
    return os.fsencode(path[len(str(entry)) + 1 :])


def _is_tile_name(name: str) -> bool:
    return name.casefold().endswith(TILE_SUFFIXES)


def _hashed(found: list[tuple[bytes, int, int]]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, size_bytes, modified_ns in sorted(found):
        digest.update(name + b"\0%d %d\0" % (size_bytes, modified_ns))
    return digest.digest()
