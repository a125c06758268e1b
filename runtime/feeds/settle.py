"""When an entry of a watched folder has settled: its name says so, a marker says so, or nothing moved for a while.

Modification times are never compared with this machine's clock: cameras, network disks and machines without a battery
have clocks of their own. Time passes by the monotonic clock between two looks.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lsd.runtime.errors import UsageError
from lsd.runtime.feeds.entry import TILE_SUFFIXES, EntryState, state_of
from lsd.runtime.feeds.temporary import is_temporary

START_QUIET_S = 1.0
CHANGE_TIME_STEP_S = 2.0  # FAT keeps times in steps of two seconds

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SettleRule:
    """What a settled entry is.

    No rule takes an entry with a temporary name, or a folder that holds a file with one. quiet_s: its names, sizes and
    times must have stayed the same between looks for so long; 0: a final name is enough, for writers that rename what
    is whole. done_suffix: instead, a file ENTRY + suffix lies beside it or a file that ends in it lies directly in it;
    whoever changes an entry removes its marker first.

    Raises:
        UsageError: a negative time, or a suffix that is empty, has a slash or is that of a tile.
    """

    quiet_s: float = 10.0
    done_suffix: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.quiet_s) and self.quiet_s >= 0):
            raise UsageError(f"quiet_s should be a number of seconds, 0 or more, is {self.quiet_s:g}")
        suffix = self.done_suffix
        if suffix is not None and (not suffix or "/" in suffix or suffix.casefold().endswith(TILE_SUFFIXES)):
            raise UsageError(f"done suffix should be the end of a marker's name, such as .done, is {suffix!r}")

    def is_marker(self, name: str) -> bool:
        """True for the name of a marker, which is never a tile."""
        return self.done_suffix is not None and name.endswith(self.done_suffix)


@dataclass(frozen=True)
class Look:
    """What one look at the watched folders found.

    folders: those that can be listed now and hold something settled that may be a tile. settled: every settled entry.
    tiles: those of them that may hold a tile, with their fingerprints; of a folder that cannot be listed now, as they
    were. unsettled: everything else but markers. waiting: the part of it that a person should know of, sorted. due_s:
    until the next entry settles if nothing moves, None if no time will settle one.
    """

    folders: tuple[Path, ...]
    settled: frozenset[Path]
    tiles: Mapping[Path, bytes]
    unsettled: frozenset[Path]
    waiting: tuple[Path, ...]
    due_s: float | None


@dataclass(frozen=True)
class _Known:
    """An entry since when it is as it is. needed_s: how long it must stay so."""

    state: EntryState
    since_s: float
    needed_s: float
    is_settled: bool


class Settling:
    """Remembers what each entry looked like, and since when. Use it from one thread.

    At the first look, entries that changed long before the newest change on their file system need to stay the same for
    `START_QUIET_S` only: both times were written by one clock, and a copy that goes on moves within a second. So a
    restart over a thousand old tiles does not wait, and a copy under way is left alone. Inode change times are
    compared, which `cp -p` and `rsync -t` cannot carry over.
    """

    def __init__(self, rule: SettleRule, clock: Callable[[], float] = time.monotonic) -> None:
        self.rule = rule
        self._clock = clock
        self._known: dict[Path, dict[Path, _Known]] = {}
        self._out_of_reach: set[Path] = set()
        self._is_first = True

    def look(self, folders: Iterable[Path]) -> Look:
        """Look at every entry of the folders once."""
        unsettled: set[Path] = set()
        waiting: set[Path] = set()
        for folder in folders:
            names = self._names(folder)
            if names is None:
                continue
            before = self._known.get(folder, {})
            now: dict[Path, _Known] = {}
            for name in names:
                path = folder / name
                if is_temporary(name):
                    unsettled.add(path)
                    if not name.startswith("."):
                        waiting.add(path)
                    continue
                known = self._entry(path, name, names, before.get(path))
                if known is None:
                    unsettled.add(path)
                    continue
                now[path] = known
                if not known.is_settled:
                    unsettled.add(path)
                    if known.state.may_hold_tile or known.state.is_being_written:
                        waiting.add(path)
            self._known[folder] = now
        if self._is_first:
            self._shorten()
            self._is_first = False
        return self._found(unsettled, waiting)

    def _names(self, folder: Path) -> set[str] | None:
        """Names in a folder but for markers' own; None, told once, while it cannot be listed."""
        try:
            names = {path.name for path in folder.iterdir()}
        except OSError as error:
            if folder not in self._out_of_reach:
                self._out_of_reach.add(folder)
                _logger.warning("%s cannot be listed now (%s); looking again until it can", folder, error.strerror)
            return None
        if folder in self._out_of_reach:
            self._out_of_reach.remove(folder)
            _logger.warning("%s can be listed again", folder)
        return names

    def _entry(self, path: Path, name: str, names: set[str], before: _Known | None) -> _Known | None:
        """What is known of an entry after a look at it; None for a marker and for what is gone meanwhile."""
        if self.rule.is_marker(name):
            return None
        looked_s = self._clock()  # before the look: time that passed counts only if it passed for sure
        try:
            state = state_of(path, self.rule.done_suffix)
        except OSError:
            return None
        if before is None or before.state.fingerprint != state.fingerprint:
            known = _Known(state, self._clock(), self.rule.quiet_s, False)
        else:
            known = replace(before, state=state)
        if self.rule.done_suffix is not None:
            settled = state.has_marker or f"{name}{self.rule.done_suffix}" in names
        else:
            settled = known.needed_s == 0 or looked_s - known.since_s >= known.needed_s
        return replace(known, is_settled=settled and not state.is_being_written)

    def _shorten(self) -> None:
        """After the first look: what changed long before the newest change needs less time."""
        newest_ns: dict[int, int] = {}
        every = [(folder, path, one) for folder, entries in self._known.items() for path, one in entries.items()]
        for _, _, one in every:
            newest_ns[one.state.device] = max(newest_ns.get(one.state.device, 0), one.state.changed_ns)
        for folder, path, one in every:
            age_s = (newest_ns[one.state.device] - one.state.changed_ns) / 1e9
            if age_s > self.rule.quiet_s + CHANGE_TIME_STEP_S:
                self._known[folder][path] = replace(one, needed_s=min(one.needed_s, START_QUIET_S))

    def _found(self, unsettled: set[Path], waiting: set[Path]) -> Look:
        now_s = self._clock()
        settled: set[Path] = set()
        tiles: dict[Path, bytes] = {}
        folders: list[Path] = []
        due_s: list[float] = []
        for folder, entries in self._known.items():
            for path, one in entries.items():
                if one.is_settled:
                    settled.add(path)
                    if one.state.may_hold_tile:
                        tiles[path] = one.state.fingerprint
                elif self.rule.done_suffix is None and not one.state.is_being_written:
                    due_s.append(one.since_s + one.needed_s - now_s)
            if folder not in self._out_of_reach and any(path in tiles for path in entries):
                folders.append(folder)
        return Look(
            tuple(folders),
            frozenset(settled),
            tiles,
            frozenset(unsettled),
            tuple(sorted(waiting)),
            max(min(due_s), 0.0) if due_s else None,
        )
