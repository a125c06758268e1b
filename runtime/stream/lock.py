"""One run at a time on an output folder: a lock that the system drops when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from pathlib import Path
from types import TracebackType

from lsd.runtime.commit import writing
from lsd.runtime.errors import OutputError

LOCK_NAME = "lock"
_PATIENCE_S = 0.5  # `lsd-run status` holds a shared lock for microseconds


class OutputLock:
    """Context manager that holds a file by flock(2). The file stays; it holds who holds it, for messages only."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            OutputError: another run has it, or the file cannot be written.
        """
        with writing(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _locked(self._handle)
            with writing(path):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(self._handle)
            raise OutputError(
                f"{path.parent.parent} is in use by another lsd-run ({holder}); wait for it, stop it, or choose "
                "another folder with -o"
            ) from None
        except BaseException:
            os.close(self._handle)
            raise

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._handle)

    def __enter__(self) -> OutputLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _locked(handle: int) -> None:
    """Take the lock; raises BlockingIOError if another process keeps it."""
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise
        time.sleep(0.02)
