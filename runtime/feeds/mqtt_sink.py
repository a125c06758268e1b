"""Results told to an MQTT broker: one JSON message a tile, at least once, with an id that tells repeats."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any

from lsd.runtime.errors import OutputError
from lsd.runtime.feeds.broker import AT_LEAST_ONCE, address_of, connected, disconnected
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import Event, TileEnded, TileKnown

SCHEMA_VERSION = 1
FLUSH_S = 10.0  # how long the end of a run waits for the broker


def message_of(result: TileResult) -> tuple[str, bytes]:
    """Id and content of the message of a tile: `TileResult` as JSON but its timings, with `schema_version` and `id`.

    The id is of the content: the same result has the same one in every run.
    """
    content = {key: value for key, value in asdict(result).items() if key != "seconds"}
    content["tile"] = content.pop("id")
    content["schema_version"] = SCHEMA_VERSION
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    message_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return message_id, json.dumps({"id": message_id, **content}, allow_nan=False).encode()


class MqttSink:
    """Listener of a run that publishes every result; a context manager. Call it from one thread.

    A tile that was done in an earlier run is told again when this run meets it: the earlier one may have died between
    the two. While the broker is away messages are kept and sent later; those kept when the run dies are told by the
    next run. Leaving the block waits up to `FLUSH_S` for the broker.

    Raises:
        UsageError: the URL is none, or paho-mqtt is not installed.
        SourceError: the broker cannot be reached or refuses, at the start.
        OutputError: on leaving, messages were not taken in time; they are told by the next run.
    """

    def __init__(self, url: str) -> None:
        self.address = address_of(url, "sink")
        self._told: set[str] = set()
        self._taken = 0
        self._client = connected(self.address)
        self._client.on_publish = self._count  # a message that was kept while the broker is away counts here too

    def _count(self, *_: Any) -> None:
        self._taken += 1

    def __call__(self, event: Event) -> None:
        """Publish the result in a `TileEnded` or `TileKnown`, each id once a run."""
        if isinstance(event, (TileEnded, TileKnown)):
            message_id, content = message_of(event.result)
            if message_id not in self._told:
                self._told.add(message_id)
                self._client.publish(self.address.topic, content, AT_LEAST_ONCE)

    def __enter__(self) -> MqttSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ends_s = time.monotonic() + FLUSH_S
        while (left := len(self._told) - self._taken) and time.monotonic() < ends_s:
            time.sleep(0.05)
        disconnected(self._client)
        if left and kind is None:
            raise OutputError(
                f"{left} results were not taken by broker {self.address.host}:{self.address.port} within "
                f"{FLUSH_S:g} s; run again: what was done is told again"
            )
