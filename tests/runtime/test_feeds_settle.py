"""When an entry of a watched folder has settled: names, markers, quiet; never by this machine's wall clock."""

from __future__ import annotations

import dataclasses
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsd.runtime.errors import UsageError
from lsd.runtime.feeds import settle
from lsd.runtime.feeds.entry import state_of
from lsd.runtime.feeds.settle import SettleRule, Settling


class Clock:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def names(paths):
    return sorted(path.name for path in paths)


def look(settling, folder, clock, after_s=0.0):
    clock.now_s += after_s
    return settling.look([folder])


def test_an_entry_settles_when_nothing_moved_for_the_quiet_time(tmp_path, clock):
    settling = Settling(SettleRule(10), clock)
    (tmp_path / "a.tif").write_bytes(b"half")
    first = look(settling, tmp_path, clock)
    assert first.waiting == (tmp_path / "a.tif",) and not first.tiles and first.due_s == 10
    assert look(settling, tmp_path, clock, 9).due_s == 1
    (tmp_path / "a.tif").write_bytes(b"whole now")
    assert look(settling, tmp_path, clock, 2).due_s == 10  # it moved: the time begins again
    assert names(look(settling, tmp_path, clock, 9.9).unsettled) == ["a.tif"]
    last = look(settling, tmp_path, clock, 0.1)
    assert names(last.tiles) == names(last.settled) == ["a.tif"]
    assert not last.unsettled and not last.waiting and last.due_s is None and last.folders == (tmp_path,)


@pytest.mark.parametrize(
    "move",
    [
        lambda file: os.utime(file, ns=(1, 1)),
        lambda file: file.write_bytes(b"longer than it was"),
        lambda file: file.rename(file.with_name("other.tif")),
        lambda file: file.unlink(),
        lambda file: (file.parent / "new").mkdir(),
        lambda file: file.with_name("more.tif").write_bytes(b""),
    ],
    ids=["time", "size", "name", "gone", "folder", "more"],
)
def test_whatever_moves_anywhere_in_a_folder_counts(tmp_path, clock, move):
    inner = tmp_path / "in" / "S.SAFE" / "deep" / "deeper" / "B02.tif"
    inner.parent.mkdir(parents=True)
    inner.write_bytes(b"pixels")
    settling = Settling(SettleRule(10), clock)
    look(settling, tmp_path / "in", clock)
    assert names(look(settling, tmp_path / "in", clock, 10).settled) == ["S.SAFE"]
    move(inner)
    assert not look(settling, tmp_path / "in", clock, 100).settled
    assert names(look(settling, tmp_path / "in", clock, 10).settled) == ["S.SAFE"]


@pytest.mark.parametrize("year_s", [0, 2**31, 2**33])
def test_times_of_other_clocks_mean_nothing(tmp_path, clock, year_s):
    (tmp_path / "camera.tif").write_bytes(b"pixels")
    os.utime(tmp_path / "camera.tif", (year_s, year_s))
    settling = Settling(SettleRule(10), clock)
    assert not look(settling, tmp_path, clock).settled
    assert not look(settling, tmp_path, clock, 9).settled
    assert names(look(settling, tmp_path, clock, 1).settled) == ["camera.tif"]


def test_a_restart_over_old_tiles_waits_a_second_only_and_leaves_a_copy_alone(tmp_path, clock, monkeypatch):
    for name in ("old.tif", "copying.tif", "stalled.tif"):
        (tmp_path / name).write_bytes(b"pixels")
    ages_s = {"old.tif": 3600, "copying.tif": 0, "stalled.tif": 290}  # by the clock of the file system

    def aged(path, done_suffix=None):
        return dataclasses.replace(state_of(path, done_suffix), changed_ns=10**18 - ages_s[path.name] * 10**9)

    monkeypatch.setattr(settle, "state_of", aged)
    settling = Settling(SettleRule(300), clock)
    assert not look(settling, tmp_path, clock).settled  # no file is believed at first sight
    assert names(look(settling, tmp_path, clock, settle.START_QUIET_S).settled) == ["old.tif"]
    assert names(look(settling, tmp_path, clock, 290).settled) == ["old.tif"]
    assert names(look(settling, tmp_path, clock, 9).settled) == ["copying.tif", "old.tif", "stalled.tif"]


