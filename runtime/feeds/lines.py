"""Sources announced on a stream, one a line: a bare path or JSON, `{"path": "..."}`."""

from __future__ import annotations

import io
import logging
import os
import select
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from lsd.runtime.errors import LsdError
from lsd.runtime.feeds.announcement import MAX_BYTES, announced
from lsd.runtime.feeds.base import Round, Waiting

Refused = Callable[[int, str], None]

_READ_BYTES = 64 * 1024
_STOP_S = 0.2  # how often a wait for input looks whether to stop
_logger = logging.getLogger(__name__)


def log_refused(line_number: int, reason: str) -> None:
    """One warning a line."""
    _logger.warning("line %d was skipped: %s", line_number, reason)


class LinesFeed:
    """One round a line, as it comes; ends with the stream. A line that makes no sense is refused, the next one follows.

    A line is read when the round before it is finished: a writer that is faster waits in its pipe.

    Args:
        stream: binary or text, read by its file descriptor where it has one, so nobody else may have read from it.
        refused: called with the line's number, from 1, and the reason in one line.
    """

    def __init__(self, stream: IO[Any], refused: Refused = log_refused) -> None:
        self.stream = stream
        self.refused = refused

    def rounds(self, stop: threading.Event, waiting: Waiting) -> Iterator[Round]:
        """See `Feed`; nothing is ever waited for: what is announced is whole."""
        for number, line in enumerate(self._lines(stop), 1):
            try:
                path = announced(line)
            except LsdError as error:
                self.refused(number, " ".join(str(error).split()))
                continue
            if path is not None:
                yield Round((path,))

    def _lines(self, stop: threading.Event) -> Iterator[bytes]:
        """Lines without their end; of one that is too long only the begin is kept, one byte more than is allowed."""
        rest = b""
        for chunk in self._chunks(stop):
            *whole, last = (rest + chunk).split(b"\n")
            for line in whole:
                if stop.is_set():
                    return
                yield line
            rest = last[: MAX_BYTES + 1]
        if rest and not stop.is_set():
            yield rest

    def _chunks(self, stop: threading.Event) -> Iterator[bytes]:
        try:
            descriptor = self.stream.fileno()
        except (OSError, io.UnsupportedOperation):  # a stream in memory, which never blocks
            content = self.stream.read()
            yield content.encode() if isinstance(content, str) else content
            return
        while not stop.is_set():
            ready, _, _ = select.select([descriptor], [], [], _STOP_S)
            if ready:
                chunk = os.read(descriptor, _READ_BYTES)
                if not chunk:
                    return
                yield chunk
