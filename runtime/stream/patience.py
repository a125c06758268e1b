"""Waiting for an output that cannot be written: a full disk, a mount that went away."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable

from lsd.runtime.errors import OutputError
from lsd.runtime.stream.events import Listener, Paused, Resumed

# What may pass by itself or by a person's hand; a missing right or a name that is too long does not.
PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,  # file systems turn read-only after an error
        errno.ENOENT,
        errno.ENODEV,
        errno.ENXIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
    }
)
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0


def patiently(
    work: Callable[[], None], stop: threading.Event, tell: Listener, first_wait_s: float = FIRST_WAIT_S
) -> None:
    """Do `work` until the output takes it; between tries wait twice as long each time, half a minute at most.

    Raises:
        OutputError: waiting does not help, or the run was asked to stop meanwhile.
    """
    began_s, wait_s, said = time.monotonic(), first_wait_s, ""
    while True:
        try:
            work()
        except OutputError as error:
            if error.errno not in PASSING or stop.is_set():
                raise
            reason = " ".join(str(error).split())
            if reason != said:
                tell(Paused(reason))
            said = reason
            stop.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        else:
            if said:
                tell(Resumed(time.monotonic() - began_s))
            return
