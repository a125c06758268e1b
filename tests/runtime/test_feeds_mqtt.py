"""MQTT with a real broker: nothing announced is lost, results are told at least once, ids tell repeats."""

from __future__ import annotations

import contextlib
import getpass
import json
import queue
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from growing_folder import PATIENCE_S, FeedReader

from lsd.runtime.errors import OutputError, SourceError, UsageError
from lsd.runtime.feeds import mqtt_sink
from lsd.runtime.feeds.broker import address_of, connected, disconnected
from lsd.runtime.feeds.mqtt import MqttFeed
from lsd.runtime.feeds.mqtt_sink import MqttSink, message_of
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import TileBegun, TileEnded, TileKnown

RESULT = TileResult("north", "done", {"patches": 4, "slide": 1}, seconds={"read": 1.0})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Mosquitto:
    """A broker in a process of its own, which may be killed and started again."""

    def __init__(self, program: str, folder: Path, *settings: str) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._command = [program, "-c", str(folder / "conf")]
        self._log = folder / "log"
        lines = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/"]
        lines += ["autosave_interval 1", "autosave_on_changes true", f"user {getpass.getuser()}", *settings]
        (folder / "conf").write_text("\n".join(lines))
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)
        ends_s = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None and time.monotonic() < ends_s, self._log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory, need_tool):
    """`mqtt://127.0.0.1:PORT` of a broker that lets everybody in."""
    running = Mosquitto(need_tool("mosquitto"), tmp_path_factory.mktemp("broker"), "allow_anonymous true")
    yield running.url
    running.kill()


@pytest.fixture
def own_broker(tmp_path_factory, need_tool):
    """Callable: a `Mosquitto` with these settings, killed at the end."""
    with contextlib.ExitStack() as stack:

        def make(*settings: str) -> Mosquitto:
            running = Mosquitto(need_tool("mosquitto"), tmp_path_factory.mktemp("broker"), *settings)
            stack.callback(running.kill)
            return running

        yield make


