"""The native library of this installation, opened once: its file is checked against its record before it is loaded.

The build (setup.py) writes `liblsd_native.so` and `library.json` beside this module. Without the library numpy does the
same work, with the same results.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import platform
from functools import cache
from pathlib import Path
from typing import Any

ABI_VERSION = 2  # LSD_ABI_VERSION of lsd_native.h
FOLDER = Path(__file__).resolve().parent
RECORD = "library.json"
_RECORDED = {"file", "sha256", "machine", "compiler"}
REBUILD = "install lsd-edge again, or run python setup.py build_native in its source tree"

BEST, PORTABLE, AVX2, AVX512, NEON = -1, 0, 1, 2, 3  # enum lsd_isa of lsd_native.h
ISA_NAMES = {PORTABLE: "portable", AVX2: "AVX2", AVX512: "AVX-512", NEON: "NEON"}


class _AbsentError(Exception):
    """Why the library cannot be used."""


def native_library() -> ctypes.CDLL | None:
    """The library, or None; `absence` says why. Its functions release the GIL; threads may share it."""
    return _opened(FOLDER)[0]


def absence() -> str | None:
    """Why there is no library, in one line; None if there is one."""
    return _opened(FOLDER)[1]


def instruction_sets() -> tuple[int, ...]:
    """What this processor can run of the library, from the plainest to the best; empty without a library."""
    library = native_library()
    return () if library is None else tuple(isa for isa in ISA_NAMES if library.lsd_has_isa(isa))


def description() -> str:
    """One line for a report: the best instruction set and the compiler, or why there is no library."""
    library = native_library()
    if library is None:
        return f"no ({absence()})"
    return f"yes ({ISA_NAMES[library.lsd_best_isa()]}; {_record(FOLDER)['compiler']})"


@cache
def _opened(folder: Path) -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return _open(folder), None
    except _AbsentError as reason:
        return None, str(reason)


def _open(folder: Path) -> ctypes.CDLL:
    record = _record(folder)
    if record["file"] is None:
        raise _AbsentError(f"{record['reason']}; {REBUILD}")
    file = folder / Path(record["file"]).name
    if record["machine"] != platform.machine():
        raise _AbsentError(f"{file.name} was built for {record['machine']}, this is {platform.machine()}; {REBUILD}")
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != record["sha256"]:
            raise _AbsentError(f"{file.name} should have hash {record['sha256'][:12]}, has {found[:12]}; {REBUILD}")
        library = ctypes.CDLL(str(file))
        version = int(library.lsd_abi_version())
    except (OSError, AttributeError) as error:
        raise _AbsentError(f"{file.name} cannot be loaded ({error}); {REBUILD}") from error
    if version != ABI_VERSION:
        raise _AbsentError(f"{file.name} should have interface {ABI_VERSION}, has {version}; {REBUILD}")
    return library


def _record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _AbsentError(f"it was not built, there is no {RECORD}; {REBUILD}") from error
    except ValueError as error:
        raise _AbsentError(f"{RECORD} is no JSON ({error}); {REBUILD}") from error
    needed = {"reason"} if isinstance(record, dict) and record.get("file") is None else _RECORDED
    if not isinstance(record, dict) or not needed <= record.keys():
        raise _AbsentError(f"{RECORD} names no library; {REBUILD}")
    return record
