"""A run waits while the output cannot be written, says so once, and goes on; SIGTERM asks, a second one stops."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading

import pytest

from lsd.runtime.errors import OutputError
from lsd.runtime.stream.events import Paused, Resumed
from lsd.runtime.stream.output import STATE_FOLDER, Output
from lsd.runtime.stream.patience import patiently


def failing(times: int, number: int | None):
    """Work that fails so often, and a list of its calls."""
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) <= times:
            error = OutputError("cannot write here")
            error.errno = number
            raise error

    return work, calls


def test_a_full_disk_is_waited_for_and_told_once():
    told: list = []
    work, calls = failing(3, errno.ENOSPC)
    patiently(work, threading.Event(), told.append, first_wait_s=0.001)
    assert len(calls) == 4 and told[0] == Paused("cannot write here")
    assert len(told) == 2 and isinstance(told[1], Resumed) and told[1].waited_s >= 0.007


def test_work_that_succeeds_is_done_once_and_says_nothing():
    told: list = []
    work, calls = failing(0, None)
    patiently(work, threading.Event(), told.append)
    assert len(calls) == 1 and told == []


@pytest.mark.parametrize("number", [None, errno.EACCES, errno.EEXIST])
def test_what_waiting_cannot_help_is_raised(number):
    told: list = []
    work, calls = failing(3, number)
    with pytest.raises(OutputError):
        patiently(work, threading.Event(), told.append)
    assert len(calls) == 1 and told == []


def test_a_stop_ends_the_waiting():
    stop = threading.Event()
    work, calls = failing(1000, errno.ENOSPC)
    with pytest.raises(OutputError):
        patiently(work, stop, lambda event: stop.set(), first_wait_s=60)
    assert len(calls) == 2


def test_an_output_that_went_away_is_noticed_and_taken_again(tmp_path):
    """A mount that goes leaves an empty folder or none; one that comes back is another device or folder."""
    folder = tmp_path / "out"
    with Output(folder) as output:
        output.check()
        output.journal.begin("T33", "T33", "key", "b")
        folder.rename(tmp_path / "away")
        folder.mkdir()
        with pytest.raises(OutputError, match="is gone: its journal is not there any more; mount its disk") as caught:
            output.check()
        assert caught.value.errno == errno.ENODEV and list(folder.iterdir()) == []
        folder.rmdir()
        shutil.copytree(tmp_path / "away", folder)
        output.check()
        entry = output.journal.entry("T33")
        assert entry is not None and entry.state == "begun"
        assert output.journal.path == folder / STATE_FOLDER / "journal.sqlite"


def test_leftovers_of_a_kill_are_removed_when_the_output_is_taken(tmp_path):
    (tmp_path / "out" / ".T33.partial").mkdir(parents=True)
    (tmp_path / "out" / ".T33.partial" / "scores.tif").write_text("half")
    (tmp_path / "out" / ".T34.aside").mkdir()
    (tmp_path / "out" / ".T34.aside" / "scores.tif").write_text("whole")
    with Output(tmp_path / "out"):
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [STATE_FOLDER, "T34"]


def test_two_runs_refuse_each_other(tmp_path):
    with Output(tmp_path / "out"), pytest.raises(OutputError, match="is in use by another lsd-run"):
        Output(tmp_path / "out")
    with Output(tmp_path / "out"):
        pass


def test_the_first_sigterm_asks_and_the_second_stops():
    """In a process of its own: in that of the tests a signal comes on faulthandler's small stack, where the registers
    of a processor with AMX do not fit once OpenVINO has used them, and the kernel ends the process."""
    script = (
        "import os, signal, threading\nfrom lsd.runtime.stream.signals import stop_on_sigterm\n"
        "stop, asked = threading.Event(), threading.Event()\nbefore = signal.getsignal(signal.SIGTERM)\n"
        "try:\n"
        "    with stop_on_sigterm(stop, asked.set):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('asked', stop.wait(5) and asked.wait(5), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        threading.Event().wait(5)\n"
        "        print('not stopped')\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', signal.getsignal(signal.SIGTERM) == before)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["asked True", "stopped True"]
