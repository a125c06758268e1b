"""How the run page says things: numbers, areas, times, names, and plain tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.summary import TileResult


def many(count: int, one: str, more: str | None = None) -> str:
    """`1 tile`, `1,200 tiles`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def name_of(result: TileResult) -> Markup:
    """The id on one line, isolated from the direction of the text around it."""
    return element("bdi", " ".join(result.id.split()))


def km2(area: float) -> str:
    """Area with as many decimals as it needs."""
    return f"{area:,.0f} km²" if area >= 100 else f"{area:,.2f} km²"


def percent(share: float) -> str:
    """A share of 0..1 in words that never round a part to nothing or to the whole."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.999 < share < 1:
        return "more than 99.9 %"
    return f"{100 * share:.1f} %"


def measured(metric: Mapping[str, Any]) -> str:
    """`0.886 (0.873 to 0.899)`: value and 95 % interval."""
    interval = f" ({metric['low']:.3f} to {metric['high']:.3f})" if {"low", "high"} <= set(metric) else ""
    return f"{metric['value']:.3f}{interval}"


def time_of(iso: str | None) -> str:
    """`2022-07-06 08:56 UTC` from ISO 8601 in UTC; anything else as it is."""
    if iso is None:
        return "unknown"
    return f"{iso[:10]} {iso[11:16]} UTC" if iso.endswith(("Z", "+00:00")) and len(iso) > 16 else iso


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[str] = (), cards: bool = False
) -> Markup:
    """A table; on a phone each row of `cards` becomes a card."""
    head = join(element("th", text, scope="col", class_="number" if text in numeric else None) for text in headings)
    body = join(
        element(
            "tr",
            *(
                element("td", element("div", cell), data_label=text, class_="number" if text in numeric else None)
                for text, cell in zip(headings, row, strict=True)
            ),
        )
        for row in rows
    )
    made = element(
        "table", element("thead", element("tr", head)), element("tbody", body), class_="cards" if cards else None
    )
    return element("div", made, class_="scroll")
