"""The options that say where tiles come from over time, and the feed that they ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lsd.runtime.errors import UsageError

if TYPE_CHECKING:
    from lsd.runtime.feeds.base import Feed

STDIN = "-"
Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--watch",
        is_flag=True,
        default=None,
        help="Go on until stopped: SOURCEs are folders, whose tiles are taken as they arrive.",
    ),
    click.option(
        "--quiet-s",
        type=float,
        help="With --watch: seconds without a change after which a file or folder is whole; 0 if writers rename what "
        "is whole.  [default: 10]",
    ),
    click.option("--poll-s", type=float, help="With --watch: seconds between two looks, at most.  [default: 5]"),
    click.option(
        "--done-suffix",
        help="With --watch: a file or folder is whole when NAME + this suffix lies beside it, or a file that ends in "
        "it lies in it (.done).",
    ),
    click.option(
        "--no-notify",
        is_flag=True,
        default=None,
        help="With --watch: only look again and again, do not ask the system to tell of changes.",
    ),
    click.option(
        "--list",
        "list_file",
        type=click.Path(path_type=Path),
        help="Text file with one SOURCE a line, relative to its folder; in place of SOURCEs.",
    ),
    click.option(
        "--mqtt",
        metavar="URL",
        help="mqtt://[USER@]HOST[:PORT]/TOPIC that announces tiles; in place of SOURCEs. Go on until stopped.",
    ),
)


def feed_options(function: Function) -> Function:
    """Add the options; the command hands its sources and flags to `feed_of`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def feed_of(sources: Sequence[Path], flags: Mapping[str, Any]) -> Feed:
    """The feed that sources and flags ask for; None or a missing key stands for a default.

    Args:
        sources: as given; `-` alone means lines on stdin.
        flags: `watch`, `quiet_s`, `poll_s`, `done_suffix`, `no_notify`, `list_file`, `mqtt`.
    Raises:
        UsageError: options that contradict each other or the sources, or no source at all.
    """

    def given(key: str, default: Any = None) -> Any:
        value = flags.get(key)
        return default if value is None else value

    is_stdin = STDIN in map(str, sources)
    ways = {
        "--list": given("list_file") is not None,
        "--mqtt": given("mqtt") is not None,
        "-": is_stdin,
        "SOURCE": any(str(source) != STDIN for source in sources),
    }
    chosen = [name for name, wanted in ways.items() if wanted]
    if not chosen:
        raise UsageError("no source is given; give a SOURCE, - for lines on stdin, --list FILE or --mqtt URL")
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are given; tiles come from one of them: leave the others out")
    if not given("watch"):
        for key in ("quiet_s", "poll_s", "done_suffix", "no_notify"):
            if flags.get(key) is not None and flags[key] is not False:
                raise UsageError(f"--{key.replace('_', '-')} is for watched folders; add --watch, or leave it out")
    elif chosen != ["SOURCE"]:
        raise UsageError(f"--watch watches folders, and {chosen[0]} is given; leave one of them out")
    if ways["--list"]:
        from lsd.runtime.feeds.listed import ListedFeed

        return ListedFeed(Path(given("list_file")))
    if ways["--mqtt"]:
        from lsd.runtime.feeds.mqtt import MqttFeed

        return MqttFeed(given("mqtt"))
    if is_stdin:
        from lsd.runtime.feeds.lines import LinesFeed

        return LinesFeed(sys.stdin.buffer)
    if given("watch"):
        from lsd.runtime.feeds.settle import SettleRule
        from lsd.runtime.feeds.watch import WatchedFeed

        rule = SettleRule(given("quiet_s", 10.0), given("done_suffix"))
        return WatchedFeed(sources, rule, given("poll_s", 5.0), not given("no_notify", False))
    from lsd.runtime.feeds.once import OnceFeed

    return OnceFeed(sources)
