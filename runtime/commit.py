"""Products appear whole or not at all: written in a hidden folder, forced to disk, renamed once.

Everything that writes a product goes through `write_bytes`, so that a full disk, a missing permission or a vanished
mount is one `OutputError` and never a short file under its final name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from lsd.runtime.errors import LsdError, OutputError

_FIXES = {
    errno.ENOSPC: "free space on that disk or choose another folder with -o",
    errno.EDQUOT: "free some of your quota or choose another folder with -o",
    errno.EFBIG: "raise the limit on file size (ulimit -f) or choose another disk with -o",
    errno.EACCES: "make it writable for this user or choose another folder with -o",
    errno.EPERM: "make it writable for this user or choose another folder with -o",
    errno.EROFS: "remount it writable or choose another folder with -o",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another folder with -o",
    errno.EEXIST: "a file is in the way; remove it or choose another folder with -o",
    errno.ENAMETOOLONG: "shorten the path",
}
_MAX_NAME_BYTES = 200  # file systems allow 255; the hidden names of `tile_folder` add up to 9


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the operating system into one `OutputError` about `path`; `errno` is kept."""
    try:
        yield
    except LsdError:
        raise
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "check that the disk is mounted or choose another folder with -o")
        failure = OutputError(f"cannot write {path}: {error.strerror or error}; {fix}")
        failure.errno = error.errno
        raise failure from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file and force it to disk.

    Raises:
        OutputError: it could not be written; what is there now may be short, `tile_folder` removes it.
    """
    with writing(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file that may be there already: a reader, or a power cut, finds the old one or the new one whole.

    Raises:
        OutputError: it could not be written; the old one stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        write_bytes(partial, data)
        with writing(path):
            partial.replace(path)
            _fsync(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, if it is not there, and force its name to disk.

    The name is forced even if the folder is there: whoever made it may have been stopped before it was on the disk.

    Raises:
        OutputError: the disk refuses, or a file is in the way.
    """
    with writing(folder):
        if not folder.parent.is_dir():
            make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        with suppress(PermissionError):  # a folder above that this user may enter and not list
            _fsync(folder.parent)


def prepare_output(out: Path) -> None:
    """Create the output folder, put back what an interrupted replacement set aside, prove that files can be written.

    Raises:
        OutputError: `out` cannot be created or takes no file.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for aside in sorted(out.glob(".*.aside")):
            _put_back(aside, out / aside.name[1 : -len(".aside")])
        with tempfile.TemporaryFile(dir=out) as probe:
            probe.write(b"lsd-run")
            probe.flush()


def remove_partials(out: Path) -> None:
    """Delete what an interrupted run left unfinished; only where no other run writes into `out`.

    Raises:
        OutputError: the disk refuses.
    """
    with writing(out):
        for partial in sorted(out.glob(".*.partial")):
            _remove(partial)


def folder_name(tile_id: str) -> str:
    """Folder name of a tile: its id with anything but letters, digits and `_.+=@-` as `_`, no leading dot.

    An id that had to be changed or cut gets eight digits of its hash, so that two ids never share a folder.
    """
    name = re.sub(r"[^\w.+=@-]|^\.", "_", tile_id)
    if name == tile_id and name and len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(tile_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = name.encode("utf-8", "replace")[: _MAX_NAME_BYTES - 9].decode("utf-8", "ignore")
    return f"{kept}-{digest}" if kept else f"tile-{digest}"


def tile_folder(
    out: Path, tile_id: str, overwrite: bool = False, marker: str | None = None
) -> AbstractContextManager[Path]:
    """Folder for the products of one tile: `whole_folder` at `out / folder_name(tile_id)`."""
    return whole_folder(out / folder_name(tile_id), overwrite, marker)


@contextmanager
def whole_folder(final: Path, overwrite: bool = False, marker: str | None = None) -> Iterator[Path]:
    """A folder that appears under its name when the block ends well, or not at all.

    Yields a hidden folder beside `final`. At the end its files and itself are forced to disk and it is renamed once. If
    the block raises, it is removed. An older folder of that name is replaced by two renames: should the machine stop
    between them, the next `prepare_output` or `whole_folder` puts the older one back. Only one process may write it.

    Args:
        marker: file by which an older folder is known as one of ours; another one that is not empty is never replaced.
    Raises:
        OutputError: `final` is there already and `overwrite` is False, it is none of ours, or the disk refuses.
    """
    final = final if final.name not in ("", "..") else final.resolve()
    partial, aside = final.with_name(f".{final.name}.partial"), final.with_name(f".{final.name}.aside")
    with writing(final):
        _put_back(aside, final)
        if os.path.lexists(final) and not overwrite:
            raise OutputError(f"{final} is there already; give --overwrite to replace it or another folder with -o")
        if marker and os.path.lexists(final) and not _is_ours(final, marker):
            raise OutputError(f"{final} holds no {marker}, so it is not replaced; choose another folder with -o")
        _remove(partial)
        partial.mkdir()
    try:
        yield partial
        with writing(final):
            _sync(partial)
            _rename(partial, final, aside, overwrite)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def put_in_place(made: Path, final: Path, overwrite: bool = False) -> None:
    """Give a finished folder its final name at once, as `whole_folder` does at its end; both lie in the same folder.

    Raises:
        OutputError: `final` is there already and `overwrite` is False, or the disk refuses.
    """
    aside = final.with_name(f".{final.name}.aside")
    with writing(final):
        _put_back(aside, final)
        if os.path.lexists(final) and not overwrite:
            raise OutputError(f"{final} is there already; give --overwrite to replace it or another folder with -o")
        _sync(made)
        _rename(made, final, aside, overwrite)


def _is_ours(final: Path, marker: str) -> bool:
    return final.is_dir() and ((final / marker).is_file() or next(final.iterdir(), None) is None)


def _rename(partial: Path, final: Path, aside: Path, overwrite: bool) -> None:
    """Give `partial` its final name; what stood there goes aside first and is deleted last."""
    replaces = overwrite and os.path.lexists(final)
    if replaces:
        final.rename(aside)
    try:
        partial.rename(final)
    except OSError:
        if replaces:
            aside.rename(final)
        raise
    _fsync(final.parent)
    if replaces:
        _remove(aside)


def _put_back(aside: Path, final: Path) -> None:
    """Undo a replacement that was interrupted: the older folder returns unless the newer one has arrived."""
    if not os.path.lexists(aside):
        return
    if os.path.lexists(final):
        _remove(aside)
    else:
        aside.rename(final)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Force every file below `folder`, and the folders themselves, to disk."""
    for root, _, names in os.walk(folder):
        for path in (*(Path(root) / name for name in names), Path(root)):
            _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
