"""Sources named in a text file, one path a line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from lsd.runtime.errors import SourceError, UsageError
from lsd.runtime.feeds.base import Round, Waiting


class ListedFeed:
    """All paths of a list in one round, since radar that is joined by event time may lie in any of them.

    Blank lines and lines that begin with `#` are skipped; a relative path begins at the list's folder.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def rounds(self, stop: threading.Event, waiting: Waiting) -> Iterator[Round]:
        """See `Feed`.

        Raises:
            SourceError: the list cannot be read or names nothing, or a path in it does not exist.
            UsageError: it is not UTF-8.
        """
        paths = self._paths()
        if not stop.is_set():
            yield Round(paths)

    def _paths(self) -> tuple[Path, ...]:
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SourceError(f"list {self.file} cannot be read ({error.strerror}); check the path") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"list {self.file} is not UTF-8 text ({error}); give one path a line") from error
        paths = []
        for number, line in enumerate(lines, 1):
            named = line.strip()
            if not named or named.startswith("#"):
                continue
            path = self.file.parent / named
            if not path.exists():
                raise SourceError(f"{self.file}, line {number}: {path} does not exist; correct or remove the line")
            paths.append(path)
        if not paths:
            raise SourceError(f"list {self.file} names no path; give one a line")
        return tuple(paths)
