"""Run page: warnings before the map, nothing from elsewhere, strangers' names harmless, unseen ground shown."""

from __future__ import annotations

import re
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from contexts import context
from rasterio.errors import NotGeoreferencedWarning
from run_pages import CHROMIUM, EVIL, Page
from run_results import busy_result, put, write_result
from scored_tiles import make_scores, make_tile

from lsd.runtime.errors import TileError
from lsd.runtime.scores import LOOK, NOT_SCORED, SLIDE
from lsd.runtime.sinks.page.map_frame import WIDTH, frame_of
from lsd.runtime.sinks.page.run_page import run_page, write_run_page
from lsd.runtime.sinks.qgis_style import VERMILLION, YELLOW
from lsd.runtime.sinks.summary import TileResult, failed_result
from lsd.runtime.tiles import Decision


@pytest.fixture
def results(tmp_path: Path) -> list[TileResult]:
    tile = make_tile(64 * 4, 64 * 3, decisions=(Decision("offset", "kept", "baseline N0400"),))
    scores = make_scores(tile)
    put(scores, 0, 0, SLIDE, 0.9)
    put(scores, 0, 1, SLIDE, 0.45)
    put(scores, 1, 0, LOOK, 0.3)
    put(scores, slice(None), 3, NOT_SCORED)
    return [
        write_result(tmp_path, tile, scores, context()),
        failed_result("broken", TileError("broken: file is truncated; download it again"), {"read": 0.1}),
    ]


def page_of(results: list[TileResult], out: Path, **changes) -> str:
    return run_page(results, context(**changes), {"stride": 64}, out)


def test_title_and_outcome_tell_what_was_found_and_what_was_not_seen(results, tmp_path):
    page = Page(page_of(results, tmp_path))
    assert page.texts[1] == "Landslide patches: 2 detections in 1 tile"
    assert page.texts[2] == (
        "Of 12 patches, 2 were called a landslide (1 likely, 1 possible); 1 more is worth a look; "
        "1.23 km² of 4.92 km² (25.0 %) were not observed; 1 of 2 tiles failed."
    )


def test_warnings_come_before_the_map_and_the_gravest_first(results, tmp_path):
    page = Page(page_of(results, tmp_path, synthetic=True))
    order = [
        "Not for use: made-up training data",
        "1 tile failed",
        "file is truncated",
        "1.23 km² (25.0 %) were not observed: there may be landslides there",
        "3 patches under cloud, shadow or snow by the cloud layer",
        "cloud unchecked",
        "nobody has checked it",
        "assume that 18.0 % of the patches",
        "Map",
        "2022-06-26 to 2022-07-08",
        "baseline N0400",
        "bundle SHA-256",
    ]
    places = [page.place(words) for words in order]
    assert places == sorted(places)


def test_what_was_not_asked_is_not_claimed(results, tmp_path):
    plain = page_of(results, tmp_path)
    assert "made-up training data" not in plain
    stated = page_of(results, tmp_path, prevalence=0.01)
    assert "The user stated that 1.0 % of the patches hold a landslide" in stated
    assert "as in the training data" not in stated


def test_a_run_without_a_detection_does_not_say_that_there_is_none(tmp_path):
    tile = make_tile(128, 128, warnings=())
    result = write_result(tmp_path, tile, make_scores(tile), context())
    text = page_of([result], tmp_path)
    assert "none was called a landslide; all 1.64 km² were observed." in text
    assert "No detection does not mean no landslide" in text
    assert "Look at these inputs" not in text


def test_nothing_comes_from_elsewhere_and_nothing_runs(results, tmp_path):
    evil = replace(results[0], id=EVIL, products={**results[0].products, "kml": "javascript:alert(1)"})
    text = page_of([evil, results[1]], tmp_path)
    page = Page(text)
    assert not page.of("script") and not page.of("link") and not page.of("iframe")
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name) or ""
            assert not re.match(r"[a-z]+:", value) or value.startswith("data:image/jpeg;base64,"), value
            assert "//" not in value or value.startswith("data:")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]
    assert "http:" not in text and "https:" not in text
    assert page.of("meta")[1]["content"].startswith("default-src 'none'")


