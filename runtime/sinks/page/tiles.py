"""Parts of the run page that tell of single tiles: the table of tiles, their pictures, decisions and sources."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

from lsd.runtime.scores import CLASS_TEXT, LIKELY, LOOK_CLASS, NOT_OBSERVED, NOTHING_SEEN, POSSIBLE
from lsd.runtime.sinks.page.class_grid import ClassGrid
from lsd.runtime.sinks.page.markup import Markup, element, join
from lsd.runtime.sinks.page.text import km2, many, measured, name_of, percent, table, time_of
from lsd.runtime.sinks.summary import TileResult

CLASSES = (LIKELY, POSSIBLE, LOOK_CLASS, NOTHING_SEEN, NOT_OBSERVED)
_THUMBNAILS_PX = (
    (2, 1024),
    (40, 560),
    (150, 280),
    (10**9, 140),
)  # (up to so many tiles, longer side): the page stays small
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class PageTile:
    """A tile on the page: its number from 1, its result, its classes (None if failed or not readable)."""

    number: int
    result: TileResult
    classes: ClassGrid | None

    @property
    def anchor(self) -> str:
        """Id of its part of the page."""
        return f"tile-{self.number}"

    @property
    def unseen_km2(self) -> float:
        """Ground of the tile outside of every scored patch."""
        return max(0.0, self.result.ground_km2 - self.result.scored_ground_km2)

    def count(self, code: int) -> int | None:
        """Number of patches of a class, None if unknown."""
        return None if self.classes is None else self.classes.count(code)


# --- the table of tiles ----------------------------------------------------------------------------------------------


def tiles_table(tiles: Sequence[PageTile]) -> Markup:
    """One row a tile: what was found, what was not seen, which configuration answered and how good it is, from when."""
    headings = (
        "no.",
        "tile",
        *(CLASS_TEXT[code] for code in CLASSES),
        "ground observed",
        "answered by",
        "scenes",
    )
    numeric = ("no.", *(CLASS_TEXT[code] for code in CLASSES))
    return table(headings, (_row(tile) for tile in tiles), numeric, cards=True)


def _row(tile: PageTile) -> list[str]:
    result = tile.result
    link = element("a", name_of(result), href=f"#{tile.anchor}")
    if result.status == "failed":
        return [str(tile.number), link, *["-"] * len(CLASSES), "-", element("b", "failed"), "-"]
    counts = [tile.count(code) for code in CLASSES]
    ground = join(
        [
            element("div", km2(result.scored_ground_km2)),
            element("div", f"{km2(tile.unseen_km2)} ({percent(_share(tile))}) not"),
        ]
    )
    return [
        str(tile.number),
        link,
        *("-" if count is None else f"{count:,}" for count in counts),
        ground,
        _answered(result),
        _when(result),
    ]


def _share(tile: PageTile) -> float:
    return tile.unseen_km2 / tile.result.ground_km2 if tile.result.ground_km2 else 0.0


def _answered(result: TileResult) -> Markup:
    """Configurations with the patches they answered for and F1."""
    lines = []
    for name, patches in result.configurations.items():
        f1 = result.quality.get(name, {}).get("f1")
        quality = f"F1 {measured(f1)}" if f1 else "quality not measured"
        lines += [element("div", element("b", name), f": {many(patches, 'patch', 'patches')}"), element("div", quality)]
    return join(lines) if lines else element("div", "none")


def _when(result: TileResult) -> Markup:
    """Days of the scenes: one line for the optical ones, one for each radar track with what lies before the event."""
    lines = []
    optical = [_day(scene.acquired) for scene in result.scenes if scene.role == "optical"]
    if optical:
        lines.append(element("div", f"optical {', '.join(optical)}"))
    for track in dict.fromkeys(scene.track for scene in result.scenes if scene.track):
        pre, post = (
            [_day(scene.acquired) for scene in result.scenes if (scene.track, scene.role) == (track, role)]
            for role in ("pre", "post")
        )
        since = f"{', '.join(pre)} to " if pre else ""
        lines.append(element("div", f"{track}: {since}{', '.join(post) or 'no scene'}"))
    return join(lines) if lines else element("div", "unknown")


def _day(acquired: str | None) -> str:
    return time_of(acquired)[:10]


# --- pictures --------------------------------------------------------------------------------------------------------


def pictures(tiles: Sequence[PageTile], out: Path) -> Markup:
    """Reduced quicklooks inside the page, with what their colours mean; empty if there is none."""
    most_px = next(size for count, size in _THUMBNAILS_PX if len(tiles) <= count)
    figures, legends = [], []
    for tile in tiles:
        product = tile.result.products.get("quicklook")
        picture = thumbnail(out / product, most_px) if product else None
        if product and picture:
            data, legend = picture
            stretch, _, lines = legend.partition("; ")
            legends.append(lines)
            image = element("img", src=f"data:image/jpeg;base64,{data}", alt=f"Quicklook of tile {tile.number}")
            figures.append(
                element(
                    "figure",
                    element("a", image, href=_relative(product)),
                    element("figcaption", f"{tile.number}. ", name_of(tile.result), element("br"), stretch),
                )
            )
    if not figures:
        return Markup()
    shared = [element("p", words, class_="soft") for words in dict.fromkeys(legends) if words]
    return join([*shared, element("div", *figures, class_="pictures few" if len(figures) < 3 else "pictures")])


def thumbnail(path: Path, most_px: int) -> tuple[str, str] | None:
    """JPEG of at most this size as base64, and the text in the picture; None if the file cannot be read."""
    with warnings.catch_warnings(), MemoryFile(ext=".jpg") as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as png:
                shrink = max(1.0, max(png.height, png.width) / most_px)
                shape = (3, max(1, round(png.height / shrink)), max(1, round(png.width / shrink)))
                pixels = png.read((1, 2, 3), out_shape=shape, resampling=Resampling.average)
                legend = png.tags().get("Description", "")
        except RasterioError:
            return None
        options = {"driver": "JPEG", "dtype": "uint8", "count": 3, "height": shape[1], "width": shape[2]}
        with memory.open(**options, QUALITY=_JPEG_QUALITY) as jpeg:
            jpeg.write(pixels)
        return base64.b64encode(bytes(memory.getbuffer())).decode(), legend


# --- details ---------------------------------------------------------------------------------------------------------


def details(tiles: Sequence[PageTile]) -> Markup:
    """For every tile what it rests on: warnings, decisions with their reasons, sources, products."""
    return join(_details(tile) for tile in tiles)


def _details(tile: PageTile) -> Markup:
    result = tile.result
    if result.status == "failed":
        words, parts = "failed", [element("p", result.error or "no reason given")]
    else:
        found = sum(tile.count(code) or 0 for code in (LIKELY, POSSIBLE))
        words = f"{found:,} detections, {percent(_share(tile))} not observed"
        best = "" if result.max_probability is None else f" The highest probability is {result.max_probability:.3f}."
        event = f" Event time stated: {time_of(result.event_time)}." if result.event_time else ""
        parts = [element("p", f"{result.note}{best}{event}")]
    if result.warnings:
        parts += [element("h3", "Warnings"), element("ul", *(element("li", text) for text in result.warnings))]
    if result.decisions:
        rows = [(one.subject, one.choice, one.reason) for one in result.decisions]
        parts += [element("h3", "Decisions"), table(("about", "decided", "because"), rows, cards=True)]
    if result.scenes:
        rows_of = [
            (
                element("bdi", one.id),
                one.product,
                one.role,
                time_of(one.acquired),
                one.track or "-",
                ", ".join(one.bands),
            )
            for one in result.scenes
        ]
        headings = ("scene", "product", "role", "acquired", "track", "bands")
        parts += [element("h3", "Sources"), table(headings, rows_of, cards=True)]
    if result.products:
        links = (element("a", kind, href=_relative(path)) for kind, path in result.products.items())
        parts += [element("h3", "Products"), element("p", join(links, ", "))]
    heading = element("summary", f"{tile.number}. ", name_of(result), element("span", words, class_="soft"))
    return element("details", heading, *parts, id=tile.anchor, open=bool(result.warnings) or result.status == "failed")


def _relative(path: str) -> str:
    """A link to a file beside the page; `./` keeps a name with a colon from being read as a scheme."""
    return f"./{quote(path.encode('utf-8', 'surrogateescape'))}"
