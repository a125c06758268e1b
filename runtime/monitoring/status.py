"""How the run of an output folder stands: its lock, its state file and its journal put together."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lsd.runtime.monitoring.journal_view import JournalView, read_journal
from lsd.runtime.monitoring.server import STUCK_S
from lsd.runtime.monitoring.state import WORKING, boot_id
from lsd.runtime.monitoring.state_file import REFRESH_S, read_state
from lsd.runtime.stream.lock import LOCK_NAME
from lsd.runtime.stream.output import STATE_FOLDER

_SILENT_S = 6 * REFRESH_S  # a state file is rewritten every REFRESH_S; older than this it is news
_LISTED = 20


@dataclass(frozen=True)
class RunStatus:
    """One look at an output folder.

    situation: `running`; `ended`; `broken off` (no run holds the folder and the last one did not say that it ended);
    `unknown` (no run holds the folder and nothing tells about the last one). state: what the run last told
    (`RunState.as_dict`), None if nothing. after_restart: the machine was started anew since.
    """

    out: Path
    situation: str
    state: dict[str, Any] | None
    after_restart: bool
    journal: JournalView
    now: datetime

    @property
    def looks(self) -> list[str]:
        """What a person should look at; empty if all is well."""
        tiles, state, found = self.journal.tiles, self.state or {}, []
        if tiles["failed"]:
            found.append(f"{tiles['failed']} of {sum(tiles.values())} tiles failed")
        if self.situation == "running":
            if state.get("state") == "paused":
                found.append(f"the run is paused: {state.get('reason')}")
            silent_s, still_s = self._silent_s(), float(state.get("moved_s_ago") or 0)
            if silent_s > _SILENT_S:
                found.append(f"the run has told nothing for {duration(silent_s)}; it may hang")
            elif still_s > STUCK_S and state.get("state") in WORKING:
                found.append(f"the run has not moved for {duration(still_s)}; it may hang")
            found += (state.get("drift") or {}).get("warnings", [])
            return found
        if self.situation == "broken off":
            cause = "when this machine stopped" if self.after_restart else "without saying why (killed?)"
            found.append(f"the last run ended {cause}; start it again, it goes on where it was")
        elif state.get("exit_code") not in (None, 0, 1):
            found.append(f"the last run ended with exit code {state['exit_code']}")
        if tiles["begun"] and self.situation != "broken off":
            found.append(f"{tiles['begun']} tiles were begun and not finished; the next run does them again")
        return found

    def _silent_s(self) -> float:
        told = (self.state or {}).get("updated_utc")
        try:
            return (self.now - datetime.fromisoformat(str(told).replace("Z", "+00:00"))).total_seconds()
        except (TypeError, ValueError):
            return 0.0

    def to_json(self) -> dict[str, Any]:
        """Ready for `json`; `docs/monitoring.md` explains the keys."""
        journal = self.journal
        return {
            "schema_version": 1,
            "out": str(self.out),
            "situation": self.situation,
            "looks": self.looks,
            "state": self.state,
            "tiles": journal.tiles,
            **journal.totals.to_json(),
            "bundles": journal.bundles,
            "failures": [{"tile": tile, "error": error, "ended_utc": ended} for tile, error, ended in journal.failures],
            "begun": [
                {"tile": tile, "begun_utc": begun, "attempts": attempts} for tile, begun, attempts in journal.begun
            ],
            "last_ended_utc": journal.last_ended_utc,
        }

    def lines(self) -> list[str]:
        """For people: what runs, tiles, patches, time, failures."""
        tiles, totals = self.journal.tiles, self.journal.totals
        patches = sum(totals.patches.values())
        outcomes = ", ".join(f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in totals.patches.items())
        share = totals.exit_share
        exits = "" if not share else f"; {100 * share:.1f} % of those scored left at the forest"
        spent = ", ".join(
            f"{plain(stage)} {spent_s:.1f} s ({spent_s / max(1, tiles['done']):.2f} a tile)"
            for stage, spent_s in totals.seconds.items()
        )
        return [
            f"run: {self._run()}",
            f"tiles: {tiles['done']:,} done, {tiles['failed']:,} failed, {tiles['begun']:,} begun{self._rate()}",
            f"patches: {patches:,}: {outcomes}{exits}",
            f"time: {spent or 'none yet'}",
            f"last tile: {self.journal.last_ended_utc or 'none yet'}",
            *_listed(f"failed: {plain(tile)}: {plain(error)}" for tile, error, _ in self.journal.failures),
            *_listed(
                f"begun: {plain(tile)} at {begun}{f', try {attempts}' if attempts > 1 else ''}"
                for tile, begun, attempts in self.journal.begun
            ),
        ]

    def _run(self) -> str:
        state = self.state
        if state is None:
            return {"running": "running, has told nothing yet"}.get(
                self.situation, "none; of the last one nothing is known"
            )
        bundle = state.get("bundle") or {}
        name = f" with bundle {plain(bundle['name'])} {bundle['sha256'][:12]}" if bundle else ""
        engines = ", ".join(f"{plain(member)}: {plain(engine)}" for member, engine in state.get("engines", {}).items())
        who = f"process {state.get('pid')} since {state.get('started_utc')}{name}{f' ({engines})' if engines else ''}"
        if self.situation == "running":
            return f"{_doing(state)}; {who}"
        if self.situation == "ended":
            return f"none; the last one ended at {state.get('since_utc')}, exit code {state.get('exit_code')}; {who}"
        return f"none; the last one broke off after {state.get('updated_utc')} ({_doing(state)}); {who}"

    def _rate(self) -> str:
        rate = (self.state or {}).get("tiles_per_hour")
        return f"; {rate:.1f} an hour of late" if rate is not None and self.situation == "running" else ""


def status_of(out: Path) -> RunStatus:
    """Look at an output folder; nothing in it is created or changed.

    Raises:
        UsageError: it holds no journal that can be read.
    """
    folder = out / STATE_FOLDER
    holder = _holder(folder / LOCK_NAME)
    journal = read_journal(folder, holder is not None)
    state = read_state(folder)
    if holder is not None:
        told = re.match(r"process (\d+)", holder)
        if state is not None and told and int(told[1]) != state.get("pid"):
            state = None  # of the run before: the one that holds the lock has told nothing yet
        situation = "running"
    elif state is None:
        situation = "unknown"
    else:
        situation = "ended" if state.get("state") == "ended" else "broken off"
    after_restart = state is not None and bool(boot_id()) and state.get("boot_id") != boot_id()
    return RunStatus(out, situation, state, after_restart, journal, datetime.now(timezone.utc))


def _holder(lock: Path) -> str | None:
    """What the holder of the lock wrote into it; None if nobody holds it.

    It is asked for a shared lock, which the system gives only where no run has the file, and let go at once.
    """
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(handle, 200).decode("utf-8", "replace")
    except OSError:  # a file system without locks: nothing could hold one
        return None
    finally:
        os.close(handle)


def _doing(state: dict[str, Any]) -> str:
    """`scoring a since 2026-...`, `paused since 2026-...: disk full`."""
    words = [str(state.get("state"))]
    in_hand = [plain(one["tile"]) for one in state.get("in_hand", [])]
    if in_hand:
        words.append(", ".join(in_hand[:3]) + (f" and {len(in_hand) - 3} more" if len(in_hand) > 3 else ""))
    words.append(f"since {state.get('since_utc')}")
    reason = state.get("reason")
    return " ".join(words) + (f": {plain(reason)}" if reason else "")


def _listed(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    more = [f"and {len(found) - _LISTED} more, in --json"] if len(found) > _LISTED else []
    return [*found[:_LISTED], *more]


def plain(text: str) -> str:
    """Text of any origin on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
