"""Several tiles in hand at a time: together at the encoders, apart in everything that a reader sees."""

from __future__ import annotations

import shutil
import threading

import pytest
from cascades import cascade_bundle
from single_run import fixed, products, run_once
from tiles import L2A_NEW, optical, radar, write_band_folder

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain
from lsd.runtime.encoders import Encoder, EncoderOptions
from lsd.runtime.errors import BackendError
from lsd.runtime.feeds.once import OnceFeed
from lsd.runtime.run import Run, RunPlan
from lsd.runtime.scoring import ScoringOptions
from lsd.runtime.stream.events import Queued, TileBegun, TileEnded
from lsd.runtime.stream.output import Output

pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="asks the encoders")

BUNDLE = cascade_bundle()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Five tiles of 12 bands, 64 x 128 px: two patches each."""
    source = tmp_path_factory.mktemp("tiles")
    for number in range(5):
        folder = source / L2A_NEW.replace("T33", f"T3{number + 3}")
        write_band_folder(folder, dict(zip(("B04", "B03", "B02", "B08"), optical(64, 128, seed=number), strict=True)))
        for place in range(4, 12, 2):
            db = radar(64, 128, seed=10 * number + place)
            write_band_folder(folder, dict(zip(BAND_NAMES[place : place + 2], db, strict=True)), nodata=0)
    return sorted(source.iterdir())


def serving(batch_size=8):
    return fixed(BUNDLE, Chain(BUNDLE, exits="off", encoders=EncoderOptions(batch_size=batch_size)))


def ended(told):
    return [event.result for event in told if isinstance(event, TileEnded)]


def test_tiles_share_the_batches_of_the_encoders_and_give_the_same_bytes(tiles, tmp_path, monkeypatch):
    asked, original = [], Encoder.logits
    answers = serving()
    first = next(iter(answers.chain.encoders.values()))

    def counted(self, patches, bands):
        if self is first:
            asked.append(len(patches))
        return original(self, patches, bands)

    monkeypatch.setattr(Encoder, "logits", counted)
    told = run_once(tiles, tmp_path / "together", answers)
    assert [one.status for one in ended(told)] == ["done"] * 5
    assert asked == [8, 2]
    begun = [event.tile_id for event in told if isinstance(event, TileBegun)]
    assert [one.id for one in ended(told)] == begun
    depths = [event.depths for event in told if isinstance(event, Queued)]
    assert max(one["undecided"] for one in depths) == 6 and depths[-1] == {"undecided": 0, "write": 0}
    asked.clear()
    at_once = RunPlan(scoring=ScoringOptions(waiting_s=0.0))
    run_once(tiles, tmp_path / "apart", answers, at_once)
    assert asked == [2] * 5
    one_by_one = {}
    for tile in tiles:
        run_once([tile], tmp_path / tile.name, answers)
        one_by_one |= products(tmp_path / tile.name)
    assert products(tmp_path / "together") == products(tmp_path / "apart") == one_by_one


def test_a_bad_tile_takes_nothing_of_its_neighbours_along(tiles, tmp_path):
    """One file of the third tile ends early: what of it waits is dropped, the others are as they were."""
    source = tmp_path / "in"
    for tile in tiles:
        shutil.copytree(tile, source / tile.name)
    broken = next((source / tiles[2].name).glob("*asc_vh*"))
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    told = run_once(sorted(source.iterdir()), tmp_path / "out", serving())
    assert sorted(one.status for one in ended(told)) == ["done"] * 4 + ["failed"]
    run_once([*tiles[:2], *tiles[3:]], tmp_path / "good", serving())
    assert products(tmp_path / "out") == products(tmp_path / "good")


def test_where_the_encoders_fail_the_tiles_that_asked_them_fail(tiles, tmp_path, monkeypatch):
    original, calls = Encoder.logits, []

    def failing(self, patches, bands):
        calls.append(len(patches))
        if len(calls) == 1:
            raise BackendError("out of memory")
        return original(self, patches, bands)

    monkeypatch.setattr(Encoder, "logits", failing)
    told = run_once(tiles, tmp_path / "out", serving(batch_size=4))
    assert [(one.status, one.error) for one in ended(told)[:2]] == [("failed", "out of memory")] * 2
    assert [one.status for one in ended(told)[2:]] == ["done"] * 3


def test_a_tile_that_was_begun_before_ends_before_the_next_begins(tiles, tmp_path):
    """It, or the next, may be what ended the process: neither is to count for the other."""
    answers, out, begun = serving(), tmp_path / "out", []

    class Killed(BaseException):
        pass

    def dies(event):
        if isinstance(event, TileBegun):
            begun.append(event.tile_id)
            if len(begun) == 3:
                raise Killed

    with Output(out) as output, pytest.raises(Killed):
        Run(answers, output, RunPlan(), dies, threading.Event()).follow(OnceFeed(tiles))
    assert products(out) == {}
    again = [event for event in run_once(tiles, out, answers) if isinstance(event, TileBegun | TileEnded)]
    names = [type(event).__name__ for event in again]
    assert names == ["TileBegun", "TileEnded"] * 3 + ["TileBegun"] * 2 + ["TileEnded"] * 2
    run_once(tiles, tmp_path / "at once", answers)
    assert products(out) == products(tmp_path / "at once")
