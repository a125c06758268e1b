"""Maps of a run as SVG: tiles on a longitude and latitude graticule, their patches coloured by class.

Colours come from the page's style sheet (`page_style.py`), so that they follow light, dark and print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.scores import CLASS_TEXT, LIKELY, LOOK_CLASS, NOT_OBSERVED, POSSIBLE
from lsd.runtime.sinks.page.class_grid import ClassGrid
from lsd.runtime.sinks.page.map_frame import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Frame, frame_of, groups_of, label
from lsd.runtime.sinks.page.markup import Markup, element, join

_MERGED_ABOVE = 3000  # patches of a class in a tile: up to here they are drawn one by one
_HATCH_UNITS = 6
_BAR_KM = (500, 200, 100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)
# what lies above hides what is below: detections last
_CLASSES = ((NOT_OBSERVED, "unseen"), (LOOK_CLASS, "look"), (POSSIBLE, "possible"), (LIKELY, "likely"))


@dataclass(frozen=True)
class MapTile:
    """A tile to draw: its number on the page, a line about it, its corners in degrees, its classes if readable."""

    number: int
    title: str
    outline_deg: tuple[tuple[float, float], ...]
    classes: ClassGrid | None


def maps_of(tiles: Sequence[MapTile]) -> list[Markup]:
    """One SVG for every group of tiles that lie near each other, in the order of their first tiles."""
    groups = groups_of([tile.outline_deg for tile in tiles])
    return [_svg([tiles[position] for position in group], number) for number, group in enumerate(groups, start=1)]


def hatch(name: str) -> Markup:
    """`defs` with the pattern of ground that was not observed; `name` is its id in the page."""
    pattern = element(
        "pattern",
        element("path", d=f"M1 0V{_HATCH_UNITS}", class_="hatch"),
        id=name,
        width=_HATCH_UNITS,
        height=_HATCH_UNITS,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    return element("defs", pattern)


def _svg(tiles: Sequence[MapTile], number: int) -> Markup:
    frame = frame_of([tile.outline_deg for tile in tiles])
    box: dict[str, str | float] = {
        "x": LEFT,
        "y": TOP,
        "width": WIDTH - LEFT - RIGHT,
        "height": _units(frame.height - TOP - BOTTOM),
    }
    drawn = [element("path", d=_polygons(frame, np.array([tile.outline_deg])), class_="seen") for tile in tiles]
    for code, name in _CLASSES:
        fill = f"fill:url(#hatch-{number})" if code == NOT_OBSERVED else None
        for tile in tiles:
            path = _class_path(frame, tile, code)
            if path:
                title = element("title", f"{CLASS_TEXT[code]}, in tile {tile.number}")
                drawn.append(element("path", title, d=path, class_=name, style=fill))
    return element(
        "svg",
        element("title", f"Map of {len(tiles)} tile{'s' * (len(tiles) > 1)}, north up"),
        hatch(f"hatch-{number}"),
        element("rect", **box, class_="paper"),
        _graticule(frame),
        join(drawn),
        join(_outline(frame, tile) for tile in tiles),
        element("rect", **box, class_="frame"),
        _scale_bar(frame),
        _north_arrow(),
        viewBox=f"0 0 {WIDTH:g} {_units(frame.height)}",
        role="img",
        class_="map",
    )


def _units(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _polygons(frame: Frame, corners: NDArray[np.float64]) -> str:
    """Path of n closed polygons given by their corners in degrees, (n, corner, 2)."""
    places = frame.place(np.asarray(corners, np.float64)).tolist()
    return "".join(f"M{'L'.join(f'{_units(x)} {_units(y)}' for x, y in polygon)}Z" for polygon in places)


def _class_path(frame: Frame, tile: MapTile, code: int) -> str:
    if tile.classes is None or not tile.classes.count(code):
        return ""
    merged = code == NOT_OBSERVED or tile.classes.count(code) > _MERGED_ABOVE
    return _polygons(frame, tile.classes.corners_deg(tile.classes.boxes(code, merged)))


def _outline(frame: Frame, tile: MapTile) -> Markup:
    corners = np.array([tile.outline_deg], np.float64)
    x, y = frame.place(corners)[0, 0].tolist()
    kind = "outline" if tile.classes else "outline unread"
    path = element("path", element("title", tile.title), d=_polygons(frame, corners), class_=kind)
    return join([path, element("text", str(tile.number), x=_units(x + 4), y=_units(y + 15), class_="number")])


def _graticule(frame: Frame) -> Markup:
    step, longitudes, latitudes = frame.graticule()
    right, bottom = WIDTH - RIGHT, frame.height - BOTTOM
    xs = [float(frame.place(np.array([degrees, frame.south]))[0]) for degrees in longitudes]
    ys = [float(frame.place(np.array([frame.west, degrees]))[1]) for degrees in latitudes]
    lines = [f"M{_units(x)} {TOP:g}V{_units(bottom)}" for x in xs] + [f"M{LEFT:g} {_units(y)}H{right:g}" for y in ys]
    below = (
        element(
            "text",
            label(degrees, step, "EW"),
            x=_units(x),
            y=_units(bottom + 16),
            class_="longitude odd" if number % 2 else "longitude",  # every other one is left out on a phone
        )
        for number, (degrees, x) in enumerate(zip(longitudes, xs, strict=True))
    )
    beside = (
        element("text", label(degrees, step, "NS"), x=LEFT - 5, y=_units(y + 4), class_="latitude")
        for degrees, y in zip(latitudes, ys, strict=True)
    )
    return join([element("path", d="".join(lines), class_="graticule"), *below, *beside])


def _scale_bar(frame: Frame) -> Markup:
    """The longest round distance of at most a quarter of the map, at the lower right."""
    longest = (WIDTH - LEFT - RIGHT) * frame.km_per_unit / 4
    km = next((length for length in _BAR_KM if length <= longest), _BAR_KM[-1])
    end, y = WIDTH - RIGHT - 14, frame.height - BOTTOM - 12
    start = end - km / frame.km_per_unit
    words = f"{km:g} km" if km >= 1 else f"{1000 * km:g} m"
    return join(
        [
            element("path", d=f"M{_units(start)} {_units(y - 5)}v5H{_units(end)}v-5", class_="bar"),
            element("text", words, x=_units((start + end) / 2), y=_units(y - 8), class_="distance"),
        ]
    )


def _north_arrow() -> Markup:
    x, y = WIDTH - RIGHT - 20, TOP + 12
    arrow = element("path", d=f"M{x:g} {y:g}l6 18l-6 -4l-6 4Z", class_="arrow")
    return join([arrow, element("text", "N", x=x, y=y + 32, class_="distance")])
