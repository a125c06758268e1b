"""A result as one HTML page that a person opens, offline: figures, plots, accuracy beside speed, conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lsd.benchmarks.bench import text
from lsd.benchmarks.bench.comparison import cautions
from lsd.benchmarks.bench.plots import bars, percentile_plot, window_plot
from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.style import STYLE
from lsd.runtime.sinks.page.text import table

_STYLE = "td.number{white-space:nowrap}\n"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # nothing may load or run, whatever a name smuggles in


def report_page(document: Mapping[str, Any], title: str) -> str:
    """The whole page; `title` names the result."""
    rules = document["settings"]
    stable = (
        f"Windows of {rules['window_s']:g} s are repeated until {rules['agreeing']} in a row agree within "
        f"{100 * rules['stability']:g} %. A percentile is told where 10 or more samples lie beyond it."
    )
    stages = [(name, one["seconds_per_patch"]) for name, one in (document["stages"] or {}).items()]
    tile = document["tile"] or {"seconds": {}, "patches": 1}
    of_run = [(name, one["median"] / tile["patches"]) for name, one in tile["seconds"].items()]
    cold = [(name, one["median"]) for name, one in (document["fresh"] or {"seconds": {}})["seconds"].items()]
    body = element(
        "main",
        element("h1", title),
        element("p", text.heading(document), class_="outcome"),
        _disturbed(document),
        _part("Latency and throughput", _table(text.scenario_rows(document)), element("p", stable, class_="soft"))
        if document["scenarios"]
        else Markup(""),
        _figure(percentile_plot(document), "Latency by the share of queries answered within it"),
        _figure(window_plot(document), "Every window, relative to the median of those counted; hollow: not counted"),
        _part("Stages", _table(text.stage_rows(document))) if text.stage_rows(document) else Markup(""),
        _figure(bars(stages, "Seconds a patch by stage"), "Time a patch, each stage by itself"),
        _figure(bars(of_run, "Seconds a patch in lsd-run"), "Time a patch in lsd-run over a tile; reading overlaps"),
        _figure(bars(cold, "Seconds to the first patch"), "From the start of a process to its first answer"),
        _part("Accuracy", element("p", document["accuracy"]["note"], class_="soft"), _certificate(document)),
        _part("Everything else", _list(text.facts(document))),
        _part("Not measured", _list(text.reasons(document) or [("nothing", "all was measured")])),
        _part("Conditions", _json(document["conditions"]), _json(document["settings"]), _json(document["versions"])),
        _part("Machine before and after", _json(document["machine"])),
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


def _table(rows: Sequence[Sequence[str]]) -> Markup:
    return table(rows[0], rows[1:], numeric=rows[0][1:-1])


def _list(pairs: Sequence[tuple[str, str]]) -> Markup:
    return element("dl", *(join([element("dt", name), element("dd", value)]) for name, value in pairs))


def _certificate(document: Mapping[str, Any]) -> Markup:
    certificate = document["accuracy"]["certificate"]
    facts = _list(text.accuracy_facts(document))
    if "stages" not in certificate:
        return facts
    rows = [
        (one["stage"], f"{one['max_error']:.3g}", f"{one['tolerance']:.3g}", str(one["flips"]), str(one["values"]))
        for one in certificate["stages"]
    ]
    return join(
        [facts, table(("stage of the export certificate", "largest error", "allowed", "flips", "values"), rows)]
    )


def _disturbed(document: Mapping[str, Any]) -> Markup:
    found = cautions(document)
    if not found:
        return Markup("")
    items = (element("li", element("b", "Read with care"), element("span", one), class_="warn") for one in found)
    return element("ul", *items, class_="warnings")


def _json(value: Any) -> Markup:
    return element("pre", json.dumps(value, indent=1), class_="scroll soft")
