"""The log of what a command does to a folder: every write, rename and forced write, as strace saw it, with its data."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsd.runtime.errors import UsageError

Kind = Literal["folder", "file", "write", "resize", "move", "remove", "force"]

# every call by which Linux changes a file or folder, but for maps shared with a file (SQLite's -shm, which no model
# keeps); a recording is proved by replaying it
_UNDERSTOOD = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,write,pwrite64,ftruncate,truncate,"
    "fsync,fdatasync,lseek"
)
_NOT_UNDERSTOOD = (
    "link,linkat,symlink,symlinkat,writev,pwritev,pwritev2,fallocate,copy_file_range,sendfile,splice,dup,dup2,dup3,"
    "sync_file_range,sync,syncfs"
)
_MOST_BYTES = 1 << 24  # of one write
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)(.*)$")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_HANDLE = re.compile(r"^(AT_FDCWD|-?\d+)<(.*?)>(\(deleted\))?$")


@dataclass(frozen=True)
class Step:
    """One change of a folder, or one forced write of a file or folder.

    kind: `folder` and `file` make one, `write` puts `data` at `offset` (bytes), `resize` cuts or lengthens to `offset`,
    `move` renames to `target`, `remove` deletes a file or an empty folder, `force` is fsync or fdatasync. path, target:
    relative to the folder, `.` is the folder itself.
    """

    kind: Kind
    path: str
    data: bytes = b""
    offset: int = 0
    target: str = ""


def recorded(words: Sequence[str], root: Path) -> list[Step]:
    """Run a command and return what it did to `root`, in order.

    Raises:
        UsageError: strace is not here, or the command failed.
        ValueError: it used a call that this module does not understand.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise UsageError("the tool strace is not installed (apt-get install strace)")
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        options = ["-f", "-y", "-xx", "-s", str(_MOST_BYTES), "-e", "signal=none", "-o", str(log)]
        calls = ["-e", f"trace={_UNDERSTOOD},{_NOT_UNDERSTOOD}"]
        done = subprocess.run([strace, *options, *calls, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError(f"the command ended with exit code {done.returncode}: {done.stderr[-500:]}")
        with log.open(encoding="ascii", errors="replace") as lines:
            return list(steps(lines, root.resolve()))


def steps(lines: Iterable[str], root: Path) -> Iterator[Step]:
    """The steps in a log of strace (-f -y -xx) that concern what lies below `root`, an absolute path."""
    positions: dict[str, int] = {}  # handle -> where its next write goes; None of the handles is copied or inherited
    for name, arguments, result, rest in _calls(lines):
        if name in ("open", "openat", "creat"):
            yield from _opened(name, arguments, f"{result}{rest}", root, positions)
            continue
        if name == "lseek":
            positions[arguments[0]] = result
            continue
        if name in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync"):
            path = _relative(_of_handle(arguments[0]), root)
            if path is None:
                continue
            if name == "write":
                at = positions[arguments[0]]
                positions[arguments[0]] = at + result
                yield Step("write", path, _bytes(arguments[1])[:result], at)
            elif name == "pwrite64":
                yield Step("write", path, _bytes(arguments[1])[:result], int(arguments[3]))
            elif name == "ftruncate":
                yield Step("resize", path, offset=int(arguments[1]))
            else:
                yield Step("force", path)
            continue
        found = [_relative(path, root) for path in _paths(arguments)]
        kept = [path for path in found if path is not None]
        if not kept:
            continue
        if name.startswith("mkdir"):
            yield Step("folder", kept[0])
        elif name.startswith("unlink") or name == "rmdir":
            yield Step("remove", kept[0])
        elif name.startswith("rename") and len(kept) == 2 and "RENAME_EXCHANGE" not in arguments[-1]:
            yield Step("move", kept[0], target=kept[1])
        elif name == "truncate":
            yield Step("resize", kept[0], offset=int(arguments[1]))
        else:
            raise ValueError(f"{name} on {', '.join(kept)} is not understood")


def _calls(lines: Iterable[str]) -> Iterator[tuple[str, list[str], int, str]]:
    """Name, arguments, result and what follows it, of every call that succeeded, in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in lines:
        line = line.rstrip("\n")
        if unfinished := _UNFINISHED.match(line):
            begun[unfinished[1]] = unfinished[2]
            continue
        if resumed := _RESUMED.match(line):
            line = f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}"
        if (call := _CALL.match(line)) and not call[4].startswith("-"):  # a failed call changes nothing
            yield call[2], call[3].split(", "), int(call[4]), call[5]


def _opened(name: str, arguments: list[str], result: str, root: Path, positions: dict[str, int]) -> Iterator[Step]:
    flags = "O_CREAT|O_TRUNC" if name == "creat" else arguments[2 if name == "openat" else 1]
    path = _relative(_of_handle(result), root)
    if path is None or "O_TMPFILE" in flags:
        return
    if "O_APPEND" in flags:
        raise ValueError(f"{path} is opened with O_APPEND, which is not understood")
    positions[result] = 0
    if "O_CREAT" in flags:
        yield Step("file", path)
    if "O_TRUNC" in flags:
        yield Step("resize", path)


def _paths(arguments: list[str]) -> Iterator[str]:
    """Absolute paths that a call names, each by text below a folder's handle or by text alone."""
    folder = ""
    for argument in arguments:
        if _HANDLE.match(argument):
            folder = _of_handle(argument) or ""
        elif argument.startswith('"'):
            yield str(Path(folder, _bytes(argument).decode("utf-8", "surrogateescape")))


def _of_handle(argument: str) -> str | None:
    """Path behind `3</path>`; None of a file without a name."""
    handle = _HANDLE.match(argument)
    if handle is None or handle[3] or handle[2].endswith(" (deleted)"):
        return None
    path = handle[2]
    return bytes.fromhex(path.replace("\\x", "")).decode("utf-8", "surrogateescape") if "\\x" in path else path


def _bytes(argument: str) -> bytes:
    """Data of `"\\x41\\x42"`."""
    if not argument.endswith('"'):
        raise ValueError("a write is longer than strace was asked to keep")
    return bytes.fromhex(argument.strip('"').replace("\\x", ""))


def _relative(path: str | None, root: Path) -> str | None:
    if path is None or not Path(path).is_relative_to(root):
        return None
    return str(Path(path).relative_to(root))


def tree_of(folder: Path) -> dict[str, bytes | None]:
    """Content of every file below a folder by relative path, None of a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def write_tree(tree: Mapping[str, bytes | None], folder: Path) -> Path:
    """Write what `tree_of` gives into a new folder, which is returned."""
    folder.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
    return folder
