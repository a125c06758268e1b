"""Waiting for a watched folder: until something moves in it (inotify, where it can be had), or time is up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# inotify tells every write of a copy: they are gathered for so long before they count as one
GATHER_MS = 200
STOP_MS = 200  # how often a wait looks whether time is up

_logger = logging.getLogger(__name__)


class Wake:
    """Wait for a change or for time. Without `notify`, without the extra, or where the system refuses: for time only.

    Network mounts tell nothing of what another machine writes, so time always ends a wait. Use it from one thread.
    """

    def __init__(self, folders: Sequence[Path], stop: threading.Event, notify: bool) -> None:
        self._stop = stop
        self._changes = _changes(folders, stop) if notify else None

    @property
    def is_notified(self) -> bool:
        """True while the system tells of changes."""
        return self._changes is not None

    def wait(self, least_s: float, most_s: float) -> None:
        """Come back after a change, but not before `least_s`; after `most_s` at the latest; at once if stopped."""
        ends_s = time.monotonic() + max(least_s, most_s)
        if self._stop.wait(least_s):
            return
        while self._changes is not None and time.monotonic() < ends_s and not self._stop.is_set():
            try:
                changed = next(self._changes, None)
            except (OSError, RuntimeError) as error:  # no more watches to be had, or the watcher itself failed
                _logger.warning("changes are not told by the system (%s); watching by looking again and again", error)
                self._changes = None
                break
            if changed is None:  # it ended: stopped
                return
            if changed:
                return
        self._stop.wait(max(ends_s - time.monotonic(), 0.0))


def _changes(folders: Sequence[Path], stop: threading.Event) -> Iterator[set[Any]] | None:
    """Sets of changes as they come, an empty one every `STOP_MS`; None, told in a line, without the package."""
    try:
        from watchfiles import watch
    except ImportError:
        _logger.warning(
            "watching by looking again and again; pip install 'lsd-edge[watch]' to be told of changes at once"
        )
        return None
    changes: Iterator[set[Any]] = watch(
        *folders,
        watch_filter=None,
        debounce=GATHER_MS,
        stop_event=stop,
        rust_timeout=STOP_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    return changes
