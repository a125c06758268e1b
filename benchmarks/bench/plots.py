"""Plots of a result as inline SVG: no script, no library, light and dark by the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lsd.benchmarks.bench.percentiles import QUANTILES
from lsd.benchmarks.bench.text import seconds
from lsd.runtime.sinks.page.markup import Markup, element, join

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 310, 76, 120, 24, 40
# M. Okabe and K. Ito: told apart by every reader
_COLOURS = {"single-stream": "#0072b2", "multi-stream": "#d55e00", "server": "#009e73", "offline": "#cc79a7"}
_BAR = "#0072b2"
# of the ticks of a logarithmic axis: the first with enough of them
_FACTORS = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), [quarters / 4 for quarters in range(4, 40)])
_LEAST_TICKS = 3
_TAILS = ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))
Point = tuple[float, float, bool | None]  # x, y, and its dot: full, hollow (does not count), or none
Line = tuple[str, Sequence[Point]]


def percentile_plot(document: Mapping[str, Any]) -> Markup:
    """Latency over the share of queries answered by then, tails stretched; "" without a curve of two points."""
    lines = [
        (name, [(_stretched(share), latency, _dotted(share)) for share, latency in one["curve"] if share >= 0.1])
        for name, one in document["scenarios"].items()
        if len(one.get("curve", ())) > 1
    ]
    ticks = [(_stretched(share), text) for share, text in _TAILS]
    names = "share of queries answered within the time", "latency"
    return _plot(lines, ticks, names, "Latency by share of queries")


def window_plot(document: Mapping[str, Any]) -> Markup:
    """Value of each window over time, relative to the median of those counted; "" without windows."""
    lines = []
    for name, one in document["scenarios"].items():
        key = "seconds_per_patch" if name == "offline" else "p50_s"
        counted = sorted(window[key] for window in one["windows"] if window["counted"])
        middle = counted[len(counted) // 2]
        if middle > 0:
            points = [(window["begin_s"], window[key] / middle, window["counted"]) for window in one["windows"]]
            lines.append((name, points))
    longest = max((points[-1][0] for _, points in lines), default=0.0)
    names = "begin of the window", "relative to the median of the windows that count"
    return _plot(lines, _second_ticks(longest), names, "Windows, relative to those counted", ratio=True)


def bars(values: Sequence[tuple[str, float]], label: str) -> Markup:
    """A horizontal bar of each value in seconds, from 0; "" without values."""
    if not values:
        return Markup("")
    longest, step = max(value for _, value in values) or 1.0, 26
    parts = []
    for number, (name, value) in enumerate(values):
        y, width = _TOP + number * step, max(1.0, 420 * value / longest)
        parts += [
            element("text", name, x=200, y=y + 14, text_anchor="end"),
            element("rect", x=208, y=y, width=f"{width:.1f}", height=18, fill=_BAR),
            element("text", seconds(value), x=f"{214 + width:.1f}", y=y + 14),
        ]
    return _svg(parts, _TOP + step * len(values) + 6, label)


def _plot(
    lines: Sequence[Line], ticks: Sequence[tuple[float, str]], names: tuple[str, str], label: str, ratio: bool = False
) -> Markup:
    """Lines over logarithmic values; names: of the horizontal and of the vertical."""
    points = [point for _, line in lines for point in line]
    if len(points) < 2:
        return Markup("")
    left, right = min(x for x, _, _ in points), max(x for x, _, _ in points)
    low, high = min(y for _, y, _ in points), max(y for _, y, _ in points)
    low, high = (min(low, 0.9), max(high, 1.1)) if ratio else (low / 1.2, high * 1.2)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left or 1.0)
        up = math.log(y / low) / math.log(high / low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        element("rect", class_="frame", x=_LEFT, y=_TOP, width=_WIDTH - _LEFT - _RIGHT, height=_HEIGHT - _TOP - _BOTTOM)
    ]
    for value in _log_ticks(low, high, ratio):
        _, y = at(left, value)
        text = f"{value:.3g}" if ratio else seconds(value)
        parts += [
            _rule(_LEFT, y, _WIDTH - _RIGHT, y),
            element("text", text, x=_LEFT - 6, y=f"{y + 4:.1f}", class_="latitude"),
        ]
    for where, text in ticks:
        if left <= where <= right:
            x, _ = at(where, low)
            parts += [
                _rule(x, _TOP, x, _HEIGHT - _BOTTOM),
                element("text", text, x=f"{x:.1f}", y=_HEIGHT - _BOTTOM + 16, class_="longitude"),
            ]
    across, up = names
    parts.append(element("text", across, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 6, class_="longitude"))
    parts.append(element("text", up, x=_LEFT, y=_TOP - 8))
    for number, (name, line) in enumerate(lines):
        colour = _COLOURS[name]
        places = [at(x, y) for x, y, _ in line]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(element("polyline", points=drawn, fill="none", stroke=colour, stroke_width=2))
        parts += [
            element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, stroke=colour, fill=colour if counts else "none")
            for (x, y), (_, _, counts) in zip(places, line, strict=True)
            if counts is not None
        ]
        y = _TOP + 14 + 18 * number
        parts += [
            element("rect", x=_WIDTH - _RIGHT + 10, y=y - 9, width=10, height=10, fill=colour),
            element("text", name, x=_WIDTH - _RIGHT + 25, y=y),
        ]
    return _svg(parts, _HEIGHT, label)


def _svg(parts: Sequence[Markup], height: float, label: str) -> Markup:
    return element(
        "svg", join(parts), class_="map", viewBox=f"0 0 {_WIDTH} {height:g}", role="img", aria_label=label,
        style=f"max-width:{_WIDTH}px",
    )  # fmt: skip


def _rule(x1: float, y1: float, x2: float, y2: float) -> Markup:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", class_="graticule", **{key: f"{value:.1f}" for key, value in ends.items()})


def _stretched(share: float) -> float:
    """0.9, 0.99, 0.999 at equal distances."""
    return -math.log10(1.0 - share)


def _dotted(share: float) -> bool | None:
    """Dots where the table has a percentile."""
    return True if share in QUANTILES.values() else None


def _second_ticks(longest: float) -> list[tuple[float, str]]:
    """At most six round values from 0 on."""
    steps = (factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5))
    step = next((one for one in steps if longest / one <= 5), 0.0)
    return [(number * step, f"{number * step:g} s") for number in range(int(longest / step) + 1)] if step else []


def _log_ticks(low: float, high: float, ratio: bool) -> list[float]:
    if ratio:
        fine = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0)
        steps = fine if high / low < 2 else [2.0**power for power in range(-10, 11)]
        return [step for step in steps if low <= step <= high]
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for factors in _FACTORS:
        found = [factor * power for power in powers for factor in factors if low <= factor * power <= high]
        if len(found) >= _LEAST_TICKS:
            break
    return found
