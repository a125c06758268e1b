"""A result as one HTML page that a person opens, offline: figures, plots, accuracy beside speed, conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsd.benchmarks.bench import text
from lsd.benchmarks.bench.comparison import cautions
from lsd.benchmarks.bench.plots import bars, percentile_plot, window_plot
from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.style import STYLE
from lsd.runtime.sinks.page.text import table

_STYLE = """th,td.number,td:first-child{white-space:nowrap}
td small{display:block;color:var(--soft)}
figure{margin:16px 0}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # nothing may load or run, whatever a name smuggles in


def report_page(document: Mapping[str, Any], title: str) -> str:
    """The whole page; `title` names the result."""
    tile = document["tile"] or {"seconds": {}, "patches": 1}
    stages = [(name, one["seconds_per_patch"]) for name, one in (document["stages"] or {}).items()]
    of_run = [(name, one["median"] / tile["patches"]) for name, one in text.run_stages(tile).items()]
    cold = [(name, one["median"]) for name, one in (document["fresh"] or {"seconds": {}})["seconds"].items()]
    body = element(
        "main",
        element("h1", title),
        element("p", text.heading(document), class_="outcome"),
        element("p", text.when(document), class_="soft"),
        _disturbed(document),
        _part("Latency and throughput", _scenarios(document), element("p", _rules(document["settings"]), class_="soft"))
        if document["scenarios"]
        else Markup(""),
        _figure(
            percentile_plot(document), "Latency that so many queries stay below; dots at the percentiles of the table"
        ),
        _figure(window_plot(document), "Every window, relative to the median of those counted; hollow: not counted"),
        _part("Stages", _table(text.stage_rows(document))) if text.stage_rows(document) else Markup(""),
        _figure(bars(stages, "Seconds a patch by stage"), "Time a patch, each stage by itself"),
        _figure(
            bars(of_run, "Seconds a patch in lsd-run"),
            f"Time a patch in lsd-run over a tile of {tile['patches']:,} patches, what a tile costs once included (the "
            "larger the tile, the less it counts); read runs beside score, wait is what was waited for it",
        ),
        _part("Forests by every backend", _table(text.backend_rows(document)))
        if text.backend_rows(document)
        else Markup(""),
        _part("Energy, memory, start, overhead", _list(text.facts(document))),
        _figure(bars(cold, "Seconds to the first patch"), "From the start of a process to its first answer"),
        _part("Accuracy", element("p", document["accuracy"]["note"], class_="soft"), _certificate(document)),
        _part("Machine", _list(text.machine_facts(document)), _before_and_after(document["machine"])),
        _part("Not measured", _list(text.reasons(document) or [("nothing", "all was measured")])),
        _part("Conditions", _list(text.flattened(document["conditions"], "as by default"))),
        _part("Settings", _list(text.flattened(document["settings"], "as by default"))),
        _part("Versions", _list(text.flattened(document["versions"], "not told"))),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE + _STYLE)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _part(title: str, *parts: Markup) -> Markup:
    return element("section", element("h2", title), *parts)


def _figure(plot: Markup, caption: str) -> Markup:
    return element("figure", plot, element("figcaption", caption)) if plot else Markup("")


def _rules(settings: Mapping[str, Any]) -> str:
    return (
        f"After {settings['warm_up_s']:g} s of warm-up, windows of {settings['window_s']:g} s are repeated until "
        f"{settings['agreeing']} in a row agree within {100 * settings['stability']:g} %; figures come from these, or "
        "from all where they do not agree. Below a percentile stands its 95 % interval; it is told where 10 or more "
        "samples lie beyond it."
    )


def _scenarios(document: Mapping[str, Any]) -> Markup:
    """The table of scenarios, with an interval below each percentile and the spread below the windows."""
    heading, *rows = text.scenario_rows(document)
    with_intervals = []
    for row, one in zip(rows, document["scenarios"].values(), strict=True):
        found = one.get("percentiles", {})
        below = {name: text.interval(found[name]) for name in found}
        agreed, below["windows"] = text.agreement(one)
        cells = zip(heading, (*row[:-1], agreed), strict=True)
        with_intervals.append([_with_small(cell, below.get(name, "")) for name, cell in cells])
    return _table([heading, *with_intervals])


def _with_small(cell: str, below: str) -> Markup:
    return join([cell, element("small", below)]) if below else join([cell])


def _table(rows: Sequence[Sequence[str]]) -> Markup:
    return table(rows[0], rows[1:], numeric=rows[0][1:-1])


def _before_and_after(machine: Mapping[str, Any]) -> Markup:
    before, after = (dict(text.flattened(machine[when], "not told")) for when in ("before", "after"))
    rows = [(name, before.get(name, "-"), after.get(name, "-")) for name in dict.fromkeys([*before, *after])]
    return table(("the system tells", "before", "after"), rows, numeric=("before", "after"))


def _list(pairs: Sequence[tuple[str, str]]) -> Markup:
    return element("dl", *(join([element("dt", name), element("dd", value)]) for name, value in pairs))


def _certificate(document: Mapping[str, Any]) -> Markup:
    certificate = document["accuracy"]["certificate"]
    facts = _list(text.accuracy_facts(document))
    if "stages" not in certificate:
        return facts
    rows = [
        (one["stage"], f"{one['max_error']:.3g}", f"{one['tolerance']:.3g}", str(one["flips"]), f"{one['values']:,}")
        for one in certificate["stages"]
    ]
    heading = ("stage of the export certificate", "largest error", "allowed", "flips", "values")
    return join([facts, table(heading, rows, numeric=heading[1:])])


def _disturbed(document: Mapping[str, Any]) -> Markup:
    found = cautions(document)
    if not found:
        return Markup("")
    items = element("ul", *(element("li", one) for one in found))
    return element("ul", element("li", element("b", "Read with care"), items, class_="warn"), class_="warnings")
