"""How far a long run is: a bar on a terminal, plain lines in a log, JSON lines for a supervisor. Never on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TextIO

Mode = Literal["auto", "bar", "plain", "json", "off"]

# Least time between two reports, so that a log of hours stays readable and a terminal does not flicker.
_INTERVAL_S = {"bar": 0.1, "plain": 5.0, "json": 1.0}
_BAR_WIDTH = 24


class Progress:
    """Context manager that counts finished units (tiles, patches) and reports them. Use it from one thread.

    mode: `auto` is a bar if the stream is a terminal, else plain lines. total: units to come, None if unknown (a
    watched folder). stream: stderr unless given. A reader that went away ends the reports, never the run.

    JSON lines hold `event` (`start`, `progress`, `end`), `done`, `total` (null if unknown), `note`, `elapsed_s`,
    `remaining_s` (null while unknown); the last one also `complete`: false if the block raised.
    """

    def __init__(
        self,
        mode: Mode,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done = 0
        self._skipped = 0
        self._stream = sys.stderr if stream is None else stream
        self._mode = _resolved(mode, self._stream)
        self._clock = clock
        self._started_s = self._reported_s = clock()
        self._note = ""

    def __enter__(self) -> Progress:
        self._started_s = self._reported_s = self._clock()
        self._report("start")
        return self

    def expect(self, total: int) -> None:
        """Say how many units are to come in all, once that is known."""
        self.total = total

    def skip(self, n: int) -> None:
        """Count `n` units that were done before this run: they tell nothing about its speed."""
        self.done += n
        self._skipped += n

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more units as done; `note` is a few words on the last one (its id)."""
        self.done += n
        self._note = " ".join(note.split())
        now_s = self._clock()
        if self._mode != "off" and now_s - self._reported_s >= _INTERVAL_S[self._mode]:
            self._reported_s = now_s
            self._report("progress")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report("end", complete=kind is None)

    def _report(self, event: str, complete: bool = True) -> None:
        elapsed_s = self._clock() - self._started_s
        if self._mode == "json":
            line: dict[str, object] = {"event": event, "done": self.done, "total": self.total, "note": self._note}
            line["elapsed_s"] = round(elapsed_s, 3)
            remaining_s = self._remaining_s(elapsed_s)
            line["remaining_s"] = None if remaining_s is None else round(remaining_s, 1)
            if event == "end":
                line["complete"] = complete
            self._write(json.dumps(line) + "\n")
        elif self._mode == "plain" and event != "start":
            stopped = "" if complete else " (stopped)"
            left = self._left(elapsed_s) if event == "progress" else ""
            self._write(f"{self._counted()} in {elapsed_s:.0f} s{left}{stopped}{self._noted()}\n")
        elif self._mode == "bar":
            left = self._left(elapsed_s) if event == "progress" else ""
            text = f"{self._bar()}{self._counted()}{left}{self._noted()}"[: _columns(self._stream) - 1]
            self._write(f"\r{text}\x1b[K" + ("\n" if event == "end" else ""))  # ESC [ K clears the rest of the line

    def _counted(self) -> str:
        return f"{self.done}" if self.total is None else f"{self.done} of {self.total}"

    def _remaining_s(self, elapsed_s: float) -> float | None:
        """Time that the rest takes at the speed so far; None while that is unknown."""
        own = self.done - self._skipped
        if self.total is None or own <= 0:
            return None
        return elapsed_s / own * max(self.total - self.done, 0)

    def _left(self, elapsed_s: float) -> str:
        remaining_s = self._remaining_s(elapsed_s)
        if remaining_s is None or elapsed_s < _INTERVAL_S["plain"]:
            return ""
        minutes, seconds = divmod(round(remaining_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f", {hours} h {minutes} min left" if hours else f", {minutes} min {seconds} s left"

    def _noted(self) -> str:
        return f": {self._note}" if self._note else ""

    def _bar(self) -> str:
        if not self.total:
            return ""
        filled = min(_BAR_WIDTH, _BAR_WIDTH * self.done // self.total)
        return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] "

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the reader closed its end, or the stream itself is closed
            self._mode = "off"


def _resolved(mode: Mode, stream: TextIO) -> Mode:
    if mode != "auto":
        return mode
    return "bar" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"


def _columns(stream: TextIO) -> int:
    """Width of the terminal behind the stream; 80 if it cannot be told."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
