"""What a journal tells, read beside a run that may be writing it, on any mount, without leaving a trace."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lsd.runtime.errors import UsageError
from lsd.runtime.monitoring.totals import Totals
from lsd.runtime.stream.journal import JOURNAL_NAME, SCHEMA_VERSION

_TRIES = 3  # of copying a journal that may be written meanwhile
_COLUMNS = "tile_id, state, result, begun_utc, ended_utc, attempts"


@dataclass(frozen=True)
class JournalView:
    """Sums and lists of a journal.

    tiles: done, failed, begun -> number. totals: of the tiles done. failures: (tile, reason, when it ended). begun:
    (tile, since when, attempts). bundles: SHA-256 of the bundles that answered -> tiles. last_ended_utc: of any tile.
    """

    tiles: dict[str, int]
    totals: Totals
    failures: tuple[tuple[str, str, str], ...]
    begun: tuple[tuple[str, str, int], ...]
    bundles: dict[str, int]
    last_ended_utc: str | None


def read_journal(folder: Path, running: bool) -> JournalView:
    """Read OUT/.lsd-run/journal.sqlite; nothing in `folder` is created, and no content changed.

    Args:
        running: a run holds the lock of the folder. SQLite then reads beside it, through the files that the run has
            made. Otherwise nobody writes: the file is read as it is, or, where a killed run left a write-ahead log, as
            a copy elsewhere, since reading it in place would create or rewrite SQLite's index of that log.
    Raises:
        UsageError: there is no journal, or none that this version can read.
    """
    path = folder / JOURNAL_NAME
    if not path.is_file():
        raise UsageError(
            f"{folder.parent} holds no journal of lsd-run ({folder.name}/{JOURNAL_NAME}); give the folder that "
            "lsd-run -o was given"
        )
    reason: Exception = OSError("no way to read it")
    for ways in ((_beside,) if running else ()), (_alone,), (_copied,) * _TRIES:
        for way in ways:
            try:
                with way(path) as database:
                    return _view(path, database)
            except (sqlite3.DatabaseError, OSError) as error:
                reason = error
    raise UsageError(f"{path} cannot be read ({reason}); a journal of lsd-run with rights to read it was expected")


@contextmanager
def _beside(path: Path) -> Iterator[sqlite3.Connection]:
    """Through the write-ahead log of the process that writes; SQLite: https://www.sqlite.org/wal.html#readonly."""
    with _opened(path, "mode=ro") as database:
        yield database


@contextmanager
def _alone(path: Path) -> Iterator[sqlite3.Connection]:
    """The file alone, as on a read-only mount; wrong, and refused, where a write-ahead log holds more."""
    if _log_of(path).is_file() and _log_of(path).stat().st_size:
        raise OSError(f"{_log_of(path).name} holds more")
    with _opened(path, "mode=ro&immutable=1") as database:
        yield database


@contextmanager
def _copied(path: Path) -> Iterator[sqlite3.Connection]:
    """A copy with its write-ahead log, in the folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="lsd-run-status-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        if _log_of(path).is_file():
            shutil.copyfile(_log_of(path), _log_of(copy))
        with _opened(copy, "mode=rw") as database:
            yield database


@contextmanager
def _opened(path: Path, options: str) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{options}", uri=True, isolation_level=None)
    try:
        yield database
    finally:
        database.close()


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _view(path: Path, database: sqlite3.Connection) -> JournalView:
    database.execute("BEGIN")  # one moment for all that follows
    version = database.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if version is None or version[0] != SCHEMA_VERSION:
        raise UsageError(
            f"{path}: journal schema version is {version and version[0]}, this lsd-edge reads {SCHEMA_VERSION}; use "
            "the lsd-edge that wrote it"
        )
    tiles = dict.fromkeys(("done", "failed", "begun"), 0)
    totals, failures, begun, last = Totals(), [], [], None
    for tile_id, state, result, begun_utc, ended_utc, attempts in database.execute(
        f"SELECT {_COLUMNS} FROM tiles ORDER BY begun_utc, folder"
    ):
        tiles[state] = tiles.get(state, 0) + 1
        told = _told(result)
        if state == "done":
            totals.add(told.get("counts", {}), told.get("seconds", {}))
        elif state == "failed":
            failures.append((tile_id, str(told.get("error") or "no reason given"), str(ended_utc)))
        else:
            begun.append((tile_id, str(begun_utc), int(attempts)))
        last = max(filter(None, (last, ended_utc)), default=None)
    bundles = "SELECT bundle_sha256, COUNT(*) FROM tiles WHERE state = 'done' GROUP BY 1 ORDER BY 2 DESC"
    return JournalView(tiles, totals, tuple(failures), tuple(begun), dict(database.execute(bundles)), last)


def _told(result: str | None) -> dict[str, Any]:
    try:
        found = json.loads(result or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