def test_names_and_reasons_of_strangers_are_text(results, tmp_path):
    decision = Decision(EVIL, EVIL, EVIL)
    scene = replace(results[0].scenes[0], id=EVIL + "\udcff", product=EVIL)
    evil = replace(results[0], id=EVIL, warnings=(EVIL,), decisions=(decision,), note=EVIL, scenes=(scene,))
    bad = failed_result(EVIL, TileError(EVIL), {})
    found = context(bundle_name=EVIL)
    text = run_page([evil, bad], found, {EVIL: EVIL}, tmp_path)
    text.encode()  # no lone surrogate is left
    page = Page(text)
    assert not page.of("script")
    assert "\x00" not in text and "\u202e" not in text
    shown = EVIL.replace("\u202e", "\ufffd").replace("\x00", "\ufffd")
    assert sum(shown in one for one in page.texts) >= 9


def test_the_same_results_give_the_same_bytes_and_their_times_stand_in_one_section(results, tmp_path):
    pages = []
    for seconds in ({"read": 1.0}, {"read": 1.0}, {"read": 9.9}):
        timed = [replace(result, seconds=seconds) for result in results]
        write_run_page(tmp_path / "page.html", timed, context(), {"b": 1, "a": None}, tmp_path)
        pages.append((tmp_path / "page.html").read_text())
    assert pages[0] == pages[1] != pages[2]
    apart = [re.sub(r"<section><h2>How patches were answered.*?</section>", "", page) for page in pages]
    assert apart[0] == apart[2] != pages[0]


def test_the_table_tells_counts_configuration_and_its_quality(results, tmp_path):
    page = Page(page_of(results, tmp_path))
    start = page.place("ground observed")
    row = page.texts[page.texts.index("scenes", start) + 1 :]
    assert row[:7] == ["1", "T33TVM_20220706", "1", "1", "1", "6", "3"]
    assert row[7:9] == ["3.69 km²", "1.23 km² (25.0 %) not"]
    assert row[9:12] == ["all", ": 9 patches", "F1 0.863 (0.850 to 0.876)"]
    assert row[12:14] == ["optical 2022-07-06", "descending 107: 2022-06-26 to 2022-07-08"]


def test_pictures_are_inside_the_page_with_what_their_colours_mean(results, tmp_path):
    page = Page(page_of(results, tmp_path))
    assert len(page.of("img")) == 1
    assert page.of("img")[0]["src"].startswith("data:image/jpeg;base64,/9j/")
    assert any(text.startswith("thick orange-red line between white ones: likely") for text in page.texts)
    (tmp_path / results[0].products["quicklook"]).write_bytes(b"not a picture")
    assert not Page(page_of(results, tmp_path)).of("img")


def test_a_score_grid_that_cannot_be_read_is_told_and_its_tile_stays_on_the_map(results, tmp_path):
    (tmp_path / results[0].products["scores"]).unlink()
    page = Page(page_of(results, tmp_path))
    assert page.place("Score grids that could not be read") < page.place("Map")
    assert len(page.of("path", "unread")) == 1 and not page.of("path", "likely")
    assert "2 were called a landslide;" in page.texts[2]


def test_unseen_ground_is_hatched_on_the_map(results, tmp_path):
    page = Page(page_of(results, tmp_path))
    (unseen,) = page.of("path", "unseen")
    assert unseen["style"] == "fill:url(#hatch-1)"
    assert any(attributes.get("id") == "hatch-1" for attributes in page.of("pattern"))
    for name in ("likely", "possible", "look"):
        assert len(page.of("path", name)) == 1


