"""The page of a run: one HTML file that a person opens, offline, and reads from the top: warnings, map, tiles, reasons.

It holds no script, loads nothing from elsewhere, and is the same, byte for byte, for the same results, the time they
took among them. The page of a run that goes on says what the run does and loads itself again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError

from lsd.runtime.commit import replace_bytes
from lsd.runtime.manifest import Configuration
from lsd.runtime.scores import LIKELY, POSSIBLE
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.page.class_grid import ClassGrid, read_class_grid
from lsd.runtime.sinks.page.live import goes_on, live, refresh
from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.run_map import MapTile, hatch, maps_of
from lsd.runtime.sinks.page.style import STYLE
from lsd.runtime.sinks.page.text import km2, many, measured, percent, table, time_of
from lsd.runtime.sinks.page.tiles import PageTile, details, pictures, tiles_table
from lsd.runtime.sinks.page.timings import timings
from lsd.runtime.sinks.page.warnings import page_warnings
from lsd.runtime.sinks.summary import TileResult

# Nothing may load or run, whatever a file name smuggles in.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_METRICS = {"f1": "F1", "auc": "AUC", "ece": "calibration error", "precision_at_recall_0.9": "precision at recall 0.9"}
_LEGEND = (
    ("likely", "likely: detection, probability at least 0.5"),
    ("possible", "possible: detection, probability below 0.5"),
    ("look", "look: no detection, but worth a look"),
    ("seen", "nothing seen"),
    ("unseen", "not observed: there may be landslides here"),
)


def write_run_page(
    path: Path,
    results: Sequence[TileResult],
    context: RunContext,
    options: Mapping[str, Any],
    out: Path,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write `run_page` as UTF-8.

    Raises:
        OutputError: the file cannot be written.
    """
    replace_bytes(path, run_page(results, context, options, out, state).encode())


def run_page(
    results: Sequence[TileResult],
    context: RunContext,
    options: Mapping[str, Any],
    out: Path,
    state: Mapping[str, Any] | None = None,
) -> str:
    """The whole page.

    Args:
        results: of all tiles, in the order of the run.
        options: the resolved configuration of the run.
        out: folder that the products of the results are relative to; score grids and quicklooks are read from it. A
            grid that cannot be read is told among the warnings, its tile drawn as an outline.
        state: what the run does now, `RunState.as_dict` of lsd.runtime.monitoring.state; None if that is nobody's
            concern. Unless it says `ended`, the page loads itself again every 30 s.
    """
    tiles = [PageTile(number, result, _classes(result, out)) for number, result in enumerate(results, start=1)]
    title = _title(tiles, goes_on(state))
    shown = pictures(tiles, out)
    spent = timings(tiles, any(one.exit is not None for one in context.configurations))
    sections = [
        element("h1", title),
        element("p", _outcome(tiles, goes_on(state)), class_="outcome"),
        live(state),
        _section("Read this first", page_warnings(tiles, context)),
        _section("Map", _maps(tiles)),
        _section("Tiles", element("div", tiles_table(tiles), class_="tiles")),
        _section("Pictures", shown) if shown else "",
        _section("What each tile rests on", details(tiles)),
        _section("How patches were answered, and the time it took", spent) if spent else "",
        _section("Model, software, options", _facts(context, options)),
    ]
    head = join(
        [
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            refresh(state),
            element("title", title),
            element("style", Markup(STYLE)),
        ]
    )
    body = element("body", element("main", *sections))
    return f"<!DOCTYPE html>\n{element('html', element('head', head), body, lang='en')}\n"


def _classes(result: TileResult, out: Path) -> ClassGrid | None:
    product = result.products.get("scores")
    if product is None:
        return None
    try:
        return read_class_grid(out / product)
    except (RasterioError, ValueError):
        return None


def _section(heading: str, *content: str) -> Markup:
    return element("section", element("h2", heading), *content)


def _total(tiles: Sequence[PageTile], *codes: int) -> int:
    return sum(tile.count(code) or 0 for tile in tiles for code in codes)


def _title(tiles: Sequence[PageTile], more_to_come: bool) -> str:
    done = [tile for tile in tiles if tile.result.status == "done"]
    if not tiles and more_to_come:
        return "Landslide patches: no tile yet"
    if not done:
        return "Landslide patches: no tile could be scored"
    return f"Landslide patches: {many(_sum(done, 'slide'), 'detection')} in {many(len(done), 'tile')}"


def _sum(tiles: Sequence[PageTile], kind: str) -> int:
    return sum(tile.result.counts.get(kind, 0) for tile in tiles)


