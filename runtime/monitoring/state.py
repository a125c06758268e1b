"""What a run does right now, for health checks, `/status.json`, the run page and `lsd-run status`."""

from __future__ import annotations

import copy
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lsd.runtime import __version__
from lsd.runtime.monitoring.clock import utc
from lsd.runtime.monitoring.totals import Totals
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import (
    BundleChanged,
    BundleRefused,
    Drifted,
    Event,
    Paused,
    Queued,
    Resumed,
    Stopping,
    TileBegun,
    TileEnded,
    TileKnown,
    TilesWaiting,
)

SCHEMA_VERSION = 1
STATES = ("starting", "idle", "watching", "scoring", "paused", "stopping", "ended")
WORKING = ("starting", "scoring", "stopping")  # in the others the run waits for tiles, for a disk, or for nothing
_HOUR_S = 3600.0
_LEAST_S = 60.0  # a rate over less says nothing
_LISTED = 20  # paths and tiles named; their number is told in full
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class RunState:
    """A listener that knows what the run does. Any thread may call anything.

    The run says three things that are no events: `ready` once the bundle is open and its self-test passed, `moved`
    wherever its work goes on within a tile (each window), `ended` at the end. Every event is a move too.
    """

    def __init__(
        self,
        watching: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start in the state `starting`.

        Args:
            watching: the run waits for tiles to come (`watching` between them, not `idle`).
            clock: seconds since 1970. monotonic: seconds that never jump.
        """
        self._lock = threading.Lock()
        self._clock, self._monotonic = clock, monotonic
        self._watching = watching
        self._started, self._started_s = clock(), monotonic()
        self._since, self._state = self._started, "starting"
        self._moved_s = self._started_s
        self._changes = 0
        self._bundle: dict[str, str] | None = None
        self._engines: dict[str, str] = {}
        self._in_hand: dict[str, float] = {}  # id -> when it was begun
        self._tiles = dict.fromkeys(("done", "failed", "known"), 0)
        self._totals = Totals()
        self._ended_s: deque[float] = deque()  # monotonic times at which tiles ended within the last hour
        self._waiting: tuple[str, ...] = ()
        self._paused: str | None = None
        self._stopping: str | None = None
        self._exit_code: int | None = None
        self._drift: dict[str, Any] | None = None
        self._last_tile: dict[str, str] | None = None
        self._last_error: dict[str, str | None] | None = None

    # --- told by the run ---------------------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, Queued):
            return
        with self._lock:
            match event:
                case TileBegun(tile_id):
                    self._in_hand[tile_id] = self._clock()
                case TileEnded(result):
                    self._end(result)
                case TileKnown(result):
                    self._in_hand.pop(result.id, None)
                    self._tiles["known"] += 1
                case TilesWaiting(paths):
                    self._waiting = tuple(str(path) for path in paths)
                case Paused(reason):
                    self._paused = reason
                case Resumed():
                    self._paused = None
                case BundleChanged(name, sha256):
                    self._bundle = {"name": name, "sha256": sha256}
                case BundleRefused(reason):
                    self._fail(None, reason)
                case Drifted(shifts, warnings):
                    self._drift = {"shifts": finite(shifts), "warnings": list(warnings)}
                case Stopping(reason):
                    self._stopping = reason
            self._change()

    def ready(self, bundle_name: str, bundle_sha256: str, engines: Mapping[str, str] | None = None) -> None:
        """The bundle is open and its self-test passed. engines: member -> what evaluates it (`onnxruntime fp32`)."""
        with self._lock:
            self._bundle = {"name": bundle_name, "sha256": bundle_sha256}
            self._engines = dict(engines or {})
            self._change()

    def moved(self) -> None:
        """The work goes on. Cheap: call it as often as you like."""
        self._moved_s = self._monotonic()

    def ended(self, exit_code: int) -> None:
        """The run is over; nothing is called after this."""
        with self._lock:
            self._exit_code = exit_code
            self._change()

    def _end(self, result: TileResult) -> None:
        self._in_hand.pop(result.id, None)
        self._tiles[result.status] += 1
        self._totals.add(result.counts, result.seconds)
        self._last_tile = {"id": result.id, "status": result.status, "utc": utc(self._clock())}
        if result.status == "failed":
            self._fail(result.id, result.error or "no reason given")
        now_s = self._monotonic()
        self._ended_s.append(now_s)
        self._forget(now_s)

    def _fail(self, tile_id: str | None, error: str) -> None:
        self._last_error = {"tile": tile_id, "error": error, "utc": utc(self._clock())}

    def _forget(self, now_s: float) -> None:
        while self._ended_s and now_s - self._ended_s[0] > _HOUR_S:
            self._ended_s.popleft()

    def _change(self) -> None:
        self._changes += 1
        self._moved_s = self._monotonic()
        state = self._now()
        if state != self._state:
            self._state, self._since = state, self._clock()

    def _now(self) -> str:
        """What matters most to someone who looks."""
        if self._exit_code is not None:
            return "ended"
        if self._paused is not None:
            return "paused"
        if self._stopping is not None:
            return "stopping"
        if self._in_hand:
            return "scoring"
        if self._bundle is None:
            return "starting"
        return "watching" if self._watching else "idle"

    # --- asked by others ---------------------------------------------------------------------------------------------

    @property
    def changes(self) -> int:
        """Grows with everything that `as_dict` tells, except times."""
        return self._changes

    def moved_s_ago(self) -> float:
        """Seconds since the last event, or the last call of `moved`."""
        return max(0.0, self._monotonic() - self._moved_s)

    def unfit(self, stuck_s: float) -> str | None:
        """Why the run is not alive, None if it is: at work without a move for more than `stuck_s`, or over.

        Waiting for tiles, or for a disk, may take any time.
        """
        with self._lock:
            if self._exit_code is not None:
                return f"the run has ended with exit code {self._exit_code}"
            moved_s_ago = self.moved_s_ago()
            if moved_s_ago <= stuck_s or self._state not in WORKING:
                return None
            return f"the run has not moved for {moved_s_ago:.0f} s ({stuck_s:g} s allowed); it is {self._state}"

    def unready(self) -> str | None:
        """Why the run takes no tile now, None if it does."""
        with self._lock:
            reasons = {
                "starting": "the bundle is not open yet or its self-test not done",
                "paused": f"paused: {self._paused}",
                "stopping": f"stopping: {self._stopping}",
                "ended": f"the run has ended with exit code {self._exit_code}",
            }
            return reasons.get(self._state)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for `json`; `docs/monitoring.md` explains the keys. A copy of its own each time."""
        with self._lock:
            now_s = self._monotonic()
            self._forget(now_s)
            over_s = min(_HOUR_S, now_s - self._started_s)
            rate = len(self._ended_s) * _HOUR_S / over_s if over_s >= _LEAST_S else None
            return {
                "schema_version": SCHEMA_VERSION,
                "version": __version__,
                "pid": os.getpid(),
                "boot_id": boot_id(),
                "started_utc": utc(self._started),
                "updated_utc": utc(self._clock()),
                "moved_s_ago": round(self.moved_s_ago(), 1),
                "state": self._state,
                "since_utc": utc(self._since),
                "reason": {"paused": self._paused, "stopping": self._stopping}.get(self._state),
                "exit_code": self._exit_code,
                "in_hand": [
                    {"tile": tile, "since_utc": utc(since)} for tile, since in list(self._in_hand.items())[:_LISTED]
                ],
                "waiting": {"number": len(self._waiting), "paths": list(self._waiting[:_LISTED])},
                "bundle": None if self._bundle is None else dict(self._bundle),
                "engines": dict(self._engines),
                "tiles": dict(self._tiles),
                "tiles_per_hour": None if rate is None else round(rate, 2),
                **self._totals.to_json(),
                "drift": copy.deepcopy(self._drift),
                "last_tile": None if self._last_tile is None else dict(self._last_tile),
                "last_error": None if self._last_error is None else dict(self._last_error),
            }


def finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Rounded to a thousandth; None for what JSON cannot hold."""
    return {key: round(number, 3) if math.isfinite(number) else None for key, number in numbers.items()}


def boot_id() -> str:
    """Changes with every start of the machine; empty where the system does not tell (random(4))."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""
