"""Run page, what changes while a run goes on: times, exit shares, live state, and that a browser loads it again."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from contexts import context
from finished_runs import done_tile, failed_tile
from run_pages import CHROMIUM, EVIL, Page
from run_results import put, write_result
from scored_tiles import make_scores, make_tile

from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import TileError
from lsd.runtime.exits import Exit
from lsd.runtime.monitoring.state import RunState
from lsd.runtime.scores import LOOK, NOT_SCORED, SLIDE
from lsd.runtime.sinks.page.run_page import run_page, write_run_page
from lsd.runtime.sinks.page.timings import seconds_text
from lsd.runtime.sinks.summary import TileResult, failed_result
from lsd.runtime.stream.events import Paused, TileBegun, TileEnded


@pytest.fixture
def results(tmp_path: Path) -> list[TileResult]:
    """A tile of 12 patches, 3 of them under cloud, and one that failed."""
    tile = make_tile(64 * 4, 64 * 3)
    scores = make_scores(tile)
    put(scores, 0, 0, SLIDE, 0.9)
    put(scores, 1, 0, LOOK, 0.3)
    put(scores, slice(None), 3, NOT_SCORED)
    done = write_result(tmp_path, tile, scores, context())
    return [done, failed_result("broken", TileError("broken: file is truncated"), {"read": 0.1})]


def test_times_by_stage_in_total_and_of_each_tile(results, tmp_path):
    timed = [
        replace(results[0], seconds={"read": 2.0, "score": 90.0}),
        replace(results[1], seconds={"read": 1.0}),
    ]
    page = Page(run_page(timed, context(), {}, tmp_path))
    start = page.texts.index("slowest tile") + 1
    assert page.texts[start : start + 14] == [
        *("read", "3.0 s", "3.2 %", "1.5 s", "2.0 s (", "T33TVM_20220706", ")"),
        *("score", "1 min 30 s", "96.8 %", "1 min 30 s", "1 min 30 s (", "T33TVM_20220706", ")"),
    ]
    assert page.texts[start + 14 : start + 16] == ["together", "1 min 33 s"]
    row = page.texts[page.place("Time of each tile") :]
    assert row[6:10] == ["1", "T33TVM_20220706", "2.0 s", "1 min 30 s"] and row[11:14] == ["2", "broken", "1.0 s"], row[
        :16
    ]
    assert not any("left the chain" in text for text in page.texts)


def test_exit_shares_where_the_chain_has_exits(results, tmp_path):
    exited = [replace(results[0], counts={**results[0].counts, "exited": 7}), *results[1:]]
    page = Page(run_page(exited, context(), {}, tmp_path))
    page.place("77.8 % of 9 scored patches left the chain at its forest; the whole ensemble answered 2.")
    assert page.texts.count("77.8 %") == 1  # of the one tile that was scored
    exit_ = Exit("forest", 0.1, 0.9, Calibration("none"), {})
    with_exits = tuple(replace(one, exit=exit_) for one in context().configurations)
    none = run_page([replace(results[0], counts={**results[0].counts, "exited": 0})], context(), {}, tmp_path)
    assert "left the chain" not in none  # of a bundle without exits
    none = run_page(
        [replace(results[0], counts={**results[0].counts, "exited": 0})],
        context(configurations=with_exits),
        {},
        tmp_path,
    )
    Page(none).place("0.0 % of 9 scored patches left the chain")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.000 s"), (0.1234, "0.123 s"), (59.94, "59.9 s"), (65, "1 min 05 s"), (7800, "2 h 10 min")],
)
def test_seconds_as_people_say_them(seconds, text):
    assert seconds_text(seconds) == text


def live_state(tile_id: str = "T33TVM_20220708") -> RunState:
    """A watched run with a tile in hand, two done and one failed."""
    state = RunState(watching=True, clock=lambda: 1_700_000_000.0)
    state.ready("reference", "ab" * 32, {"eva02": "onnxruntime fp32"})
    for result in (done_tile("a"), done_tile("b"), failed_tile(tile_id)):
        state(TileEnded(result))
    state(TileBegun(tile_id))
    return state


def test_a_run_that_goes_on_says_what_it_does_and_loads_its_page_again(results, tmp_path):
    state = live_state()
    page = Page(run_page(results, context(), {}, tmp_path, state.as_dict()))
    assert [one["content"] for one in page.of("meta") if one.get("http-equiv") == "refresh"] == ["30"]
    start = page.place("The run goes on")
    assert start < page.place("Read this first")
    shown = " ".join(page.texts[start : page.place("Read this first")])
    for words in (
        "scoring T33TVM_20220708 since 2023-11-14 22:13:20 UTC",
        "2023-11-14 22:13:20 UTC",
        "2 done, 1 failed",
        "eva02: onnxruntime fp32",
        "file is truncated; download it again",
        "loads itself again every 30 s",
    ):
        assert words in shown, shown
    state(Paused("cannot write out: No space left on device"))
    page = Page(run_page(results, context(), {}, tmp_path, state.as_dict()))
    page.place("The run is paused: the output cannot be written")
    page.place("No space left on device")
    state.ended(1)
    ended = Page(run_page(results, context(), {}, tmp_path, state.as_dict()))
    assert not [one for one in ended.of("meta") if one.get("http-equiv") == "refresh"]
    assert ended.place("The run has ended") < ended.place("Exit code 1.")


def test_a_page_without_a_state_is_still(results, tmp_path):
    text = run_page(results, context(), {}, tmp_path)
    assert 'http-equiv="refresh"' not in text and 'class="live' not in text


def test_a_run_that_has_only_begun_does_not_say_that_nothing_could_be_scored(tmp_path):
    state = RunState(watching=True)
    page = Page(run_page([], context(), {}, tmp_path, state.as_dict()))
    assert page.texts[1:4] == ["Landslide patches: no tile yet", "No tile has ended yet.", "The run is starting"]


def test_what_strangers_name_is_text_in_the_state_too(tmp_path):
    state = live_state(EVIL)
    state(Paused(EVIL))
    page = Page(run_page([], context(), {}, tmp_path, state.as_dict()))
    shown = EVIL.replace("\u202e", "\ufffd").replace("\x00", "\ufffd")
    assert not page.of("script") and sum(shown in text for text in page.texts) >= 3


# --- drawn by a browser --------------------------------------------------------------------------------------------

# Counts loads of the page and reads it as drawn, in a frame of a given width.
WATCHER = """<body style="margin:0">
<iframe src="index.html" style="width:{width}px;height:3000px;border:0"></iframe><pre></pre>
<script>
let loads = 0;
document.querySelector("iframe").addEventListener("load", event => {{
  const root = event.target.contentDocument.documentElement;
  const lives = root.querySelector(".live");
  document.querySelector("pre").textContent = JSON.stringify({{
    loads: ++loads, scroll: root.scrollWidth, width: root.clientWidth, text: root.innerText,
    live: lives.getBoundingClientRect().toJSON(), inside: lives.scrollWidth <= lives.clientWidth,
  }});
}});
</script>"""


def watched(chromium: str, folder: Path, width: int, time_ms: int) -> dict:
    """What a browser made of index.html in `folder` after so much time of its own."""
    page = folder / "watch.html"
    page.write_text(WATCHER.format(width=width))
    command = [chromium, *CHROMIUM, f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"]
    command += ["--window-size=1400,3000", f"--virtual-time-budget={time_ms}", "--dump-dom", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    found = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found, done.stderr
    return json.loads(html.unescape(found[1]))


@pytest.mark.chromium
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_the_live_state_within_the_page(width, results, tmp_path, need_tool):
    state = live_state("T33TVM_" + "20220708" * 12)
    state(Paused("cannot write /mnt/" + "long" * 40 + ": No space left on device"))
    timed = [replace(results[0], counts={**results[0].counts, "exited": 7}, seconds={"read": 2.0, "score": 90.0})]
    write_run_page(tmp_path / "index.html", timed, context(), {}, tmp_path, state.as_dict())
    seen = watched(need_tool("chromium"), tmp_path, width, 5000)
    assert seen["loads"] == 1 and seen["scroll"] <= seen["width"] == width
    assert seen["inside"] and seen["live"]["height"] > 60 and seen["live"]["right"] <= width
    for words in ("No space left on device", "2 done, 1 failed", "77.8 % of 9 scored patches", "1 min 30 s"):
        assert words in seen["text"]


@pytest.mark.chromium
def test_a_browser_loads_the_page_again_from_a_file_until_the_run_has_ended(results, tmp_path, need_tool):
    state = live_state()
    write_run_page(tmp_path / "index.html", results, context(), {}, tmp_path, state.as_dict())
    assert watched(need_tool("chromium"), tmp_path, 1200, 75_000)["loads"] == 3  # at 0, 30 and 60 s
    state.ended(0)
    write_run_page(tmp_path / "index.html", results, context(), {}, tmp_path, state.as_dict())
    assert watched(need_tool("chromium"), tmp_path, 1200, 75_000)["loads"] == 1