def _outcome(tiles: Sequence[PageTile], more_to_come: bool) -> str:
    """One sentence: found, worth a look, not observed, failed."""
    done = [tile for tile in tiles if tile.result.status == "done"]
    parts = []
    if done:
        ground, unseen = sum(tile.result.ground_km2 for tile in done), sum(tile.unseen_km2 for tile in done)
        slides, looks = _sum(done, "slide"), _sum(done, "look")
        likely, possible = _total(done, LIKELY), _total(done, POSSIBLE)
        split = f" ({likely:,} likely, {possible:,} possible)" if likely + possible == slides > 0 else ""
        called = f"{slides:,} {'was' if slides == 1 else 'were'}" if slides else "none was"
        parts.append(f"Of {many(_sum(done, 'patches'), 'patch', 'patches')}, {called} called a landslide{split}")
        if looks:
            parts.append(f"{looks:,} more {'is' if looks == 1 else 'are'} worth a look")
        parts.append(
            f"{km2(unseen)} of {km2(ground)} ({percent(unseen / ground)}) were not observed"
            if unseen > 0
            else f"all {km2(ground)} were observed"
        )
    if len(done) < len(tiles):
        parts.append(f"{len(tiles) - len(done)} of {many(len(tiles), 'tile')} failed")
    return "; ".join(parts or ["No tile has ended yet" if more_to_come else "No tile was given"]) + "."


# --- map -------------------------------------------------------------------------------------------------------------


def _maps(tiles: Sequence[PageTile]) -> Markup:
    placed = [
        MapTile(tile.number, f"{tile.number}. {' '.join(tile.result.id.split())}", outline, tile.classes)
        for tile in tiles
        if (outline := tile.result.outline_deg) is not None
    ]
    if not placed:
        return element("p", "No tile has a place to show.")
    maps = maps_of(placed)
    apart = "Tiles far apart have maps of their own. " if len(maps) > 1 else ""
    absent = len(tiles) - len(placed)
    missing = f" {many(absent, 'tile')} without products {'is' if absent == 1 else 'are'} not drawn." if absent else ""
    words = (
        f"{apart}WGS 84 longitude and latitude, north up; scale as at the middle latitude. Numbers are those of the "
        f"table below.{missing}"
    )
    return join(
        [
            element("div", *maps, class_="maps"),
            _legend(),
            element("p", words, class_="soft"),
        ]
    )


def _legend() -> Markup:
    entries = []
    for name, words in _LEGEND:
        fill = "fill:url(#hatch-legend)" if name == "unseen" else None
        box = {"x": 2, "y": 2, "width": 22, "height": 14}
        under = element("rect", **box, class_="seen")
        sample = element("rect", **box, class_=name, style=fill)
        edge = element("rect", **box, class_="outline") if name in ("seen", "unseen") else Markup()
        defs = hatch("hatch-legend") if name == "unseen" else Markup()
        drawn = element("svg", defs, under, sample, edge, viewBox="0 0 26 18", aria_hidden="true")
        entries.append(element("li", drawn, words))
    return element("ul", *entries, class_="legend")


# --- facts -----------------------------------------------------------------------------------------------------------


def _facts(context: RunContext, options: Mapping[str, Any]) -> Markup:
    facts = {
        "bundle": context.bundle_name,
        "bundle SHA-256": context.bundle_sha256,
        "software": f"lsd-edge {context.version}",
        "event time": time_of(context.event_time) if context.event_time else "not stated",
        "prevalence": percent(context.prevalence) + ", stated" if context.prevalence else "that of the training data",
    }
    headings = ("configuration", "detection above", "look above", "assumed share", *_METRICS.values())
    rows = [
        (one.name, f"{slide:.3f}", f"{look:.3f}", percent(share), *_metrics(context, one))
        for one, slide, look, share in zip(
            context.configurations, context.thresholds, context.look_thresholds, context.prevalences, strict=True
        )
    ]
    chosen = {key: json.dumps(value, ensure_ascii=False, sort_keys=True) for key, value in sorted(options.items())}
    return join(
        [
            _pairs(facts),
            element(
                "details",
                element("summary", f"{many(len(rows), 'configuration')} of the bundle and how good they are"),
                element(
                    "p",
                    "Measured out of fold on the training data, with 95 % intervals: expect less in another region.",
                    class_="soft",
                ),
                table(headings, rows, cards=True),
            ),
            element("details", element("summary", "Options of the run"), _pairs(chosen)),
        ]
    )


def _metrics(context: RunContext, configuration: Configuration) -> list[str]:
    found = context.quality(configuration)
    return [measured(found[key]) if key in found else "-" for key in _METRICS]


def _pairs(facts: Mapping[str, str]) -> Markup:
    return element("dl", *(part for key, text in facts.items() for part in (element("dt", key), element("dd", text))))
