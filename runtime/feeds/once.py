"""Sources looked into once: a plain run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from lsd.runtime.feeds.base import Round, Waiting
from lsd.runtime.feeds.temporary import temporary_below


class OnceFeed:
    """One round of all sources. Only what bears a temporary name below them is left alone; a source itself never is."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def rounds(self, stop: threading.Event, waiting: Waiting) -> Iterator[Round]:
        """See `Feed`. A source that does not exist is told by `tiles_of`."""
        named = [path.resolve() for path in self.paths]
        asked = {one for path in named for one in (path, *path.parents)}
        below = (one for path in self.paths if path.is_dir() for one in temporary_below(path))
        found = [one for one in below if one.resolve() not in asked]
        shown = tuple(path for path in found if not path.name.startswith("."))
        if shown:
            waiting(shown)
        if not stop.is_set():
            yield Round(self.paths, frozenset(path.resolve() for path in found))
