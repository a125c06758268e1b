"""A connection to an MQTT broker (paho-mqtt, opt-in extra `mqtt`) that survives both sides' restarts."""

from __future__ import annotations

import hashlib
import netrc
import platform
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lsd.runtime.errors import SourceError, UsageError

PORTS = {"mqtt": 1883, "mqtts": 8883}  # IANA
ANSWER_S = 10.0
AT_LEAST_ONCE = 1  # quality of service, MQTT 3.1.1 section 4.3


@dataclass(frozen=True)
class BrokerAddress:
    """Broker, topic, and the name under which it keeps what was not delivered. The password is in ~/.netrc, if any."""

    host: str
    port: int
    topic: str
    client_id: str
    user: str | None = None
    tls: bool = False


def address_of(url: str, role: str) -> BrokerAddress:
    """`mqtt://[USER@]HOST[:PORT]/TOPIC[?client=NAME]`, `mqtts://` with TLS; `%` escapes in user and topic.

    Args:
        role: what the client does; with machine and URL it makes the name of a client that `?client=` does not name.
    Raises:
        UsageError: another scheme, no host, no topic, a port that is none, or a password, which would be stored.
    """
    parts = urlsplit(url, allow_fragments=False)  # `#` is MQTT's wildcard
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url}: the port should be 1..65535 ({error})") from error
    if parts.password is not None:
        raise UsageError(f"the URL of {parts.hostname} holds a password; put it into ~/.netrc, and USER@ into the URL")
    topic = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in PORTS or not parts.hostname or not topic:
        raise UsageError(f"expected mqtt://[USER@]HOST[:PORT]/TOPIC, found {url!r}; mqtts:// for TLS")
    named = parse_qs(parts.query).get("client")
    name = named[0] if named else f"lsd-{role}-{_hashed(platform.node(), url)}"
    user = None if parts.username is None else unquote(parts.username)
    return BrokerAddress(parts.hostname, port or PORTS[parts.scheme], topic, name, user, parts.scheme.endswith("s"))


def connected(address: BrokerAddress, on_message: Callable[[Any], None] | None = None) -> Any:
    """A client of the broker with a thread of its own, which connects again by itself; `disconnected` ends it.

    Args:
        on_message: makes it subscribe to the topic; called from the client's thread. Messages are acknowledged by
            hand: `client.ack(message.mid, message.qos)`.
    Raises:
        UsageError: paho-mqtt is not installed.
        SourceError: the broker cannot be reached, or refuses the client or the topic.
    """
    try:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise UsageError("MQTT needs paho-mqtt: pip install 'lsd-edge[mqtt]'") from error
    answers: queue.Queue[str | None] = queue.Queue()

    def on_connect(client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            answers.put(str(reason))
        elif on_message is None:
            answers.put(None)
        else:  # each time: a broker that lost its memory has lost the subscription too
            client.subscribe(address.topic, AT_LEAST_ONCE)

    def on_subscribe(_: Any, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        answers.put(next((f"{address.topic}: {one}" for one in reasons if one.is_failure), None))

    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, address.client_id, clean_session=False, manual_ack=on_message is not None
    )
    client.on_connect, client.on_subscribe = on_connect, on_subscribe
    if on_message is not None:
        client.on_message = lambda _, __, message: on_message(message)
    if address.tls:
        client.tls_set()
    if address.user is not None:
        client.username_pw_set(address.user, _password_of(address))
    where = f"broker {address.host}:{address.port}"
    try:
        client.connect(address.host, address.port)
    except OSError as error:
        raise SourceError(f"{where} cannot be reached ({error}); check address and network") from error
    client.loop_start()
    try:
        refused = answers.get(timeout=ANSWER_S)
    except queue.Empty:
        refused = f"no answer in {ANSWER_S:g} s"
    if refused is not None:
        disconnected(client)
        raise SourceError(f"{where} refused ({refused}); check user, password (~/.netrc) and its rights to the topic")
    return client


def disconnected(client: Any) -> None:
    """End a client; the broker keeps its session."""
    client.disconnect()
    client.loop_stop()


def _password_of(address: BrokerAddress) -> str | None:
    try:
        found = netrc.netrc().authenticators(address.host)
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError) as error:
        raise UsageError(f"~/.netrc cannot be read ({error}); correct it") from error
    return found[2] if found and found[0] == address.user else None


def _hashed(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()
