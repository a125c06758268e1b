"""The structured log: one JSON object a line for every event of a run."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields as fields_of
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from lsd.runtime.errors import UsageError
from lsd.runtime.monitoring.clock import utc
from lsd.runtime.monitoring.state import finite
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import Drifted, Event, Queued, TileEnded, TileKnown, TilesWaiting

_LOGGER = logging.getLogger(__name__)


class JsonLog:
    """A listener that writes lines `{"utc": ..., "event": ..., fields}`. Any thread may call it; close it at the end.

    A file is appended to, each line by one write. A log that cannot be written (full disk, reader gone) stops and says
    so once on the logger `lsd`; nothing is ever raised into the run.
    """

    def __init__(self, place: Path | TextIO, clock: Callable[[], float] = time.time) -> None:
        """Open the log.

        Args:
            place: file to append to, or an open text stream, which stays open at the end.
            clock: seconds since 1970.
        Raises:
            UsageError: the file cannot be opened.
        """
        self._lock = threading.Lock()
        self._clock = clock
        self._name = str(place) if isinstance(place, Path) else getattr(place, "name", "stream")
        self._own = isinstance(place, Path)
        self._stream: TextIO | None = _appending(place) if isinstance(place, Path) else place

    def __call__(self, event: Event) -> None:
        """Write the line of an event; how full queues are is no news, metrics tell it."""
        if isinstance(event, Queued):
            return
        self.write(_name_of(event), **_fields(event))

    def write(self, event: str, **fields: Any) -> None:
        """Write a line of another kind (`run_started`); what is no JSON becomes text."""
        with self._lock:
            if self._stream is None:
                return
            try:
                line = json.dumps({"utc": utc(self._clock()), "event": event, **fields}, default=str)
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._stop()
                _LOGGER.warning("the log %s ends here: it cannot be written (%s)", self._name, error)

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None and self._own:
            with suppress(OSError):  # what was left in the buffer has no room either
                stream.close()

    def __enter__(self) -> JsonLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _appending(path: Path) -> TextIO:
    """The file, at the start of a line: a run that was killed may have left half of one."""
    try:
        torn = path.is_file() and path.stat().st_size > 0 and not _ends_line(path)
        stream = path.open("a", encoding="utf-8")
        if torn:
            stream.write("\n")
    except OSError as error:
        raise UsageError(
            f"--log {path} cannot be opened ({error.strerror}); give a file in a folder that is there and writable"
        ) from error
    return stream


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _name_of(event: Event) -> str:
    """`tile_ended` from TileEnded."""
    name = type(event).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _fields(event: Event) -> dict[str, Any]:
    match event:
        case TileEnded(result):
            return _of_result(result)
        case TileKnown(result):
            return {"tile": result.id, "status": result.status}
        case TilesWaiting(paths):
            return {"paths": [str(path) for path in paths]}
        case Drifted(shifts, warnings):
            return {"shifts": finite(shifts), "warnings": list(warnings)}
        case _:
            names = [field.name for field in fields_of(event)]
            return {"tile" if name == "tile_id" else name: getattr(event, name) for name in names}


def _of_result(result: TileResult) -> dict[str, Any]:
    """What a log is searched for; the whole result is in the journal and in summary.json."""
    return {
        "tile": result.id,
        "status": result.status,
        "error": result.error,
        "counts": dict(result.counts),
        "configurations": dict(result.configurations),
        "max_probability": result.max_probability,
        "warnings": list(result.warnings),
        "seconds": {stage: round(spent_s, 6) for stage, spent_s in result.seconds.items()},
    }
