"""The output folder of a run: its lock, its journal, and whether it is still the folder that the run began with."""

from __future__ import annotations

import errno
from pathlib import Path
from types import TracebackType

from lsd.runtime.commit import make_folder, prepare_output, remove_partials, writing
from lsd.runtime.errors import OutputError
from lsd.runtime.stream.journal import JOURNAL_NAME, Journal
from lsd.runtime.stream.lock import LOCK_NAME, OutputLock

STATE_FOLDER = ".lsd-run"  # in the output; no part of the products


class Output:
    """Context manager over the output folder of one run; for one thread.

    On a disk that went away and came back, lock and journal are opened again by `check`.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare the folder, take its lock and open its journal.

        Raises:
            OutputError: another run uses the folder, or it cannot be written.
        """
        self.folder = folder
        self._open(folder)

    def _open(self, folder: Path) -> None:
        state = folder / STATE_FOLDER
        make_folder(folder)
        make_folder(state)  # on the disk before the first tile is, or its folder would be taken for someone else's
        self._lock = OutputLock(state / LOCK_NAME)
        try:
            prepare_output(folder)
            remove_partials(folder)
            self.journal = Journal(state / JOURNAL_NAME)
            with writing(state):
                self._identity = _identity(state)
        except BaseException:
            self._lock.close()
            raise

    def check(self) -> None:
        """See that the folder is still there: an empty mount point would take products onto another disk.

        Raises:
            OutputError: it is gone (errno ENODEV, waiting may help), or cannot be opened again.
        """
        state = self.folder / STATE_FOLDER
        try:
            there = (state / JOURNAL_NAME).exists() and _identity(state)
        except OSError:
            there = False
        if not there:
            gone = OutputError(
                f"{self.folder} is gone: its journal is not there any more; mount its disk again, or choose another "
                "folder with -o"
            )
            gone.errno = errno.ENODEV
            raise gone
        if there != self._identity:
            self.close()
            self._open(self.folder)

    def close(self) -> None:
        """Close the journal and let go of the lock."""
        self.journal.close()
        self._lock.close()

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
