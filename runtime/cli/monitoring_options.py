"""The options that say where a run can be watched, and what opens and closes what they ask for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from lsd.runtime.errors import UsageError

if TYPE_CHECKING:
    from lsd.runtime.stream.events import Listener

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--listen",
        metavar="HOST:PORT",
        help="Answer /metrics (Prometheus), /healthz, /readyz and /status.json over HTTP; :PORT is 127.0.0.1 only, "
        "port 0 any free one.  [default: do not listen]",
    ),
    click.option(
        "--log",
        metavar="FILE",
        help="Append one JSON object a line for every event of the run to FILE; - is stderr.  [default: no log]",
    ),
)


def monitoring_options(function: Function) -> Function:
    """Add the options; the command hands its flags to `monitoring_of`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def place_of(listen: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9464`, `[::1]:9464` or `:9464` (this machine alone).

    Raises:
        UsageError: it is written otherwise, or the port is none.
    """
    found = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})", listen)
    if found is None or int(found["port"]) > 65535:
        raise UsageError(f"--listen must be HOST:PORT, as 127.0.0.1:9464 or [::1]:9464, is {listen!r}")
    return found["six"] or found["host"] or "127.0.0.1", int(found["port"])


class Monitoring:
    """What listens to a run because of the options, and what asks it.

    listener: hand every event to it. state: call its `ready`, `moved` and `ended`. metrics: its `bundle` and
    `drift`. url: of the server, None without --listen.
    """

    def __init__(self, watching: bool) -> None:
        from lsd.runtime.monitoring.metrics import Metrics
        from lsd.runtime.monitoring.state import RunState
        from lsd.runtime.stream.events import tell_all

        self.state, self.metrics = RunState(watching), Metrics()
        self.url: str | None = None
        self.listener: Listener = tell_all((self.state, self.metrics))


@contextmanager
def monitoring_of(flags: Mapping[str, Any], run_folder: Path, watching: bool = False) -> Iterator[Monitoring]:
    """Open what the flags ask for, and the state file in `run_folder`; close it all at the end.

    Args:
        flags: `listen` and `log`, None where not given.
        run_folder: OUT/.lsd-run, there already.
        watching: the run waits for tiles to come.
    Raises:
        UsageError: the port is taken, the address cannot be had, or the log cannot be opened.
    """
    from lsd.runtime.monitoring.state_file import StateFile
    from lsd.runtime.stream.events import tell_all

    made = Monitoring(watching)
    with ExitStack() as stack:
        if flags["log"] is not None:
            from lsd.runtime.monitoring.run_log import JsonLog

            place: TextIO | Path = sys.stderr if flags["log"] == "-" else Path(flags["log"])
            log = stack.enter_context(JsonLog(place))
            made.listener = tell_all((made.state, made.metrics, log))
        if flags["listen"] is not None:
            from lsd.runtime.monitoring.server import MonitoringServer

            server = stack.enter_context(MonitoringServer(*place_of(flags["listen"]), made.metrics, made.state))
            made.url = server.url
        stack.enter_context(StateFile(run_folder, made.state))
        yield made
