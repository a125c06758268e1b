"""The state of a run as a small file beside its journal, so that `lsd-run status` works without a server."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from lsd.runtime.monitoring.state import RunState

STATE_NAME = "state.json"
EVERY_S = 1.0
REFRESH_S = 10.0  # times in the file are never older while the run is alive
_LOGGER = logging.getLogger(__name__)


class StateFile:
    """Context manager that keeps a file as the state is: a thread writes it when something changed.

    The file is replaced by renaming, so that a reader sees a whole one; it is not forced to disk: after a power cut it
    may be missing or old. At most one write a second, and one at the end. What cannot be written is left out and logged
    once; the run goes on.
    """

    def __init__(self, folder: Path, state: RunState, every_s: float = EVERY_S) -> None:
        """Take an existing folder, OUT/.lsd-run; it is not created: on a vanished mount it would be another one."""
        self._path = folder / STATE_NAME
        self._state = state
        self._every_s = every_s
        self._over = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._follow, name="state file", daemon=True)

    def __enter__(self) -> StateFile:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def _follow(self) -> None:
        written, waited_s = -1, 0.0
        while True:
            changes = self._state.changes
            if changes != written or waited_s >= REFRESH_S:
                self._write()
                written, waited_s = changes, 0.0
            if self._over.wait(self._every_s):
                return
            waited_s += self._every_s

    def _write(self) -> None:
        partial = self._path.with_name(f".{STATE_NAME}.partial")
        try:
            partial.write_text(json.dumps(self._state.as_dict(), indent=1) + "\n", encoding="ascii")
            os.replace(partial, self._path)  # noqa: PTH105
        except OSError as error:
            if not self._told:
                self._told = True
                _LOGGER.warning("%s cannot be written (%s); lsd-run status will be out of date", self._path, error)


def read_state(folder: Path) -> dict[str, Any] | None:
    """What `StateFile` wrote into OUT/.lsd-run; None if it is absent, unreadable or no such file."""
    try:
        found = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("schema_version") == 1 else None
