"""The part of the page of a watched run that says what the run does right now, and makes the page show itself anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.text import many, time_of

REFRESH_S = 30
_KINDS = {"paused": "stop", "stopping": "warn"}  # class of the box; `note` otherwise
_HEADINGS = {
    "starting": "The run is starting",
    "idle": "The run goes on",
    "watching": "The run waits for tiles",
    "scoring": "The run goes on",
    "paused": "The run is paused: the output cannot be written",
    "stopping": "The run is stopping; the tiles in hand are finished first",
    "ended": "The run has ended",
}


def goes_on(state: Mapping[str, Any] | None) -> bool:
    """Whether the page will be written again."""
    return state is not None and state["state"] != "ended"


def refresh(state: Mapping[str, Any] | None) -> Markup:
    """The element of the head that loads the page again every `REFRESH_S` while the run goes on; else nothing."""
    return element("meta", http_equiv="refresh", content=str(REFRESH_S)) if goes_on(state) else Markup()


def live(state: Mapping[str, Any] | None) -> Markup:
    """What the run does, as `RunState.as_dict` tells it; nothing for a page without a state."""
    if state is None:
        return Markup()
    name = state["state"]
    facts = {
        "now": _now(state),
        "as of": element("b", _time(state["updated_utc"])),
        "tiles since its start": _tiles(state),
        "speed": "-" if state["tiles_per_hour"] is None else f"{state['tiles_per_hour']:,.1f} tiles an hour of late",
        "still being written": many(state["waiting"]["number"], "entry", "entries"),
        "evaluated by": join([f"{member}: {engine}" for member, engine in state["engines"].items()], ", "),
        "drift": join((state["drift"] or {}).get("warnings", []), "; "),
        "last error": _error(state["last_error"]),
    }
    words = (
        f"While the run goes on this page loads itself again every {REFRESH_S} s. If the time above stays as it is, "
        "the run was cut off: lsd-run status tells."
        if goes_on(state)
        else f"Exit code {state['exit_code']}."
    )
    pairs = (part for key, text in facts.items() if text for part in (element("dt", key), element("dd", text)))
    return element(
        "div",
        element("b", _HEADINGS.get(name, name)),
        element("dl", *pairs),
        element("p", words, class_="soft"),
        class_=f"live {_KINDS.get(name, 'note')}",
    )


def _now(state: Mapping[str, Any]) -> Markup:
    """`scoring a since 2026-... UTC`, `paused since 2026-... UTC: reason; in hand: a`."""
    shown, more = state["in_hand"][:3], len(state["in_hand"]) - 3
    names = join([element("bdi", " ".join(one["tile"].split())) for one in shown], ", ")
    names = join([names, f" and {more} more" if more > 0 else ""])
    since, reason = f"since {_time(state['since_utc'])}", f": {state['reason']}" if state["reason"] else ""
    if state["state"] == "scoring":
        return join(["scoring ", names, f" {since}{reason}"])
    return join([f"{state['state']} {since}{reason}", "; in hand: " if shown else "", names])


def _tiles(state: Mapping[str, Any]) -> str:
    tiles = state["tiles"]
    known = f", {tiles['known']:,} known from before" if tiles["known"] else ""
    return f"{tiles['done']:,} done, {tiles['failed']:,} failed{known}"


def _error(error: Mapping[str, Any] | None) -> Markup:
    if error is None:
        return Markup()
    tile = join([element("bdi", " ".join(error["tile"].split())), ": "]) if error["tile"] else ""
    return join([f"{_time(error['utc'])}, ", tile, error["error"]])


def _time(utc: str) -> str:
    """To the second: a reader watches whether it moves."""
    return f"{time_of(utc).removesuffix(' UTC')}{utc[16:19]} UTC"
