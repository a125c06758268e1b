"""The HTTP side of monitoring: /metrics, /healthz, /readyz and /status.json, nothing else."""

from __future__ import annotations

import errno
import json
import logging
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from lsd.runtime.errors import UsageError
from lsd.runtime.monitoring.exposition import CONTENT_TYPE
from lsd.runtime.monitoring.metrics import Metrics
from lsd.runtime.monitoring.state import RunState

# A row of patches takes seconds even with networks on a small board; a whole tile between two moves may take minutes.
STUCK_S = 900.0
_POLL_S = 0.1  # how soon `close` is noticed
_CLIENT_S = 5.0  # a client that says nothing for so long is dropped
_TEXT = "text/plain; charset=utf-8"
_FIXES = {
    errno.EADDRINUSE: "another program listens there; choose another port, or 0 for any free one",
    errno.EACCES: "ports below 1024 need more rights; choose another one, or 0 for any free one",
    errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 is this machine alone, 0.0.0.0 all its networks",
}
_LOGGER = logging.getLogger(__name__)


class MonitoringServer:
    """Answers in threads of its own from the constructor on until `close`; also a context manager.

    It only reads. There is no password and no encryption: bind it to 127.0.0.1 unless the network is trusted.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, state: RunState, stuck_s: float = STUCK_S) -> None:
        """Start listening.

        Args:
            host: name or address. port: 0 for any free one; `port` tells which.
            stuck_s: /healthz answers 503 once the run has not moved for longer.
        Raises:
            UsageError: the port is taken, or the address cannot be had.
        """
        try:
            self._server = _Server(host, port, _Answers(metrics, state, stuck_s))
        except (OSError, OverflowError) as error:
            number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
            fix = _FIXES.get(number or 0, f"{error}; give HOST:PORT, as 127.0.0.1:9464")
            raise UsageError(f"cannot listen on {_address(host, port)}: {fix}") from error
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="monitoring", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:9464`."""
        return f"http://{_address(self.host, self.port)}"

    def close(self) -> None:
        """Stop listening, within a second; answers that are under way may be cut short. A second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MonitoringServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Answers:
    """Status code, media type and body of every path."""

    def __init__(self, metrics: Metrics, state: RunState, stuck_s: float) -> None:
        self._metrics, self._state, self._stuck_s = metrics, state, stuck_s

    def of(self, path: str) -> tuple[int, str, str]:
        match path:
            case "/metrics":
                return 200, CONTENT_TYPE, self._metrics.render()
            case "/healthz":
                return _check(self._state.unfit(self._stuck_s))
            case "/readyz":
                return _check(self._state.unready())
            case "/status.json":
                return 200, "application/json", json.dumps(self._state.as_dict(), indent=1) + "\n"
        return 404, _TEXT, "there are /metrics, /healthz, /readyz and /status.json\n"


def _check(reason: str | None) -> tuple[int, str, str]:
    return (200, _TEXT, "ok\n") if reason is None else (503, _TEXT, f"{reason}\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that dawdles never holds up the end of the run

    def __init__(self, host: str, port: int, answers: _Answers) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answers = answers
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for the host's name, which may take seconds where there is no network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        _LOGGER.debug("no answer for %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "lsd-run", ""
    timeout = _CLIENT_S
    error_content_type = _TEXT
    error_message_format = "%(message)s\n"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        code, kind, text = self.server.answers.of(self.path.partition("?")[0])
        body = text.encode("utf-8", "replace")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        _LOGGER.debug(format, *args)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
