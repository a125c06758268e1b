"""Runs that end in the middle of anything, as a fault or a signal ends them: at the n-th call of a function of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PACKAGE = "lsd.runtime"
BEGINS = "tiles_of"  # calls count from the first look into the sources on: the output is open then
# What lets go of locks and files: a process that is killed needs none of it, and this one goes on.
SPARED = frozenset(("close", "__exit__", "__del__"))


class Killed(BaseException):
    """Nothing of ours catches it."""


class Calls:
    """How many calls were counted."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def ending_after(calls: int | None) -> Iterator[Calls]:
    """Raise `Killed` in the block at that call of a function of `PACKAGE` in this thread; None only counts."""
    found, has_begun = Calls(), False

    def called(frame: FrameType, event: str, _: Any) -> None:
        nonlocal has_begun
        name = frame.f_code.co_name
        if event != "call" or not str(frame.f_globals.get("__name__")).startswith(PACKAGE):
            return
        has_begun = has_begun or name == BEGINS
        if not has_begun or name in SPARED:
            return
        found.count += 1
        if found.count == calls:
            sys.setprofile(None)
            raise Killed(f"at call {calls}, of {frame.f_globals['__name__']}.{name}")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(before)
