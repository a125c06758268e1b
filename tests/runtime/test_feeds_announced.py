"""Feeds that are told what to take: once, by a list, by lines on a stream; and the options that choose among them."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from growing_folder import FeedReader, ids
from safe import write_safe
from tiles import L2A_OLD, optical, write_tiff

from lsd.runtime.cli.feed_options import feed_of, feed_options
from lsd.runtime.errors import LsdError, SourceError, UsageError
from lsd.runtime.feeds.announcement import MAX_BYTES
from lsd.runtime.feeds.lines import LinesFeed
from lsd.runtime.feeds.listed import ListedFeed
from lsd.runtime.feeds.once import OnceFeed
from lsd.runtime.feeds.settle import SettleRule
from lsd.runtime.feeds.watch import WatchedFeed


def rounds(feed):
    return list(feed.rounds(threading.Event(), lambda _: None))


def stack(path):
    return write_tiff(path, optical(), ["red", "green", "blue", "nir"])


def test_once_is_one_round_without_what_bears_a_temporary_name(tmp_path):
    safe = write_safe(tmp_path)
    stack(tmp_path / f"{L2A_OLD}.tmp" / f"{L2A_OLD}.tif")
    (tmp_path / ".hidden.json").write_text("{}")
    told = []
    (one,) = OnceFeed([tmp_path]).rounds(threading.Event(), told.append)
    assert one.sources == (tmp_path,) and ids(one) == [safe.name.removesuffix(".SAFE")]
    assert told == [(tmp_path / f"{L2A_OLD}.tmp",)]
    named = tmp_path / f"{L2A_OLD}.tmp"  # what the user names is looked into
    for sources in ([named], [named / f"{L2A_OLD}.tif"], [tmp_path / safe.name, named, named / f"{L2A_OLD}.tif"]):
        (one,) = rounds(OnceFeed(sources))
        assert L2A_OLD in ids(one)
    (one,) = rounds(OnceFeed([tmp_path, named]))
    assert ids(one) == [L2A_OLD, safe.name.removesuffix(".SAFE")]


def test_a_list_is_one_round_of_paths_relative_to_it(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists" / "tiles.txt"
    listed.write_text(f"# tiles of today\n\n  ../a b  \r\n{tmp_path / 'c'}\n")
    (one,) = rounds(ListedFeed(listed))
    assert [path.resolve() for path in one.sources] == [tmp_path / "a b", tmp_path / "c"] and not one.left_alone


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"# none\n", "names no path"), (b"ok\n\nmissing\n", "line 3: .*missing does not exist"), (b"\xff\n", "UTF-8")],
)
def test_a_list_that_makes_no_sense(tmp_path, content, text):
    (tmp_path / "ok").mkdir()
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(LsdError, match=text):
        rounds(ListedFeed(tmp_path / "list.txt"))


def test_a_missing_list(tmp_path):
    with pytest.raises(SourceError, match=r"list .*list\.txt cannot be read"):
        rounds(ListedFeed(tmp_path / "list.txt"))


def test_each_line_is_a_round_and_a_bad_one_is_refused_by_its_number(tmp_path):
    for name in ("a", "b é"):
        (tmp_path / name).mkdir()
    lines = [
        str(tmp_path / "a"),
        "",
        json.dumps({"path": str(tmp_path / "b é")}),
        '{"path": ',
        '{"pth": "x"}',
        '{"path": 3}',
        str(tmp_path / "missing"),
        "x" * (MAX_BYTES + 1),
        "n" * 5000,
        "\0",
        json.dumps(str(tmp_path / "a")),
        "{}",
    ]
    content = "\n".join(lines).encode() + b"\n\xff\n" + str(tmp_path / "b é").encode()
    refused = {}
    feed = LinesFeed(io.BytesIO(content), refused.__setitem__)
    assert [one.sources for one in rounds(feed)] == [(tmp_path / name,) for name in ("a", "b é", "a", "b é")]
    expected = {
        4: "malformed JSON",
        5: "unknown key 'pth', did you mean 'path'?",
        6: "expected",
        7: "missing does not exist",
        8: f"at most {MAX_BYTES} bytes",
        9: "does not exist",
        10: "expected a path",
        12: "expected",
        13: "UTF-8",
    }
    assert sorted(refused) == sorted(expected)
    assert [text for number, text in expected.items() if text not in refused[number]] == []
    assert all("\n" not in reason for reason in refused.values())


def test_lines_come_as_rounds_while_the_writer_goes_on(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    read, write = os.pipe()
    stream, writer = os.fdopen(read, "rb"), os.fdopen(write, "wb", buffering=0)
    with stream, writer, FeedReader(LinesFeed(stream)) as reader:
        line = f"{tmp_path / 'a'}\n".encode()
        writer.write(line[:5])
        assert reader.is_silent(0.5)
        writer.write(line[5:])
        assert reader.next_round().sources == (tmp_path / "a",)
        writer.write(f"{tmp_path / 'b'}".encode())
        writer.close()  # the last line may lack its end
        assert reader.next_round().sources == (tmp_path / "b",)
        assert reader.next_round() is None


def test_stop_is_heard_though_a_read_blocks():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb"), FeedReader(LinesFeed(stream)) as reader:
        time.sleep(0.3)
        stopped_s = time.monotonic()
        reader.stop.set()
        assert reader.next_round() is None
        assert time.monotonic() - stopped_s < 1


def test_an_endless_line_does_not_fill_the_memory(tmp_path):
    (tmp_path / "a").mkdir()
    refused = []
    with (tmp_path / "endless").open("w+b") as stream:
        stream.seek(2**28)
        stream.write(f"\n{tmp_path / 'a'}\n".encode())
        stream.seek(0)
        tracemalloc.start()
        found = rounds(LinesFeed(stream, lambda number, _: refused.append(number)))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert [one.sources for one in found] == [(tmp_path / "a",)] and refused == [1]
    assert peak_bytes < 2**21


# --- options ---------------------------------------------------------------------------------------------------------


def chosen(*arguments):
    """What a command with these arguments would feed on."""
    feeds = []

    @click.command()
    @click.argument("sources", nargs=-1, type=click.Path(path_type=Path))
    @feed_options
    def command(sources, **flags):
        feeds.append(feed_of(sources, flags))

    result = CliRunner().invoke(command, arguments)
    if result.exception is not None:
        raise result.exception
    return feeds[0]


def test_options_choose_the_feed(tmp_path):
    once = chosen("a", "b")
    assert isinstance(once, OnceFeed) and once.paths == (Path("a"), Path("b"))
    listed = chosen("--list", "x.txt")
    assert isinstance(listed, ListedFeed) and listed.file == Path("x.txt")
    assert isinstance(chosen("-"), LinesFeed)
    plain = chosen("--watch", "a")
    assert isinstance(plain, WatchedFeed)
    assert (plain.folders, plain.settle, plain.poll_s, plain.notify) == ((Path("a"),), SettleRule(10.0), 5.0, True)
    told = chosen("--watch", "a", "--quiet-s", "0", "--poll-s", "2", "--done-suffix", ".done", "--no-notify")
    assert isinstance(told, WatchedFeed)
    assert (told.settle, told.poll_s, told.notify) == (SettleRule(0.0, ".done"), 2.0, False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "no source is given"),
        (("a", "-"), "- and SOURCE are given"),
        (("a", "--list", "x"), "--list and SOURCE are given"),
        (("-", "--watch"), "--watch watches folders, and - is given"),
        (("--list", "x", "--watch"), "and --list is given"),
        (("a", "--quiet-s", "0"), "--quiet-s is for watched folders"),
        (("a", "--poll-s", "1"), "--poll-s is for"),
        (("a", "--done-suffix", ".done"), "--done-suffix is for"),
        (("a", "--no-notify"), "--no-notify is for"),
        (("a", "--watch", "--quiet-s", "-1"), "quiet_s should be"),
        (("--mqtt", "http://host/topic"), "expected mqtt://"),
    ],
)
def test_options_that_contradict_each_other(arguments, text):
    with pytest.raises(UsageError, match=text):
        chosen(*arguments)


def test_false_in_a_configuration_is_no_wish():
    assert isinstance(feed_of([Path("a")], {"watch": False, "no_notify": False}), OnceFeed)
    with pytest.raises(UsageError, match="--quiet-s is for"):
        feed_of([Path("a")], {"watch": False, "quiet_s": 0.0})


def test_stdin_is_read_as_lines(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    stream = io.TextIOWrapper(io.BytesIO(f"{tmp_path / 'a'}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert [one.sources for one in rounds(feed_of([Path("-")], {}))] == [(tmp_path / "a",)]