class Peer:
    """Another client of the broker: it announces, and hears what is told."""

    def __init__(self, url: str) -> None:
        self.heard: queue.Queue[bytes] = queue.Queue()
        self.address = address_of(url, "peer")
        self.client = connected(self.address, self._hear)

    def _hear(self, message) -> None:
        self.client.ack(message.mid, message.qos)
        self.heard.put(message.payload)

    def say(self, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.client.publish(self.address.topic, text, 1).wait_for_publish(PATIENCE_S)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        disconnected(self.client)


def test_announcements_become_rounds_and_nonsense_is_refused(broker, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    refused = {}
    url = f"{broker}/tiles/new"
    with Peer(url) as peer, FeedReader(MqttFeed(url, refused.__setitem__)) as reader:
        time.sleep(0.5)
        for content in (str(tmp_path / "a"), {"pth": "x"}, "missing", {"path": str(tmp_path / "b")}):
            peer.say(content)
        assert reader.next_round().sources == (tmp_path / "a",)
        assert reader.next_round().sources == (tmp_path / "b",)
        stopped_s = time.monotonic()
        reader.stop.set()
        assert reader.next_round() is None and time.monotonic() - stopped_s < 1
    assert sorted(refused) == [2, 3] and "did you mean 'path'" in refused[2] and "does not exist" in refused[3]


def test_what_is_announced_while_the_run_is_down_comes_when_it_is_up(broker, tmp_path):
    (tmp_path / "a").mkdir()
    url = f"{broker}/tiles/down?client=down"
    with FeedReader(MqttFeed(url)) as reader:
        assert reader.is_silent(0.5)
    with Peer(f"{broker}/tiles/down") as peer:
        peer.say(str(tmp_path / "a"))
    with FeedReader(MqttFeed(url)) as reader:
        assert reader.next_round().sources == (tmp_path / "a",)


def test_a_round_that_was_not_finished_is_announced_again_and_a_finished_one_is_not(broker, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    url = f"{broker}/tiles/again?client=again"
    first = MqttFeed(url).rounds(threading.Event(), lambda _: None)
    with Peer(f"{broker}/tiles/again") as peer:
        threading.Timer(1.0, lambda: [peer.say(str(tmp_path / name)) for name in ("a", "b")]).start()
        assert next(first).sources == (tmp_path / "a",)
        assert next(first).sources == (tmp_path / "b",)  # acknowledges a
        first.close()  # the run ends in the middle of b
    with FeedReader(MqttFeed(url)) as reader:
        assert reader.next_round().sources == (tmp_path / "b",)
        assert reader.is_silent(1.0)


def test_both_sides_outlive_a_broker_that_is_killed(own_broker, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    broker = own_broker("allow_anonymous true")
    url = f"{broker.url}/tiles"
    with FeedReader(MqttFeed(url)) as reader, Peer(f"{broker.url}/results") as peer:
        with MqttSink(f"{broker.url}/results") as sink:
            time.sleep(0.5)
            broker.kill()
            sink(TileEnded(RESULT))  # kept until the broker is back
            broker.start()
            with Peer(url) as announcer:
                announcer.say(str(tmp_path / "a"))
            assert reader.next_round().sources == (tmp_path / "a",)
        assert json.loads(peer.heard.get(timeout=PATIENCE_S))["tile"] == "north"


def test_results_that_the_broker_never_took_are_an_error_at_the_end(own_broker, monkeypatch):
    broker = own_broker("allow_anonymous true")
    monkeypatch.setattr(mqtt_sink, "FLUSH_S", 0.5)
    with pytest.raises(OutputError, match="1 results were not taken"), MqttSink(f"{broker.url}/results") as sink:
        broker.kill()
        sink(TileEnded(RESULT))


def test_the_password_comes_from_netrc(own_broker, tmp_path, need_tool, monkeypatch):
    subprocess.run([need_tool("mosquitto_passwd"), "-b", "-c", tmp_path / "users", "edge", "right"], check=True)
    broker = own_broker(f"password_file {tmp_path / 'users'}", "allow_anonymous false")
    monkeypatch.setenv("HOME", str(tmp_path))
    url = broker.url.replace("//", "//edge@")
    netrc = tmp_path / ".netrc"
    netrc.touch(0o600)
    for password in ("wrong", "right"):
        netrc.write_text(f"machine 127.0.0.1 login edge password {password}\n")
        refused = (
            pytest.raises(SourceError, match=r"refused .*netrc") if password == "wrong" else contextlib.nullcontext()
        )
        with refused, MqttSink(f"{url}/results"):
            pass


def test_each_result_is_told_once_a_run_with_the_same_id_in_every_run(broker):
    url = f"{broker}/results"
    failed = replace(RESULT, id="south", status="failed", error="no CRS")
    with Peer(f"{url}?client=listener") as peer:
        for event in (TileEnded, TileKnown):  # the second run meets what the first one did
            with MqttSink(url) as sink:
                sink(TileBegun("north"))
                sink(event(RESULT))
                sink(TileKnown(replace(RESULT, seconds={"read": 9.0})))
                sink(event(failed))
        heard = [json.loads(peer.heard.get(timeout=PATIENCE_S)) for _ in range(4)]
        with pytest.raises(queue.Empty):
            peer.heard.get(timeout=0.5)
    assert [one["tile"] for one in heard] == ["north", "south"] * 2
    assert [one["id"] for one in heard[:2]] == [one["id"] for one in heard[2:]] and heard[0]["id"] != heard[1]["id"]
    assert heard[0]["counts"] == {"patches": 4, "slide": 1} and "seconds" not in heard[0]
    assert (heard[1]["status"], heard[1]["error"]) == ("failed", "no CRS")


def test_the_id_is_of_the_result():
    assert message_of(RESULT)[0] == message_of(replace(RESULT, seconds={}))[0]
    assert message_of(RESULT)[0] != message_of(replace(RESULT, counts={"patches": 4, "slide": 2}))[0]


def test_a_broker_that_is_not_there():
    missing = pytest.raises(SourceError, match=r"broker 127\.0\.0\.1:\d+ cannot be reached")
    with FeedReader(MqttFeed(f"mqtt://127.0.0.1:{free_port()}/x")) as reader, missing:
        reader.next_round()


def test_urls():
    whole = address_of("mqtts://us%40er@host.example:99/a/+/b/%23?client=me", "feed")
    assert (whole.host, whole.port, whole.topic, whole.client_id) == ("host.example", 99, "a/+/b/#", "me")
    assert (whole.user, whole.tls) == ("us@er", True)
    plain = address_of("mqtt://host/a/#", "feed")
    assert (plain.port, plain.topic, plain.user, plain.tls) == (1883, "a/#", None, False)
    assert plain.client_id == address_of("mqtt://host/a/#", "feed").client_id
    assert len({address_of(f"mqtt://host/{topic}", role).client_id for topic in "ab" for role in ("x", "y")}) == 4


@pytest.mark.parametrize("url", ["mqtt://host", "mqtt:///topic", "http://host/topic", "mqtt://host:x/topic", "topic"])
def test_urls_that_are_none(url):
    with pytest.raises(UsageError, match=r"expected mqtt://|port should be"):
        address_of(url, "feed")


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="netrc") as caught:
        address_of("mqtt://me:secret@host/topic", "feed")
    assert "secret" not in str(caught.value)
