"""What every feed gives: rounds, each with the sources to look into now and what in them is still being written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Waiting = Callable[[tuple[Path, ...]], None]


@dataclass(frozen=True)
class Round:
    """What `tiles_of(sources, options, left_alone)` is asked for now.

    sources: paths as the user gave them. left_alone: resolved paths, files and whole folders, that are still being
    written; asked with `in` only, so it may also cover what was not there yet when the round was made.
    """

    sources: tuple[Path, ...]
    left_alone: Collection[Path] = frozenset()


class Feed(Protocol):
    """A source of rounds. Use it from one thread, once; `stop` may be set from any other or from a signal handler."""

    def rounds(self, stop: threading.Event, waiting: Waiting) -> Iterator[Round]:
        """Rounds until there is nothing more, or until less than a second after `stop` is set.

        Args:
            stop: ends the feed; the round that was given already is not taken back.
            waiting: called whenever the set of paths that are still being written changes; never for the empty set
                before anything was waited for.
        Raises:
            SourceError: a source does not exist.
        """
        ...


class Unsettled(Collection[Path]):
    """Everything directly below some folders but what has settled; iterates over what was seen to be unsettled.

    A file that appears between the look at a folder and its listing is thus left alone too.
    """

    def __init__(self, folders: Iterable[Path], settled: Iterable[Path], unsettled: Iterable[Path]) -> None:
        """All paths resolved; an entry that is a link lies elsewhere, so both sorts are stated."""
        self._folders = frozenset(folders)
        self._settled = frozenset(settled)
        self._unsettled = frozenset(unsettled)

    def __contains__(self, path: object) -> bool:
        if path in self._unsettled:
            return True
        return isinstance(path, Path) and path.parent in self._folders and path not in self._settled

    def __bool__(self) -> bool:
        return True  # it covers what has not been seen yet

    def __iter__(self) -> Iterator[Path]:
        return iter(self._unsettled)

    def __len__(self) -> int:
        return len(self._unsettled)
