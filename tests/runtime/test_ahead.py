"""Items made ahead: same order, bounded, errors in their place, and everything closed in the thread that opened it."""

from __future__ import annotations

import threading
import time

import pytest

from lsd.runtime.ahead import ahead


def counted(n, made, closed):
    thread = threading.current_thread()
    try:
        for number in range(n):
            made.append(number)
            yield number
    finally:
        closed.append(threading.current_thread() is thread)


def test_the_order_stays_and_the_work_is_done_elsewhere():
    made, closed = [], []
    assert list(ahead(counted(100, made, closed))) == made == list(range(100))
    assert closed == [True]


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_may_wait(depth):
    made, closed = [], []
    items = ahead(counted(100, made, closed), depth)
    assert next(items) == 0
    deadline_s = time.monotonic() + 5
    while len(made) < depth + 2 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(made) == depth + 2  # taken, ready, and one in hand
    items.close()
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_an_error_comes_where_it_happened():
    def broken():
        yield 1
        yield 2
        raise ValueError("torn file")

    seen = []
    with pytest.raises(ValueError, match="torn file"):
        for item in ahead(broken()):
            seen.append(item)
    assert seen == [1, 2]


def test_nothing_at_all_ends_at_once():
    assert list(ahead(counted(0, [], []))) == []
