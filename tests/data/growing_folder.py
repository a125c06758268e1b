"""Writes into a folder as the world does: file by file, under a temporary name, or renamed in; and reads feeds."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lsd.runtime.feeds.base import Feed, Round
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of

PATIENCE_S = 20.0  # how long a test waits for what must come; machines are shared


def copy_slowly(source: Path, target: Path) -> Iterator[Path]:
    """Copy a folder file by file, each file in two halves; yields after every write, so a test can look in between."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        for end in (len(content) // 2, len(content)):
            place.write_bytes(content[:end])
            yield place


def move_in(source: Path, folder: Path) -> Path:
    """Rename a file or folder into a watched folder: it is whole from the first moment."""
    return source.rename(folder / source.name)


def copy_then_rename(source: Path, folder: Path, suffix: str = ".part") -> Path:
    """Copy a file under a temporary name; the caller renames what is returned to its name without the suffix."""
    return Path(shutil.copy(source, folder / f"{source.name}{suffix}"))


class FeedReader:
    """Context manager that runs a feed in a thread; rounds come through a queue, one at a time, as `next_round`."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.stop = threading.Event()
        self.told: list[tuple[Path, ...]] = []
        self._rounds: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        try:
            for one in self.feed.rounds(self.stop, self.told.append):
                self._rounds.put(one)
        except Exception as error:
            self._rounds.put(error)
        self._rounds.put(None)

    def __enter__(self) -> FeedReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the feed did not stop"

    def next_round(self, timeout_s: float = PATIENCE_S) -> Round | None:
        """The next round, None if the feed ended; an error of the feed is raised, silence is `queue.Empty`."""
        found = self._rounds.get(timeout=timeout_s)
        if isinstance(found, Exception):
            raise found
        return found

    def is_silent(self, for_s: float) -> bool:
        """True if no round comes for so long."""
        with contextlib.suppress(queue.Empty):
            self.next_round(for_s)
            return False
        return True


def ids(one: Round | None, options: SourceOptions | None = None) -> list[str]:
    """Ids of the tiles that a round gives; none may be a failure."""
    assert one is not None, "the feed ended"
    found = list(tiles_of(one.sources, options, left_alone=one.left_alone))
    failures = [f"{tile.id}: {tile.error}" for tile in found if isinstance(tile, TileFailure)]
    assert not failures, failures
    return sorted(tile.id for tile in found)
