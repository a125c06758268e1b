"""The journal: which tiles are begun, done or failed, in one SQLite file that survives a kill at any point.

Write-ahead logging with a forced write at every commit (SQLite: https://www.sqlite.org/wal.html, "synchronous=FULL"): a
row that was committed is there after a power cut, if the disk keeps what it confirmed. Times stand here and nowhere in
the products.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, cast

from lsd.runtime.errors import OutputError
from lsd.runtime.sinks.summary import TileResult, result_from_json

JOURNAL_NAME = "journal.sqlite"
SCHEMA_VERSION = "1"
State = Literal["begun", "done", "failed"]
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tiles (
    folder TEXT PRIMARY KEY,
    tile_id TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('begun', 'done', 'failed')),
    bundle_sha256 TEXT NOT NULL,
    result TEXT,
    begun_utc TEXT NOT NULL,
    ended_utc TEXT,
    attempts INTEGER NOT NULL
);
"""
_FULL = "database or disk is full"  # SQLite's text for SQLITE_FULL; Python 3.10 does not give the code


@dataclass(frozen=True)
class Entry:
    """One tile as the journal knows it.

    folder: name of its folder in the output. key: hash of input and options (lsd.runtime.stream.keys). bundle_sha256:
    of the bundle that answered, or was to. result: None while begun. begun_utc, ended_utc: ISO 8601. attempts: how
    often it was begun with this key since it last ended.
    """

    folder: str
    tile_id: str
    key: str
    state: State
    bundle_sha256: str
    result: TileResult | None
    begun_utc: str
    ended_utc: str | None
    attempts: int


class Journal:
    """The journal of one output folder, open for writing. For one thread; one process at a time (see `OutputLock`)."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            OutputError: it cannot be written, is no journal, or is of another version.
        """
        self.path = path
        with self._writing():
            self._database = sqlite3.connect(path, isolation_level=None)
        try:
            with self._writing():
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.executescript(_TABLES)
                self._database.execute("INSERT OR IGNORE INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
            (version,) = self._database.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
            if version != SCHEMA_VERSION:
                raise OutputError(
                    f"{path}: journal schema version is {version}, this lsd-edge writes {SCHEMA_VERSION}; choose "
                    "another folder with -o, or use the lsd-edge that wrote it"
                )
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file; nothing that was committed waits for it."""
        self._database.close()

    def entry(self, folder: str) -> Entry | None:
        """What is known of a folder, None if nothing."""
        with self._writing():
            row = self._database.execute(f"SELECT {_COLUMNS} FROM tiles WHERE folder = ?", (folder,)).fetchone()
        return None if row is None else _entry(row)

    def entries(self) -> list[Entry]:
        """All tiles, by folder."""
        with self._writing():
            return [_entry(row) for row in self._database.execute(f"SELECT {_COLUMNS} FROM tiles ORDER BY folder")]

    def begin(self, folder: str, tile_id: str, key: str, bundle_sha256: str, counts: bool = True) -> int:
        """Note that a tile is being worked on; returns how often it was begun with this key without an end.

        counts: False if this is another try of the same process.
        """
        with self._writing():
            self._database.execute(
                "INSERT INTO tiles VALUES (:folder, :tile_id, :key, 'begun', :bundle, NULL, :now, NULL, 1) "
                "ON CONFLICT (folder) DO UPDATE SET attempts = "
                "CASE WHEN state = 'begun' AND key = :key THEN attempts + :counts ELSE 1 END, tile_id = :tile_id, "
                "key = :key, state = 'begun', bundle_sha256 = :bundle, result = NULL, begun_utc = :now, "
                "ended_utc = NULL",
                {
                    "folder": folder,
                    "tile_id": tile_id,
                    "key": key,
                    "bundle": bundle_sha256,
                    "now": _now_utc(),
                    "counts": int(counts),
                },
            )
            row = self._database.execute("SELECT attempts FROM tiles WHERE folder = ?", (folder,)).fetchone()
        return int(row[0])

    def end(self, folder: str, result: TileResult) -> None:
        """Note that a tile that was begun is done, its products in place, or failed."""
        with self._writing():
            self._database.execute(
                "UPDATE tiles SET state = ?, result = ?, ended_utc = ? WHERE folder = ?",
                (result.status, json.dumps(asdict(result), allow_nan=False), _now_utc(), folder),
            )

    def noted(self, name: str) -> Any | None:
        """What `note` kept last under a name, None if nothing."""
        with self._writing():
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", (f"note {name}",)).fetchone()
        return None if row is None else json.loads(row[0])

    def note(self, name: str, value: Any) -> None:
        """Keep plain JSON under a name, for the next run."""
        with self._writing():
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"note {name}", json.dumps(value)))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn SQLite's errors into one `OutputError` about the file; `errno` says whether waiting may help."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _FULL in str(error):
                number, fix = errno.ENOSPC, "free space on that disk or choose another folder with -o"
            elif isinstance(error, sqlite3.OperationalError):
                number, fix = errno.EIO, "check that the disk is mounted and writable, or choose another folder with -o"
            else:
                number, fix = 0, "it is no journal of lsd-run; move it away or choose another folder with -o"
            failure = OutputError(f"cannot write {self.path}: {error}; {fix}")
            failure.errno = number
            raise failure from error


_COLUMNS = "folder, tile_id, key, state, bundle_sha256, result, begun_utc, ended_utc, attempts"


def _entry(row: tuple[Any, ...]) -> Entry:
    folder, tile_id, key, state, bundle_sha256, result, begun_utc, ended_utc, attempts = row
    read = None if result is None else result_from_json(json.loads(result))
    return Entry(folder, tile_id, key, cast(State, state), bundle_sha256, read, begun_utc, ended_utc, int(attempts))


def _now_utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
