"""Monitoring server: four answers and nothing else, to this machine alone unless asked, gone within a second."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from finished_runs import done_tile
from prometheus_client.parser import text_string_to_metric_families

from lsd.runtime.errors import UsageError
from lsd.runtime.monitoring.metrics import Metrics
from lsd.runtime.monitoring.server import MonitoringServer
from lsd.runtime.monitoring.state import RunState
from lsd.runtime.stream.events import Paused, Resumed, TileBegun, TileEnded


class Steady:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def steady() -> Steady:
    return Steady()


@pytest.fixture
def state(steady: Steady) -> RunState:
    return RunState(monotonic=steady)


@pytest.fixture
def server(state: RunState) -> Iterator[MonitoringServer]:
    with MonitoringServer("127.0.0.1", 0, Metrics(), state, stuck_s=30) as made:
        yield made


def ask(server: MonitoringServer, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_metrics_are_what_prometheus_reads(state):
    metrics = Metrics()
    with MonitoringServer("127.0.0.1", 0, metrics, state) as server:
        metrics(TileEnded(done_tile("a")))
        code, text, headers = ask(server, "/metrics")
    assert code == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    tiles = {family.name: family for family in text_string_to_metric_families(text)}["lsd_tiles"]
    assert {sample.labels["status"]: sample.value for sample in tiles.samples}["done"] == 1


def test_alive_and_ready_are_different_questions(server, state, steady):
    assert ask(server, "/healthz")[:2] == (200, "ok\n")
    assert ask(server, "/readyz")[:2] == (503, "the bundle is not open yet or its self-test not done\n")
    state.ready("reference", "ab")
    assert ask(server, "/readyz")[:2] == (200, "ok\n")
    state(Paused("disk full"))
    assert ask(server, "/healthz")[0] == 200 and ask(server, "/readyz")[:2] == (503, "paused: disk full\n")
    state(Resumed(1.0))
    state(TileBegun("a"))
    steady.now_s += 31
    assert ask(server, "/healthz")[:2] == (503, "the run has not moved for 31 s (30 s allowed); it is scoring\n")
    state.moved()
    assert ask(server, "/healthz")[0] == 200


def test_the_state_as_json(server, state):
    state.ready("reference", "ab")
    code, text, headers = ask(server, "/status.json")
    assert code == 200 and headers["Content-Type"] == "application/json"
    assert json.loads(text)["bundle"]["name"] == "reference"


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/../metrics", "/etc/passwd", "/%2e%2e/etc/passwd", "/index.html", "*"]
)
def test_nothing_else_is_there(server, path):
    code, text, headers = ask(server, path)
    assert code == 404 and text == "there are /metrics, /healthz, /readyz and /status.json\n"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_query_is_ignored_and_other_methods_refused(server):
    assert ask(server, "/healthz?verbose=1")[0] == 200
    code, text, headers = ask(server, "/metrics", "HEAD")
    assert code == 200 and text == "" and int(headers["Content-Length"]) > 1000
    for method in ("POST", "PUT", "DELETE"):
        code, text, headers = ask(server, "/metrics", method)
        assert code == 501 and "<" not in text and "Python" not in headers["Server"]


def test_a_port_that_is_taken_is_one_line(server, state):
    with pytest.raises(UsageError, match=rf"cannot listen on 127.0.0.1:{server.port}: another program listens there"):
        MonitoringServer("127.0.0.1", server.port, Metrics(), state)
    assert ask(server, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("192.0.2.1", 0, "this machine has no such address"),  # RFC 5737: for documentation only
        ("no such host", 0, "give HOST:PORT, as 127.0.0.1:9464"),
        ("127.0.0.1", 70000, "give HOST:PORT, as 127.0.0.1:9464"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_line(host, port, words, state):
    with pytest.raises(UsageError, match="cannot listen on") as refused:
        MonitoringServer(host, port, Metrics(), state)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_only_this_machine_reaches_it(server):
    assert server._server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}" and server.port > 0


def test_ipv6(state):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(UsageError, match=r"cannot listen on \[::1\]:0"):
            MonitoringServer("::1", 0, Metrics(), state)
        return
    with MonitoringServer("::1", 0, Metrics(), state) as server:
        assert server.url == f"http://[::1]:{server.port}" and ask(server, "/healthz")[0] == 200


def test_a_client_that_says_nothing_holds_up_nobody(state):
    before = threading.active_count()
    server = MonitoringServer("127.0.0.1", 0, Metrics(), state)
    with socket.create_connection((server.host, server.port)) as mute:
        mute.sendall(b"GET /met")
        started_s = time.monotonic()
        assert ask(server, "/healthz")[0] == 200
        server.close()
        assert time.monotonic() - started_s < 1.0
    server.close()  # again, harmless
    with pytest.raises(OSError):
        socket.create_connection((server.host, server.port), timeout=1)
    deadline_s = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline_s, "a thread stayed"
        time.sleep(0.02)


def test_garbage_is_answered_or_dropped_and_the_server_goes_on(server):
    for garbage in (
        b"\r\n\r\n",
        b"\xff" * 70_000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\na" * 3000,
    ):
        with socket.create_connection((server.host, server.port)) as rude:
            try:
                rude.sendall(garbage)
            except OSError:
                continue
    assert ask(server, "/healthz")[0] == 200


def test_many_ask_at_once(server):
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ask(server, "/metrics")[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 20
