"""Layer styles for QGIS 3 (QML): colours by class, hatching over ground that was not observed.

Colours tell the classes apart for the colour-blind too: from the palette of M. Okabe and K. Ito, Color Universal
Design, 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsd.runtime.scores import CLASS_TEXT, LIKELY, LOOK_CLASS, NOT_OBSERVED, NOTHING_SEEN, POSSIBLE

Colour = tuple[int, int, int]
VERMILLION, YELLOW, BLUE, GREY, BLACK = (213, 94, 0), (240, 228, 66), (0, 114, 178), (128, 128, 128), (0, 0, 0)
COLOURS: dict[str, Colour] = {
    CLASS_TEXT[LIKELY]: VERMILLION,
    CLASS_TEXT[POSSIBLE]: YELLOW,
    CLASS_TEXT[LOOK_CLASS]: BLUE,
    CLASS_TEXT[NOTHING_SEEN]: GREY,
    CLASS_TEXT[NOT_OBSERVED]: GREY,
}
LABELS = {
    CLASS_TEXT[LIKELY]: "likely: detection, probability at least 0.5",
    CLASS_TEXT[POSSIBLE]: "possible: detection, probability below 0.5",
    CLASS_TEXT[LOOK_CLASS]: "look: no detection, but worth a look",
    CLASS_TEXT[NOTHING_SEEN]: "nothing seen",
    CLASS_TEXT[NOT_OBSERVED]: "not observed: there may be landslides here",
}
_SOLID, _NO_FILL, _HATCH = "solid", "no", "b_diagonal"  # brush styles of QGIS


@dataclass(frozen=True)
class Fill:
    """A fill symbol. opacity: of the fill, 0..255; outline_mm: width of the outline in millimetres on the page."""

    colour: Colour
    brush: str
    opacity: int
    outline: Colour
    outline_mm: float


_FILLS = {
    CLASS_TEXT[LIKELY]: Fill(VERMILLION, _SOLID, 110, VERMILLION, 0.5),
    CLASS_TEXT[POSSIBLE]: Fill(YELLOW, _SOLID, 110, BLACK, 0.3),
    CLASS_TEXT[LOOK_CLASS]: Fill(BLUE, _SOLID, 70, BLUE, 0.3),
    CLASS_TEXT[NOTHING_SEEN]: Fill(GREY, _NO_FILL, 0, GREY, 0.1),
    CLASS_TEXT[NOT_OBSERVED]: Fill(GREY, _HATCH, 255, GREY, 0.2),
}


def detections_style() -> str:
    """QML of the layer of detections: `likely` and `possible` by the field `class`."""
    return _categorised([CLASS_TEXT[LIKELY], CLASS_TEXT[POSSIBLE]])


def patches_style() -> str:
    """QML of the grid of all patches, by the field `class`; not observed is hatched, nothing seen has no fill."""
    return _categorised(list(_FILLS))


def footprints_style() -> str:
    """QML of the footprints: an outline, no fill."""
    symbol = _symbol(0, Fill(BLACK, _NO_FILL, 0, BLACK, 0.6))
    return _document(f'<renderer-v2 type="singleSymbol" {_RENDERER}>\n<symbols>\n{symbol}\n</symbols>\n</renderer-v2>')


_RENDERER = 'forceraster="0" symbollevels="0" enableorderby="0" referencescale="-1"'


def _document(renderer: str) -> str:
    head = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"  # as QGIS itself begins a QML file
    return f'{head}\n<qgis version="3.28.0" styleCategories="Symbology">\n{renderer}\n</qgis>\n'


def _categorised(classes: Sequence[str]) -> str:
    from xml.sax.saxutils import quoteattr  # brings urllib, http, email and ssl, before the first patch

    categories = "\n".join(
        f'<category type="string" render="true" symbol="{number}" '
        f"value={quoteattr(name)} label={quoteattr(LABELS[name])}/>"
        for number, name in enumerate(classes)
    )
    symbols = "\n".join(_symbol(number, _FILLS[name]) for number, name in enumerate(classes))
    return _document(
        f'<renderer-v2 type="categorizedSymbol" attr="class" {_RENDERER}>\n<categories>\n{categories}\n</categories>\n'
        f"<symbols>\n{symbols}\n</symbols>\n</renderer-v2>"
    )


def _symbol(number: int, fill: Fill) -> str:
    options: Mapping[str, str] = {
        "color": _rgba(fill.colour, fill.opacity),
        "style": fill.brush,
        "outline_color": _rgba(fill.outline, 255),
        "outline_style": "solid",
        "outline_width": str(fill.outline_mm),
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }
    lines = "\n".join(f'<Option type="QString" name="{name}" value="{value}"/>' for name, value in options.items())
    return (
        f'<symbol type="fill" name="{number}" alpha="1" clip_to_extent="1" force_rhr="0">\n'
        f'<layer class="SimpleFill" enabled="1" locked="0" pass="0">\n<Option type="Map">\n{lines}\n</Option>\n'
        "</layer>\n</symbol>"
    )


def _rgba(colour: Colour, opacity: int) -> str:
    return ",".join(map(str, (*colour, opacity)))
