"""The part of the run page to read first: failures, ground not observed, inputs to check, what a detection is not."""

from __future__ import annotations

from collections.abc import Sequence

from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT
from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.text import km2, many, name_of, percent
from lsd.runtime.sinks.page.tiles import PageTile
from lsd.runtime.sinks.records import SYNTHETIC_NOTE

_LISTED = 12  # tiles named under a warning
_REASONS = {  # key of `TileScores.counts` -> words
    "too_few_valid_pixels": "with too few valid pixels",
    "no_configuration": "with bands that no configuration was trained for",
    "looks_like_cloud": "bright as cloud, haze or snow",
    "cloud": "under cloud, shadow or snow by the cloud layer",
    "out_of_range": "with values out of range",
}


def page_warnings(tiles: Sequence[PageTile], context: RunContext) -> Markup:
    """What a person must know before the map, the gravest first."""
    items: list[Markup] = []
    if context.synthetic:
        items.append(_warning("stop", "Not for use: made-up training data", element("span", SYNTHETIC_NOTE)))
    failed = [tile for tile in tiles if tile.result.status == "failed"]
    if failed:
        reasons = [join([name_of(tile.result), f": {tile.result.error}"]) for tile in failed]
        items.append(_warning("stop", f"{many(len(failed), 'tile')} failed: nothing is known there", _list(reasons)))
    items += _unseen(tiles)
    items += _unread(tiles)
    items += _looks(tiles)
    items.append(_warning("note", "A detection is no proof", element("span", _meaning(tiles))))
    items.append(_warning("note", "Probabilities rest on an assumption", element("span", _assumption(tiles, context))))
    return element("ul", *items, class_="warnings")


def _warning(kind: str, heading: str, *content: str) -> Markup:
    return element("li", element("b", heading), *content, class_=kind)


def _list(lines: Sequence[str]) -> Markup:
    more = [f"and {len(lines) - _LISTED} more, in the table of tiles"] if len(lines) > _LISTED else []
    return element("ul", *(element("li", line) for line in [*lines[:_LISTED], *more]))


def _unseen(tiles: Sequence[PageTile]) -> list[Markup]:
    """Where ground was not observed, the largest first."""
    blind = sorted((tile for tile in tiles if tile.unseen_km2 > 0), key=lambda tile: -tile.unseen_km2)
    if not blind:
        return []
    ground = sum(tile.result.ground_km2 for tile in tiles)
    unseen = sum(tile.unseen_km2 for tile in blind)
    heading = f"{km2(unseen)} ({percent(unseen / ground)}) were not observed: there may be landslides there"
    lines = [
        join(
            [
                name_of(tile.result),
                f": {km2(tile.unseen_km2)}, {percent(tile.unseen_km2 / tile.result.ground_km2)}: {_reasons(tile)}",
            ]
        )
        for tile in blind
    ]
    return [_warning("warn", heading, _list(lines))]


def _reasons(tile: PageTile) -> str:
    counts = tile.result.counts
    found = [
        f"{many(counts[kind], 'patch', 'patches')} {words}" for kind, words in _REASONS.items() if counts.get(kind)
    ]
    return ", ".join(found) or "parts that no patch covers"


def _unread(tiles: Sequence[PageTile]) -> list[Markup]:
    unread = [name_of(tile.result) for tile in tiles if tile.result.status == "done" and tile.classes is None]
    heading = "Score grids that could not be read: these tiles are an empty, dashed outline on the map"
    return [_warning("warn", heading, _list(unread))] if unread else []


def _looks(tiles: Sequence[PageTile]) -> list[Markup]:
    """Warnings of ingest and reading, equal ones of several tiles together."""
    found: dict[str, list[Markup]] = {}
    for tile in tiles:
        for warning in tile.result.warnings:
            found.setdefault(warning, []).append(name_of(tile.result))
    if not found:
        return []
    lines = [
        join([join(names[:3], ", "), f" and {len(names) - 3} more" if len(names) > 3 else "", f": {warning}"])
        for warning, names in found.items()
    ]
    return [_warning("warn", "Look at these inputs yourself", element("ul", *(element("li", line) for line in lines)))]


def _meaning(tiles: Sequence[PageTile]) -> str:
    none = not any(tile.result.counts.get("slide") for tile in tiles)
    empty = " No detection does not mean no landslide: the model misses some, small ones above all." if none else ""
    return f"{CAVEAT} A patch is 41 ha of ground to look at, not 41 ha of landslide.{empty}"


def _assumption(tiles: Sequence[PageTile], context: RunContext) -> str:
    if context.prevalence is not None:
        return (
            f"The user stated that {percent(context.prevalence)} of the patches hold a landslide; probabilities and "
            "classes follow from that."
        )
    used = {name for tile in tiles for name in tile.result.configurations}
    shares = [share for name, share in zip(context.names, context.prevalences, strict=True) if name in used or not used]
    low, high = percent(min(shares)), percent(max(shares))
    return (
        f"They assume that {low if low == high else f'{low} to {high}'} of the patches hold a landslide, as in the "
        "training data. In the field it is usually far less, and then most detections are false alarms. State a better "
        "share with --prevalence."
    )
