"""Watched folders: rounds come when tiles are whole, and `tiles_of` finds exactly these."""

from __future__ import annotations

import builtins
import logging
import shutil
import time

import pytest
from growing_folder import FeedReader, copy_slowly, copy_then_rename, ids, move_in
from safe import write_safe, zipped
from stac_items import write_catalog, write_optical_item
from tiles import L2A_NEW, L2A_OLD, optical, write_tiff

from lsd.runtime.errors import SourceError, UsageError
from lsd.runtime.feeds import wake
from lsd.runtime.feeds.settle import SettleRule
from lsd.runtime.feeds.watch import WatchedFeed

QUIET_S = 0.5
COPY_QUIET_S = 1.5  # a shared machine may stand still for a moment in the middle of a copy
POLL_S = 0.05
TIME = "2022-07-08T05:08:00Z"


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def polled(folder, **options):
    return FeedReader(WatchedFeed([folder], SettleRule(**{"quiet_s": QUIET_S, **options}), POLL_S, notify=False))


def stack(folder, name):
    return write_tiff(folder / f"{name}.tif", optical(), ["red", "green", "blue", "nir"])


def test_a_safe_copied_file_by_file_is_left_alone_until_the_last_byte(inbox, outside):
    safe = write_safe(outside)
    with polled(inbox, quiet_s=COPY_QUIET_S) as reader:
        for _ in copy_slowly(safe, inbox / safe.name):
            assert reader.is_silent(0.05)
        assert reader.told == [(inbox / safe.name,)]
        assert ids(reader.next_round()) == [L2A_NEW]
        assert reader.told[-1] == ()
        assert reader.is_silent(COPY_QUIET_S + 0.5)


def test_a_copy_beside_a_whole_tile_holds_nothing_up(inbox, outside):
    safe = write_safe(outside, L2A_OLD, baseline="02.14")
    move_in(write_safe(outside), inbox)
    with polled(inbox, quiet_s=COPY_QUIET_S) as reader:
        first = reader.next_round()
        steps = copy_slowly(safe, inbox / safe.name)
        for _, _ in zip(range(5), steps, strict=False):
            time.sleep(0.05)
        assert ids(first) == [L2A_NEW]  # begun after the round was made, and left alone all the same
        move_in(stack(outside, L2A_NEW + "_2"), inbox)
        deadline_s = time.monotonic() + 2 * COPY_QUIET_S
        for _ in steps:
            time.sleep(0.02)
        while time.monotonic() < deadline_s:
            with (inbox / safe.name / "manifest.safe").open("a") as file:
                file.write(" ")
            time.sleep(0.05)
        assert ids(reader.next_round()) == [L2A_NEW, L2A_NEW + "_2"]
        assert ids(reader.next_round()) == sorted([L2A_NEW, L2A_NEW + "_2", L2A_OLD])


def test_a_zip_is_taken_under_its_final_name_only(inbox, outside):
    archive = zipped(write_safe(outside))
    with polled(inbox) as reader:
        part = copy_then_rename(archive, inbox)
        assert reader.is_silent(2 * QUIET_S) and reader.told == [(part,)]
        part.rename(inbox / archive.name)
        assert ids(reader.next_round()) == [L2A_NEW]


def test_without_a_quiet_time_a_rename_is_the_moment(inbox, outside):
    archive = zipped(write_safe(outside))
    with polled(inbox, quiet_s=0) as reader:
        part = copy_then_rename(archive, inbox)
        assert reader.is_silent(0.3)
        renamed_s = time.monotonic()
        part.rename(inbox / archive.name)
        assert ids(reader.next_round()) == [L2A_NEW]
        assert time.monotonic() - renamed_s < 3  # measured .1 s; a shared machine is given more


def test_a_marker_is_the_moment_for_a_copied_safe(inbox, outside):
    safe = write_safe(outside)
    with polled(inbox, done_suffix=".done") as reader:
        for _ in copy_slowly(safe, inbox / safe.name):
            pass
        assert reader.is_silent(2 * QUIET_S)  # quiet is no proof here
        (inbox / f"{safe.name}.done").touch()
        assert ids(reader.next_round()) == [L2A_NEW]
        assert reader.is_silent(0.3)


def test_a_stac_item_and_a_catalog_folder_moved_in(inbox, outside):
    write_optical_item(outside / "item", "S2_a", TIME)
    write_optical_item(outside / "catalog" / "items", "S2_b", TIME)
    write_optical_item(outside / "catalog" / "items", "S2_c", TIME)
    write_catalog(outside / "catalog" / "catalog.json", item=["./items/S2_b.json", "./items/S2_c.json"])
    # an item's files lie apart: a folder with both would show them twice
    shutil.move(outside / "item" / "S2_a", outside / "S2_a_files")
    item = outside / "item" / "S2_a.json"
    item.write_text(item.read_text().replace("./S2_a/", f"{outside}/S2_a_files/"))
    with polled(inbox) as reader:
        move_in(item, inbox)
        assert ids(reader.next_round()) == ["S2_a"]
        move_in(outside / "catalog", inbox)
        assert ids(reader.next_round()) == ["S2_a", "S2_b", "S2_c"]


