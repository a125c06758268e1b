"""SIGTERM: the first asks the run to end after the tiles in hand, the second stops at once, as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_sigterm(stop: threading.Event, asked: Callable[[], None]) -> Iterator[None]:
    """Within the block the first SIGTERM sets `stop` and calls `asked`, the second raises KeyboardInterrupt.

    Both happen in a thread of their own: a handler runs in the middle of whatever the main thread does, which may hold
    the lock that `stop` needs. Outside of the main thread, where no handler can be set, the block does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 1:
            raise KeyboardInterrupt
        threading.Thread(target=_ask, args=(stop, asked), daemon=True).start()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask(stop: threading.Event, asked: Callable[[], None]) -> None:
    stop.set()
    asked()
