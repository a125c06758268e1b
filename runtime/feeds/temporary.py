"""Names that say of themselves that a file is not whole yet: what copiers, browsers and downloaders write first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# rsync writes `.NAME.Xa3f9Z`, browsers .crdownload, .part and .download, WinSCP .filepart, others the rest.
SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".download", "~")
# What macOS leaves in a folder that it copied; it stays, so it says nothing about a copy under way.
_LEFT_BY_FINDER = (".ds_store", "._")


def is_temporary(name: str) -> bool:
    """True for the name of a file or folder that is still being written: a leading dot or one of `SUFFIXES`."""
    name = name.casefold()
    return name.startswith(".") or name.endswith(SUFFIXES)


def is_temporary_inside(name: str) -> bool:
    """The same for a file inside a product's folder, where Finder's `.DS_Store` and `._NAME` count for nothing."""
    return is_temporary(name) and not name.casefold().startswith(_LEFT_BY_FINDER)


def temporary_below(folder: Path) -> Iterator[Path]:
    """Files and folders below a folder with a temporary name; nothing that lies inside such a folder."""
    for place, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            if is_temporary(name):
                yield Path(place, name)
        folders[:] = [name for name in folders if not is_temporary(name)]