def test_a_changed_tile_and_a_removed_one_give_a_round_each(inbox, outside):
    for name in (L2A_NEW, L2A_NEW + "_2"):
        move_in(stack(outside, name), inbox)
    with polled(inbox) as reader:
        assert ids(reader.next_round()) == [L2A_NEW, L2A_NEW + "_2"]
        write_tiff(inbox / f"{L2A_NEW}.tif", optical(seed=7, height=96), ["red", "green", "blue", "nir"])
        assert ids(reader.next_round()) == [L2A_NEW, L2A_NEW + "_2"]
        assert reader.told[-2:] == [(inbox / f"{L2A_NEW}.tif",), ()]
        (inbox / f"{L2A_NEW}.tif").unlink()
        assert ids(reader.next_round()) == [L2A_NEW + "_2"]
        (inbox / f"{L2A_NEW}_2.tif").unlink()
        assert reader.is_silent(2 * QUIET_S)  # an empty folder is nothing to look into


def test_an_empty_folder_and_a_readme_are_no_failure(inbox):
    (inbox / "README.txt").write_text("tiles go here")
    with polled(inbox) as reader:
        assert reader.is_silent(2 * QUIET_S) and reader.told == []


def test_two_folders_of_which_one_is_empty(inbox, outside):
    move_in(stack(outside, L2A_NEW), inbox)
    with FeedReader(WatchedFeed([inbox, outside], SettleRule(0), POLL_S, notify=False)) as reader:
        found = reader.next_round()
        assert found.sources == (inbox,) and ids(found) == [L2A_NEW]


@pytest.mark.parametrize("notify", [True, False])
def test_stop_is_heard_soon_though_nothing_moves(inbox, notify):
    reader = FeedReader(WatchedFeed([inbox], SettleRule(), 60.0, notify))
    with reader:
        time.sleep(0.5)
        stopped_s = time.monotonic()
        reader.stop.set()
        assert reader.next_round() is None
        assert time.monotonic() - stopped_s < 1


def test_the_system_tells_of_changes_long_before_the_next_look(inbox, outside):
    archive = zipped(write_safe(outside))
    with FeedReader(WatchedFeed([inbox], SettleRule(0), 60.0, notify=True)) as reader:
        time.sleep(1.0)
        move_in(archive, inbox)
        moved_s = time.monotonic()
        assert ids(reader.next_round()) == [L2A_NEW]
        assert time.monotonic() - moved_s < 10
    with FeedReader(WatchedFeed([inbox], SettleRule(0), 60.0, notify=False)) as reader:
        reader.next_round()
        time.sleep(0.5)  # it looks again after a round
        shutil.copy(inbox / archive.name, inbox / "again.zip")
        assert reader.is_silent(2.0)  # without it nobody tells


def test_without_the_extra_it_polls_and_says_so_once(inbox, outside, monkeypatch, caplog):
    plain = builtins.__import__

    def refuse(name, *arguments):
        if name == "watchfiles":
            raise ImportError(name)
        return plain(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    caplog.set_level(logging.WARNING)
    with FeedReader(WatchedFeed([inbox], SettleRule(0), POLL_S, notify=True)) as reader:
        move_in(stack(outside, L2A_NEW), inbox)
        assert ids(reader.next_round()) == [L2A_NEW]
    assert [record.message for record in caplog.records if "lsd-edge[watch]" in record.message] == [
        "watching by looking again and again; pip install 'lsd-edge[watch]' to be told of changes at once"
    ]


def test_a_watcher_that_fails_is_replaced_by_looks(inbox, outside, monkeypatch, caplog):
    def fails(*_):
        yield set()
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(wake, "_changes", fails)
    with FeedReader(WatchedFeed([inbox], SettleRule(0), 0.5, notify=True)) as reader:
        time.sleep(1.0)
        move_in(stack(outside, L2A_NEW), inbox)
        assert ids(reader.next_round()) == [L2A_NEW]
    assert len([record for record in caplog.records if "limit reached" in record.message]) == 1


def test_a_folder_that_goes_away_and_comes_back_ends_nothing(inbox, outside):
    move_in(stack(outside, L2A_NEW), inbox)
    with polled(inbox) as reader:
        assert ids(reader.next_round()) == [L2A_NEW]
        inbox.rename(outside / "away")
        assert reader.is_silent(0.3)
        stack(outside / "away", L2A_NEW + "_2")
        (outside / "away").rename(inbox)
        assert ids(reader.next_round()) == [L2A_NEW, L2A_NEW + "_2"]


def test_what_cannot_be_watched(tmp_path):
    (tmp_path / "file.tif").touch()
    for path in (tmp_path / "missing", tmp_path / "file.tif"):
        with FeedReader(WatchedFeed([path], SettleRule())) as reader, pytest.raises(SourceError, match="is no folder"):
            reader.next_round()
    with pytest.raises(UsageError, match="poll_s should be"):
        WatchedFeed([tmp_path], SettleRule(), 0)