def test_an_old_looking_copy_that_moves_is_left_alone_at_the_start_too(tmp_path, clock, monkeypatch):
    (tmp_path / "new.tif").write_bytes(b"pixels")
    (tmp_path / "copying.tif").write_bytes(b"pix")
    ages_s = {"new.tif": 0, "copying.tif": 10**6}  # the clock was set in between

    def aged(path, done_suffix=None):
        return dataclasses.replace(state_of(path, done_suffix), changed_ns=10**18 - ages_s[path.name] * 10**9)

    monkeypatch.setattr(settle, "state_of", aged)
    settling = Settling(SettleRule(5), clock)
    look(settling, tmp_path, clock)
    (tmp_path / "copying.tif").write_bytes(b"pixels")
    assert not look(settling, tmp_path, clock, 1).settled
    assert not look(settling, tmp_path, clock, 3).settled  # and has to be quiet for the whole time then
    assert names(look(settling, tmp_path, clock, 2).settled) == ["copying.tif", "new.tif"]


def test_without_a_quiet_time_a_final_name_is_enough(tmp_path, clock):
    (tmp_path / "a.zip").write_bytes(b"zip")
    (tmp_path / "b.zip.part").write_bytes(b"z")
    found = look(Settling(SettleRule(0), clock), tmp_path, clock)
    assert names(found.settled) == ["a.zip"] and names(found.waiting) == ["b.zip.part"]


@pytest.mark.parametrize(
    "name",
    [".a.tif", "a.tif.part", "a.PARTIAL", "a.tmp", "a.temp", "a.crdownload", "a.filepart", "a.download", "a.tif~"],
)
def test_temporary_names_never_settle_alone_or_in_a_folder(tmp_path, clock, name):
    (tmp_path / name).write_bytes(b"pixels")
    (tmp_path / "S.SAFE").mkdir()
    (tmp_path / "S.SAFE" / name).write_bytes(b"pixels")
    (tmp_path / "S.SAFE" / "B02.tif").write_bytes(b"pixels")
    settling = Settling(SettleRule(1), clock)
    look(settling, tmp_path, clock)
    found = look(settling, tmp_path, clock, 1000)
    assert not found.settled and names(found.unsettled) == sorted([name, "S.SAFE"]) and found.due_s is None
    (tmp_path / "S.SAFE" / name).rename(tmp_path / "S.SAFE" / "B03.tif")
    look(settling, tmp_path, clock)
    assert names(look(settling, tmp_path, clock, 1).settled) == ["S.SAFE"]


def test_what_finder_leaves_in_a_folder_holds_nothing_up(tmp_path, clock):
    (tmp_path / "S.SAFE").mkdir()
    for name in (".DS_Store", "._B02.tif", "B02.tif"):
        (tmp_path / "S.SAFE" / name).write_bytes(b"pixels")
    settling = Settling(SettleRule(1), clock)
    look(settling, tmp_path, clock)
    assert names(look(settling, tmp_path, clock, 1).settled) == ["S.SAFE"]


def test_a_marker_beside_or_inside_settles_at_once_and_nothing_else_does(tmp_path, clock):
    for name in ("beside.tif", "bare.tif"):
        (tmp_path / name).write_bytes(b"pixels")
    for name in ("inside", "deep", "beside_folder"):
        (tmp_path / name / "x").mkdir(parents=True)
        (tmp_path / name / "B02.tif").write_bytes(b"pixels")
    for marker in ("beside.tif.done", "inside/.done", "deep/x/all.done", "beside_folder.done"):
        (tmp_path / marker).write_bytes(b"")
    settling = Settling(SettleRule(0, ".done"), clock)
    assert names(look(settling, tmp_path, clock).settled) == ["beside.tif", "beside_folder", "inside"]
    found = look(settling, tmp_path, clock, 10**6)
    assert names(found.settled) == ["beside.tif", "beside_folder", "inside"]
    assert names(found.waiting) == ["bare.tif", "deep"] and found.due_s is None  # a marker is neither
    (tmp_path / "inside" / "more.part").write_bytes(b"")
    assert names(look(settling, tmp_path, clock).settled) == ["beside.tif", "beside_folder"]


