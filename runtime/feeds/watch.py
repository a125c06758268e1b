"""Watched folders: tiles are taken as they arrive, never while they are still being written."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lsd.runtime.errors import SourceError, UsageError
from lsd.runtime.feeds.base import Round, Unsettled, Waiting
from lsd.runtime.feeds.settle import Look, SettleRule, Settling
from lsd.runtime.feeds.wake import Wake

LEAST_WAIT_S = 0.1
LOOKING_SHARE = 0.1  # of the time, at most: a look at thousands of products takes a while


class WatchedFeed:
    """A round whenever entries of the folders settled, changed or vanished since the last one.

    A round's sources are the folders themselves, those with something settled in them, so that joining and naming work
    as in a plain run; what has not settled is left alone. Between rounds nothing is looked at: what arrives while a
    round is worked on comes with the next one. A folder that cannot be listed for a while (a mount that went away)
    ends nothing.

    Args:
        folders: existing folders; an entry is a file or folder directly below one of them.
        poll_s: a look is taken at least so often, whether or not the system told of a change.
        notify: listen to inotify too, where the extra `watch` is installed.
    """

    def __init__(self, folders: Sequence[Path], settle: SettleRule, poll_s: float = 5.0, notify: bool = True) -> None:
        if not (math.isfinite(poll_s) and poll_s > 0):
            raise UsageError(f"poll_s should be a number of seconds above 0, is {poll_s:g}")
        self.folders = tuple(dict.fromkeys(folders))
        self.settle = settle
        self.poll_s = poll_s
        self.notify = notify

    def rounds(self, stop: threading.Event, waiting: Waiting) -> Iterator[Round]:
        """See `Feed`; ends only when stopped.

        Raises:
            SourceError: a folder does not exist, or is none.
        """
        for folder in self.folders:
            if not folder.is_dir():
                raise SourceError(f"{folder} is no folder that can be watched; check the path, or mount the disk")
        settling, wake = Settling(self.settle), Wake(self.folders, stop, self.notify)
        told: tuple[Path, ...] = ()
        given: Mapping[Path, bytes] = {}
        while not stop.is_set():
            started_s = time.monotonic()
            look = settling.look(self.folders)
            took_s = time.monotonic() - started_s
            if look.waiting != told:
                told = look.waiting
                waiting(told)
            if look.folders and _is_news(look, given):
                given = look.tiles
                yield Round(look.folders, _left_alone(self.folders, look))
                continue
            least_s = max(LEAST_WAIT_S, took_s * (1 / LOOKING_SHARE - 1))
            wake.wait(least_s, self.poll_s if look.due_s is None else min(self.poll_s, look.due_s))


def _is_news(look: Look, given: Mapping[Path, bytes]) -> bool:
    """True if something settled that the last round left alone or had otherwise, or something it had is gone."""
    settled = any(given.get(path) != fingerprint for path, fingerprint in look.tiles.items())
    return settled or any(path not in look.tiles and path not in look.unsettled for path in given)


def _left_alone(folders: Sequence[Path], look: Look) -> Unsettled:
    return Unsettled(*(map(Path.resolve, paths) for paths in (folders, look.settled, look.unsettled)))
