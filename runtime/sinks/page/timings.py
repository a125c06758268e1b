"""The part of the run page that tells how the patches went through the chain and where the time went."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lsd.runtime.monitoring.totals import EXITED, Totals, scored
from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.text import many, name_of, percent, table
from lsd.runtime.sinks.page.tiles import PageTile
from lsd.runtime.sinks.summary import TileResult


def timings(tiles: Sequence[PageTile], has_exits: bool) -> Markup:
    """Exit shares and seconds by stage, in total and of each tile; nothing where no result tells any.

    has_exits: the bundle has exits, so that a share of nothing is worth telling.
    """
    totals = Totals()
    for tile in tiles:
        totals.add(tile.result.counts, tile.result.seconds)
    parts: list[Markup] = []
    has_exits = totals.could_exit > 0 and (has_exits or totals.exited > 0)
    if has_exits:
        share, rest = percent(totals.exited / totals.could_exit), totals.could_exit - totals.exited
        answered = many(totals.could_exit, "scored patch", "scored patches")
        words = f"{share} of {answered} left the chain at its forest; the whole ensemble answered {rest:,}."
        parts.append(element("p", words))
    if totals.seconds:
        parts += [_by_stage(tiles, totals), _by_tile(tiles, totals, has_exits)]
    return join(parts)


def _by_stage(tiles: Sequence[PageTile], totals: Totals) -> Markup:
    headings = ("stage", "all tiles", "share", "median of a tile", "slowest tile")
    whole_s = sum(totals.seconds.values())
    rows: list[Sequence[str]] = []
    for stage, total_s in totals.seconds.items():
        spent = [(tile.result.seconds[stage], tile) for tile in tiles if stage in tile.result.seconds]
        slowest_s, slowest = max(spent, key=lambda pair: pair[0])
        rows.append(
            (
                stage,
                seconds_text(total_s),
                percent(total_s / whole_s) if whole_s else "-",
                seconds_text(statistics.median(spent_s for spent_s, _ in spent)),
                join([seconds_text(slowest_s), " (", _link(slowest), ")"]),
            )
        )
    rows.append(("together", seconds_text(whole_s), "-", "-", "-"))
    return table(headings, rows, headings[1:4], cards=True)


def _by_tile(tiles: Sequence[PageTile], totals: Totals, has_exits: bool) -> Markup:
    stages = tuple(totals.seconds)
    exits = ("left at the forest",) if has_exits else ()
    rows = []
    for tile in tiles:
        spent = tile.result.seconds
        rows.append(
            (
                str(tile.number),
                _link(tile),
                *(seconds_text(spent[stage]) if stage in spent else "-" for stage in stages),
                seconds_text(sum(spent.values())),
                *(_exit_share(tile.result) for _ in exits),
            )
        )
    headings = ("no.", "tile", *stages, "together", *exits)
    return element(
        "details",
        element("summary", "Time of each tile"),
        table(headings, rows, tuple(heading for heading in headings if heading != "tile"), cards=True),
    )


def _exit_share(result: TileResult) -> str:
    answered = scored(result.counts)
    return percent(result.counts[EXITED] / answered) if answered and EXITED in result.counts else "-"


def _link(tile: PageTile) -> Markup:
    return element("a", name_of(tile.result), href=f"#{tile.anchor}")


def seconds_text(seconds: float) -> str:
    """`0.123 s`, `12.3 s`, `4 min 05 s`, `2 h 10 min`."""
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes} min {rest_s:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
