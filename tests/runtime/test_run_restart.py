"""A run that is given again: what is done stays, what changed is done again, what failed gets another chance."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time

import pytest
import rasterio
from commands import ended, invoke, start
from single_run import fixed, products, run_once
from tiles import L2A_NEW, optical, write_tiff

from bundles import random_bundle, write
from lsd.runtime.chain import Chain
from lsd.runtime.cli.run import main
from lsd.runtime.feeds.base import Round
from lsd.runtime.run import MOST_ATTEMPTS, Run, RunPlan, context_of
from lsd.runtime.scoring import ScoringOptions
from lsd.runtime.stream.events import BundleChanged, BundleRefused, Paused, Resumed, TileEnded, TileKnown
from lsd.runtime.stream.output import STATE_FOLDER, Output
from lsd.runtime.stream.serving import Serving

NAMES = ["red", "green", "blue", "nir"]


def second_tile(source):
    return write_tiff(source / f"zz_{L2A_NEW}.tif", optical(seed=3), NAMES)


def ids(told, kind):
    return [event.result.id for event in told if isinstance(event, kind)]


def test_a_second_run_leaves_what_is_done_and_does_what_is_new(bundle, good, tmp_path):
    out = tmp_path / "out"
    assert invoke(main, bundle, good, "-o", out).code == 0
    first = products(out)
    stamp = (out / L2A_NEW / "scores.tif").stat().st_mtime_ns
    second_tile(good)
    again = invoke(main, bundle, good, "-o", out, "--json")
    totals = json.loads(again.out)["totals"]
    assert again.code == 0 and (totals["done"], totals["done_before"], totals["patches"]) == (2, 1, 8)
    assert (out / L2A_NEW / "scores.tif").stat().st_mtime_ns == stamp
    now = products(out)
    assert {name: now[name] for name in first if "/" in name} == {n: c for n, c in first.items() if "/" in n}
    assert f"zz_{L2A_NEW}/scores.tif" in now
    table = invoke(main, bundle, good, "-o", out).out.splitlines()
    assert [line.endswith("done before") for line in table[1:3]] == [True, True]


def test_another_input_or_other_options_do_the_tile_again(good, tmp_path):
    out, serving = tmp_path / "out", fixed(random_bundle())
    assert ids(run_once([good], out, serving), TileEnded) == [L2A_NEW]
    assert ids(run_once([good], out, serving), TileKnown) == [L2A_NEW]
    before = products(out)
    write_tiff(good / f"{L2A_NEW}.tif", optical(seed=5), NAMES)
    assert ids(run_once([good], out, serving), TileEnded) == [L2A_NEW]
    assert products(out) != before
    plan = RunPlan(scoring=ScoringOptions(stride_px=16), key={"stride": 16})
    assert ids(run_once([good], out, serving, plan), TileEnded) == [L2A_NEW]
    assert ids(run_once([good], out, serving, plan), TileKnown) == [L2A_NEW]
    shutil.rmtree(out / L2A_NEW)  # the journal alone is no product
    assert ids(run_once([good], out, serving, plan), TileEnded) == [L2A_NEW]


def test_what_only_bounds_memory_is_not_in_the_key(bundle, good, tmp_path):
    out = tmp_path / "out"
    assert invoke(main, bundle, good, "-o", out).code == 0
    same = invoke(main, bundle, good, "-o", out, "--batch-size", 3, "--window-rows", 2, "--json")
    other = invoke(main, bundle, good, "-o", out, "--prevalence", 0.01, "--json")
    assert [json.loads(ran.out)["totals"]["done_before"] for ran in (same, other)] == [1, 0]


def test_another_bundle_redoes_nothing_unless_asked(good, tmp_path):
    out = tmp_path / "out"
    old, new = fixed(random_bundle()), fixed(random_bundle(min_valid_fraction=0.8))
    assert old.context.bundle_sha256 != new.context.bundle_sha256
    run_once([good], out, old)
    assert ids(run_once([good], out, new), TileKnown) == [L2A_NEW]
    assert ids(run_once([good], out, new, RunPlan(rescore=True)), TileEnded) == [L2A_NEW]
    assert ids(run_once([good], out, new, RunPlan(rescore=True)), TileKnown) == [L2A_NEW]
    assert ids(run_once([good], out, new, RunPlan(overwrite=True)), TileEnded) == [L2A_NEW]


def test_a_failed_tile_gets_another_chance(good, tmp_path):
    out, serving = tmp_path / "out", fixed(random_bundle())
    bad = good / f"bad_{L2A_NEW}.tif"
    bad.write_text("no TIFF")
    for _ in range(2):
        told = run_once([good], out, serving)
        (failed,) = [e.result for e in told if isinstance(e, TileEnded) and e.result.status == "failed"]
        assert failed.id == f"bad_{L2A_NEW}" and "cannot be read as GeoTIFF" in failed.error
    write_tiff(bad, optical(seed=9), NAMES)
    told = run_once([good], out, serving)
    assert ids(told, TileKnown) == [L2A_NEW] and ids(told, TileEnded) == [f"bad_{L2A_NEW}"]


def test_a_folder_that_no_journal_knows_is_not_replaced(bundle, good, tmp_path):
    out = tmp_path / "out"
    assert invoke(main, bundle, good, "-o", out).code == 0
    shutil.rmtree(out / STATE_FOLDER)
    first = products(out)
    again = invoke(main, bundle, good, "-o", out)
    assert again.code == 2 and "is there already, and the journal does not know it; give --overwrite" in again.error
    assert products(out) == first
    assert invoke(main, bundle, good, "-o", out, "--overwrite").code == 0
    assert invoke(main, bundle, good, "-o", out).code == 0


def test_a_tile_that_ends_the_process_every_time_is_set_aside(good, tmp_path):
    """As after so many crashes: the journal says begun, nobody ended it."""
    out, serving = tmp_path / "out", fixed(random_bundle())
    second_tile(good)
    run_once([good], out, serving)
    with Output(out) as output:
        key = output.journal.entry(L2A_NEW).key
        for _ in range(MOST_ATTEMPTS):
            output.journal.begin(L2A_NEW, L2A_NEW, key, serving.context.bundle_sha256)
    told = run_once([good], out, serving)
    (result,) = [event.result for event in told if isinstance(event, TileEnded)]
    assert result.status == "failed" and "begun 10 times, and the run ended before the tile each time" in result.error
    assert ids(told, TileKnown) == [f"zz_{L2A_NEW}"]
    assert ids(run_once([good], out, serving), TileEnded) == [L2A_NEW]  # it failed, so it gets another chance


class Rounds:
    """A feed whose rounds are given, with something done before each."""

    def __init__(self, source, before):
        self.source, self.before = source, before

    def rounds(self, stop, waiting):
        for act in self.before:
            act()
            yield Round((self.source,))


def run_rounds(source, out, serving, plan, before):
    told: list = []
    with Output(out) as output:
        Run(serving, output, plan, told.append, threading.Event()).follow(Rounds(source, before))
    return told


def test_a_stream_tells_each_tile_once_and_replaces_it_when_its_input_changes(good, tmp_path):
    changes = [
        lambda: None,
        lambda: None,
        lambda: second_tile(good),
        lambda: write_tiff(good / f"{L2A_NEW}.tif", optical(seed=5), NAMES),
        lambda: (good / "bad.tif").write_text("no TIFF"),
        lambda: None,
    ]
    told = run_rounds(good, tmp_path / "out", fixed(random_bundle()), RunPlan(goes_on=True), changes)
    assert ids(told, TileEnded) == [L2A_NEW, f"zz_{L2A_NEW}", L2A_NEW, "bad"]
    ended_with = [event.result.status for event in told if isinstance(event, TileEnded)]
    assert ended_with == ["done", "done", "done", "failed"]


def test_a_later_round_opens_only_what_changed(good, tmp_path, monkeypatch):
    second_tile(good)
    opened, counts, original = [], [], rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda *words, **more: (opened.append(words[0]), original(*words, **more))[1])

    def change():
        counts.append(len(opened))
        write_tiff(good / f"{L2A_NEW}.tif", optical(seed=5), NAMES)
        opened.clear()

    rounds = [
        lambda: None,
        lambda: counts.append(len(opened)),
        lambda: counts.append(len(opened)),
        change,
        lambda: None,
    ]
    told = run_rounds(good, tmp_path / "out", fixed(random_bundle()), RunPlan(goes_on=True), rounds)
    assert len(ids(told, TileEnded)) == 3
    assert counts[0] > 0 and counts == [counts[0]] * 3  # nothing was opened after the first round
    assert opened and not [path for path in opened if "zz_" in str(path)]


def test_a_source_that_is_not_there_ends_a_run_but_not_a_stream(tmp_path):
    nowhere = tmp_path / "nowhere"
    told = run_rounds(nowhere, tmp_path / "out", fixed(random_bundle()), RunPlan(goes_on=True), [lambda: None] * 3)
    assert len(told) == 1 and told[0].result.id == "nowhere" and "does not exist" in told[0].result.error


def test_a_newer_bundle_is_taken_between_tiles_and_a_broken_one_is_not(good, tmp_path):
    place, newer = tmp_path / "bundle", random_bundle(min_valid_fraction=0.8)
    write(random_bundle(), place)
    write(newer, tmp_path / "newer")
    serving = Serving(place, Chain, context_of)

    def put_broken():
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "newer", place)
        forest = place / "forests" / "all-xgboost.forest"
        forest.write_bytes(forest.read_bytes()[:-1] + b"!")
        second_tile(good)

    def put_whole():
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "newer", place)
        write_tiff(good / f"yy_{L2A_NEW}.tif", optical(seed=8), NAMES)

    plan = RunPlan(goes_on=True, reload=True)
    told = run_rounds(good, tmp_path / "out", serving, plan, [lambda: None, put_broken, put_whole])
    kinds = [type(event).__name__ for event in told if not isinstance(event, TileKnown)]
    assert [kind for kind in kinds if kind.startswith("Bundle")] == ["BundleRefused", "BundleChanged"]
    (refused,) = [event for event in told if isinstance(event, BundleRefused)]
    assert "all-xgboost.forest was changed since export" in refused.reason
    (changed,) = [event for event in told if isinstance(event, BundleChanged)]
    assert changed.sha256 == newer.sha256 == serving.context.bundle_sha256
    items = {
        tile: json.loads((tmp_path / "out" / tile / "item.json").read_text())["properties"]["lsd:bundle_sha256"]
        for tile in (L2A_NEW, f"zz_{L2A_NEW}", f"yy_{L2A_NEW}")
    }
    assert len(set(items.values())) == 2 and items[f"yy_{L2A_NEW}"] == newer.sha256
    assert items[L2A_NEW] == items[f"zz_{L2A_NEW}"]


def test_a_full_disk_is_waited_for_and_ends_with_the_same_products(good, tiny_disk, tmp_path):
    serving = fixed(random_bundle())
    run_once([good], tmp_path / "wanted", serving)
    assert f"{L2A_NEW}/scores.tif" in products(tmp_path / "wanted")
    ballast = tiny_disk / "ballast"
    told: list = []

    def tell(event):
        told.append(event)
        if isinstance(event, Paused):
            ballast.unlink()

    with Output(tiny_disk / "out") as output:
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(1024))
        run = Run(serving, output, RunPlan(patient=True), tell, threading.Event())
        run.follow(Rounds(good, [lambda: None]))
    assert next(type(event) for event in told if isinstance(event, (Paused, Resumed, TileEnded))) is Paused
    assert "free space on that disk" in told[0].reason or "free space on that disk" in told[1].reason
    assert ids(told, TileEnded) == [L2A_NEW] and any(isinstance(event, Resumed) for event in told)
    assert products(tiny_disk / "out") == products(tmp_path / "wanted")


def test_sigterm_finishes_the_tile_in_hand_and_the_next_run_does_the_rest(bundle, good, tmp_path):
    write_tiff(good / f"{L2A_NEW}.tif", optical(200, 200), NAMES)
    others = [f"zz{number}_{L2A_NEW}" for number in range(4)]  # more than can be in hand when the signal comes
    for name in others:
        write_tiff(good / f"{name}.tif", optical(140, 140, seed=3), NAMES)
    out = tmp_path / "out"
    process = start("lsd-run", bundle, good, "-o", out, "--stride", "4", "--progress", "off")
    partial = out / f".{L2A_NEW}.partial"
    deadline_s = time.monotonic() + 30
    while not partial.is_dir() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    ran = ended(process)
    assert ran.code == 0 and "SIGTERM: finishing the tiles in hand; once more stops at once" in ran.err
    assert ran.err.splitlines()[-1].startswith("STOPPED, DONE | ")
    finished = [name for name in (L2A_NEW, *others) if (out / name / "scores.tif").is_file()]
    assert L2A_NEW in finished and not (out / others[-1]).exists()
    again = invoke(main, bundle, good, "-o", out, "--stride", "4", "--json")
    totals = json.loads(again.out)["totals"]
    assert again.code == 0 and (totals["done"], totals["done_before"]) == (len(others) + 1, len(finished))


def test_a_run_on_an_output_in_use_is_refused(bundle, good, tmp_path):
    out = tmp_path / "out"
    with Output(out):
        ran = invoke(main, bundle, good, "-o", out)
    assert ran.code == 2 and f"{out} is in use by another lsd-run (process " in ran.error
    assert invoke(main, bundle, good, "-o", out).code == 0
