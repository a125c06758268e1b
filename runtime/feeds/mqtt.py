"""Sources announced by an MQTT broker: a path or JSON a message, as on stdin. Nothing announced meanwhile is lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from lsd.runtime.errors import LsdError
from lsd.runtime.feeds.announcement import announced
from lsd.runtime.feeds.base import Round, Waiting
from lsd.runtime.feeds.broker import address_of, connected, disconnected
from lsd.runtime.feeds.lines import Refused, log_refused

_STOP_S = 0.2  # how often a wait for a message looks whether to stop


class MqttFeed:
    """One round a message, quality of service 1, in a session that the broker keeps while this client is away.

    A message is acknowledged when the next round is asked for, so when its own is finished: if the run dies before, the
    broker sends it again. One that makes no sense, or whose path does not exist, is refused and acknowledged.

    Args:
        url: see `broker.address_of`. Two runs on one machine that listen to the same topic need `?client=NAME`.
        refused: called with the message's number in this run, from 1, and the reason in one line.
    Raises:
        UsageError: the URL is none.
    """

    def __init__(self, url: str, refused: Refused = log_refused) -> None:
        self.address = address_of(url, "feed")
        self.refused = refused

    def rounds(self, stop: threading.Event, waiting: Waiting) -> Iterator[Round]:
        """See `Feed`; ends only when stopped, and nothing is ever waited for.

        Raises:
            SourceError: the broker cannot be reached or refuses, at the start; later it is tried again and again.
            UsageError: paho-mqtt is not installed.
        """
        messages: queue.Queue[Any] = queue.Queue()
        client = connected(self.address, messages.put)
        number = 0
        try:
            while not stop.is_set():
                try:
                    message = messages.get(timeout=_STOP_S)
                except queue.Empty:
                    continue
                number += 1
                try:
                    path = announced(message.payload)
                except LsdError as error:
                    self.refused(number, " ".join(str(error).split()))
                    path = None
                if path is not None:
                    yield Round((path,))
                client.ack(message.mid, message.qos)
        finally:
            disconnected(client)