@pytest.mark.parametrize("outcome", ["none", "failed"])
def test_a_run_with_nothing_to_show_still_has_a_page(outcome, tmp_path):
    results = [failed_result("a", TileError("a: no CRS"), {})] if outcome == "failed" else []
    page = Page(page_of(results, tmp_path))
    assert page.texts[1] == "Landslide patches: no tile could be scored"
    assert not page.of("svg", "map")


def test_a_large_tile_makes_a_small_page(tmp_path):
    result = busy_result(tmp_path, context(), patches=172, picture=False)
    assert 20_000 < len(page_of([result], tmp_path)) < 600_000


# --- drawn by a browser ----------------------------------------------------------------------------------------------

PINNED = (
    f"<style>svg.map{{position:fixed;left:0;top:0;z-index:9;width:{2 * WIDTH:g}px;background:#fff}}"
    ".maps>:only-child{max-width:none}</style></head>"
)


def screenshot(chromium: str, page: Path, width: int, height: int) -> np.ndarray:
    """The page as uint8 (y, x, 3), in light colours."""
    folder = page.parent
    png = folder / f"{page.stem}-{width}.png"
    command = [chromium, *CHROMIUM, f"--user-data-dir={folder / 'profile'}", f"--screenshot={png}"]
    command += [f"--window-size={width},{height}", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert png.is_file(), done.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(png) as raster:
            return np.moveaxis(raster.read((1, 2, 3)), 0, 2)


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) <= 2).all(axis=2)


@pytest.mark.chromium
def test_a_browser_paints_every_class_where_it_lies(results, tmp_path, need_tool):
    chromium = need_tool("chromium")
    page = tmp_path / "map.html"
    page.write_text(page_of(results, tmp_path).replace("</head>", PINNED), encoding="utf-8")
    outline = results[0].outline_deg
    assert outline is not None
    frame = frame_of([outline])
    picture = screenshot(chromium, page, int(2 * WIDTH), int(2 * frame.height) + 200)
    upper_left, upper_right, _, lower_left = 2 * frame.place(np.array(outline))

    def patch(row: int, column: int) -> np.ndarray:
        """Pixels of the inside of a patch (of 3 x 4), away from its lines."""
        across, down = (upper_right - upper_left) / 4, (lower_left - upper_left) / 3
        low = upper_left + (column + 0.25) * across + (row + 0.25) * down
        high = upper_left + (column + 0.75) * across + (row + 0.75) * down
        (left, top), (right, bottom) = np.rint(low).astype(int), np.rint(high).astype(int)
        return picture[top:bottom, left:right]

    assert is_colour(patch(0, 0), VERMILLION).all()
    assert is_colour(patch(0, 1), YELLOW).all()
    look, seen = patch(1, 0).astype(int), patch(1, 1).astype(int)
    faint = (np.abs(seen - seen.mean(axis=(0, 1))) < 30).all()  # nothing but a line of the graticule
    assert faint and seen.mean() > 230
    assert look[..., 2].mean() - look[..., 0].mean() > 30  # blue
    for row in range(3):
        unseen = patch(row, 3).mean(axis=2)
        assert 0.1 < (unseen < 200).mean() < 0.6, row  # hatched: dark lines on light ground
    assert is_colour(picture, VERMILLION).sum() == pytest.approx(is_colour(picture, YELLOW).sum(), rel=0.05)


@pytest.mark.chromium
def test_a_phone_shows_the_whole_width(results, tmp_path, need_tool):
    page = tmp_path / "phone.html"
    write_run_page(tmp_path / "index.html", results, context(), {}, tmp_path)
    page.write_text('<body style="margin:0"><iframe src="index.html" style="width:360px;height:2400px;border:0">')
    picture = screenshot(need_tool("chromium"), page, 500, 2400)
    reds = np.nonzero(is_colour(picture, VERMILLION))
    assert len(reds[0]) > 200 and reds[1].max() < 346  # legend and map, inside the margin
    edge = picture[:, 347:360].astype(int)
    assert (np.abs(edge - edge[0, 0]) <= 2).all()  # nothing runs out of the page
