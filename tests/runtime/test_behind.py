from __future__ import annotations

import threading

import pytest

from lsd.runtime.behind import Behind


def collected(ends):
    return lambda result_of: ends.append(result_of())


def test_ends_come_in_order_in_the_thread_that_gave_the_work():
    ends, threads = [], []
    with Behind(3) as behind:
        for number in range(3):
            behind.give(lambda number=number: (number, threading.current_thread().name), collected(ends))
        assert len(behind) == 3 or ends
        behind.take(everything=True)
        threads.append(threading.current_thread().name)
    assert [number for number, _ in ends] == [0, 1, 2]
    assert {name for _, name in ends}.isdisjoint(threads) and len({name for _, name in ends}) == 1


def test_what_is_not_done_is_not_taken_and_giving_more_waits():
    gate, ends, begun = threading.Event(), [], threading.Event()

    def slow():
        begun.set()
        assert gate.wait(30)
        return "slow"

    with Behind(1) as behind:
        behind.give(slow, collected(ends))
        assert begun.wait(30)
        behind.take()
        assert ends == [] and len(behind) == 1
        threading.Timer(0.05, gate.set).start()
        behind.give(lambda: "fast", collected(ends))
        assert ends == ["slow"]
        behind.take(everything=True)
    assert ends == ["slow", "fast"]


def test_an_error_comes_out_where_the_result_is_asked_for():
    def fail():
        raise OSError("disk")

    with Behind(1) as behind:
        behind.give(fail, lambda result_of: result_of())
        with pytest.raises(OSError, match="disk"):
            behind.take(everything=True)
        assert len(behind) == 0
        ends = []
        behind.give(lambda: "next", collected(ends))
        behind.take(everything=True)
        assert ends == ["next"]


def test_leaving_waits_for_what_runs_and_forgets_the_rest():
    begun, done = threading.Event(), []

    def slow():
        begun.set()
        done.append("first")

    with pytest.raises(KeyError), Behind(2) as behind:
        behind.give(slow, collected([]))
        assert begun.wait(30)
        raise KeyError
    assert done == ["first"]