def test_what_cannot_be_a_tile_is_not_worth_a_round(tmp_path, clock):
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "empty").mkdir()
    found = look(Settling(SettleRule(0), clock), tmp_path, clock)
    assert names(found.settled) == ["README.txt", "empty"] and not found.tiles and not found.folders
    assert not look(Settling(SettleRule(9), clock), tmp_path, clock).waiting


def test_a_folder_out_of_reach_keeps_what_it_had_and_is_told_once(tmp_path, clock, caplog):
    place, other = tmp_path / "mount", tmp_path / "other"
    for folder in (place, other):
        folder.mkdir()
        (folder / "a.tif").write_bytes(b"pixels")
    settling = Settling(SettleRule(0), clock)
    before = settling.look([place, other])
    place.rename(tmp_path / "away")
    for _ in range(3):
        found = settling.look([place, other])
        assert found.tiles == before.tiles and found.folders == (other,)
    (tmp_path / "away").rename(place)
    again = settling.look([place, other])
    assert again.tiles == before.tiles and again.folders == (place, other)
    assert [record.message.split("(")[0].strip() for record in caplog.records] == [
        f"{place} cannot be listed now",
        f"{place} can be listed again",
    ]


def test_an_entry_that_vanishes_is_gone(tmp_path, clock):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "B02.tif").write_bytes(b"pixels")
    settling = Settling(SettleRule(0), clock)
    assert look(settling, tmp_path, clock).tiles
    shutil.rmtree(tmp_path / "a")
    found = look(settling, tmp_path, clock)
    assert not found.tiles and not found.settled and not found.unsettled


def test_links_count_by_what_they_lead_to(tmp_path, clock):
    (tmp_path / "real.tif").write_bytes(b"pix")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.tif").symlink_to(tmp_path / "real.tif")
    (tmp_path / "in" / "nowhere.tif").symlink_to(tmp_path / "missing.tif")
    settling = Settling(SettleRule(5), clock)
    look(settling, tmp_path / "in", clock)
    (tmp_path / "real.tif").write_bytes(b"pixels")
    found = look(settling, tmp_path / "in", clock, 5)
    assert names(found.unsettled) == ["link.tif", "nowhere.tif"]
    assert names(look(settling, tmp_path / "in", clock, 5).settled) == ["link.tif"]


@given(st.lists(st.tuples(st.sampled_from(["write", "look"]), st.integers(0, 16)), max_size=30))
def test_nothing_settles_within_the_quiet_time_after_a_write_and_all_settles_at_last(tmp_path_factory, steps):
    folder, clock, size, written_s = tmp_path_factory.mktemp("grows"), Clock(), 1, 1000.0
    file = folder / "a.tif"
    file.write_bytes(b"x")
    settling = Settling(SettleRule(5), clock)
    for what, quarters in steps:
        clock.now_s += quarters / 4
        if what == "write":
            size, written_s = size + 1, clock.now_s
            file.write_bytes(b"x" * size)
        else:
            found = settling.look([folder])
            assert not found.settled or clock.now_s - written_s >= 5
    settling.look([folder])
    clock.now_s += 5
    assert names(settling.look([folder]).settled) == ["a.tif"]


@pytest.mark.parametrize("rule", [{"quiet_s": -1}, {"quiet_s": float("nan")}, {"done_suffix": ""}])
def test_rules_without_a_meaning_are_refused(rule):
    with pytest.raises(UsageError, match="should be"):
        SettleRule(**rule)


@pytest.mark.parametrize("suffix", ["a/b", ".zip", ".ok.json"])
def test_a_marker_is_no_tile(suffix):
    with pytest.raises(UsageError, match=r"such as \.done"):
        SettleRule(done_suffix=suffix)
