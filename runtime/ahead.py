"""Work done ahead in a thread of its own: the next window is read while this one is scored."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

Item = TypeVar("Item")
_LOOK_S = 0.1  # how often a thread that waits looks whether anyone still wants what it has


def ahead(items: Generator[Item, None, None], depth: int = 1) -> Generator[Item, None, None]:
    """The items in their order, each made in another thread before it is asked for.

    All of the iterator runs in that one thread, its end included, so that what it opens is used by one thread only.
    Memory holds the item that was taken last, `depth` that are ready and one that is being made.

    Args:
        items: a generator that nobody else uses meanwhile; it is closed, in its thread, when the result is.
        depth: items that wait to be taken, 1 or more.
    Raises:
        Whatever the iterator raises, at its place in the order.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    unwanted = threading.Event()
    maker = threading.Thread(target=_make, args=(items, ready, unwanted), name="ahead", daemon=True)
    maker.start()
    try:
        while True:
            is_item, found = ready.get()
            if is_item:
                yield found
            elif found is None:
                return
            else:
                raise found
    finally:
        unwanted.set()
        maker.join()


def _make(items: Generator[Item, None, None], ready: queue.Queue[tuple[bool, Any]], unwanted: threading.Event) -> None:
    """Put (True, item) for each, then (False, None), or (False, error) if there was one."""
    end: BaseException | None = None
    try:
        with closing(items):
            for item in items:
                if not _put((True, item), ready, unwanted):
                    return
    except BaseException as error:
        end = error
    _put((False, end), ready, unwanted)


def _put(one: tuple[bool, Any], ready: queue.Queue[tuple[bool, Any]], unwanted: threading.Event) -> bool:
    """False if nobody wants it any more."""
    while not unwanted.is_set():
        try:
            ready.put(one, timeout=_LOOK_S)
            return True
        except queue.Full:
            continue
    return False
