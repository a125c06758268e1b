"""What this process has used so far: memory and CPU time."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass

_STATM = "/proc/self/statm"


@dataclass(frozen=True)
class Usage:
    """cpu_s: CPU time of all threads, user and system. peak_bytes: most memory ever resident. resident_bytes: now;
    None where the system does not tell."""

    cpu_s: float
    peak_bytes: int
    resident_bytes: int | None


def usage() -> Usage:
    """Of this process, without its children."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kilobytes on Linux, bytes on macOS
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * unit, _resident_bytes())


def _resident_bytes() -> int | None:
    """Second field of /proc/self/statm, in pages (proc(5))."""
    try:
        with open(_STATM, "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
