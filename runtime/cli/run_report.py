"""What lsd-run tells about a run: progress and trouble as they come, summary and page on disk, a table at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from lsd.runtime.progress import Progress
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.summary import RunSummary
from lsd.runtime.stream.events import (
    BundleChanged,
    BundleRefused,
    Drifted,
    Event,
    Paused,
    Resumed,
    Stopping,
    TileEnded,
    TileKnown,
)

SUMMARY_NAME = "summary.json"
PAGE_NAME = "index.html"
_SPARING = 10  # times as long as the last writing took, between two of them


class RunReport:
    """Listens to a run; for the thread of the run, but that `Stopping` may come from another."""

    def __init__(
        self,
        output: Path,
        options: Mapping[str, Any],
        shown: Progress,
        quiet: int,
        state: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """What the report needs to know of the run.

        Args:
            options: the resolved configuration, for the summary. quiet: as counted from -q. state: what a run that goes
                on does right now, for its page; None for a run with an end.
        """
        self.summary = RunSummary()
        self._output, self._options, self._shown, self._quiet, self._state = output, options, shown, quiet, state
        self._written_s, self._writing_s = -math.inf, 0.0

    def __call__(self, event: Event) -> None:
        """Take note of what happened."""
        if isinstance(event, TileEnded):
            self.summary.add(event.result)
            self._shown.advance(1, event.result.id)
        elif isinstance(event, TileKnown):
            self.summary.add(event.result, known=True)
            self._shown.skip(1)
        elif isinstance(event, Paused):
            self._say(f"paused: {event.reason}")
        elif isinstance(event, Resumed):
            self._say(f"resumed after {event.waited_s:.0f} s")
        elif isinstance(event, BundleChanged):
            self._say(f"bundle: {event.name} ({event.sha256[:12]}) answers from here on")
        elif isinstance(event, BundleRefused):
            self._say(f"newer bundle refused, the one in use stays: {event.reason}")
        elif isinstance(event, Drifted):
            for line in event.warnings:
                self._say(f"look: {line}")
        elif isinstance(event, Stopping):
            self._say(f"{event.reason}: finishing the tiles in hand; once more stops at once")

    def _say(self, line: str) -> None:
        if self._quiet < 2:
            click.echo(line, err=True)

    def write(self, context: RunContext) -> None:
        """Summary, collection and page of what was done so far.

        Raises:
            OutputError: a file cannot be written.
        """
        from lsd.runtime.sinks.page.run_page import write_run_page  # after the first patch: a tenth of the start
        from lsd.runtime.sinks.stac import COLLECTION_NAME, write_collection

        begun_s = time.monotonic()
        self.write_summary(context)
        write_collection(self._output / COLLECTION_NAME)
        state = None if self._state is None else self._state()
        write_run_page(self._output / PAGE_NAME, self.summary.tiles, context, self._options, self._output, state)
        self._written_s = time.monotonic()
        self._writing_s = self._written_s - begun_s

    def write_if_cheap(self, context: RunContext) -> None:
        """As `write`, unless that would take more than a tenth of the time: the page reads the scores of every tile."""
        if time.monotonic() - self._written_s >= _SPARING * self._writing_s:
            self.write(context)

    def write_summary(self, context: RunContext) -> None:
        """The summary alone.

        Raises:
            OutputError: it cannot be written.
        """
        self.summary.write(self._output / SUMMARY_NAME, context, self._options)

    def tell_people(self) -> None:
        """The table, on stdout."""
        from lsd.runtime.sinks.products import PRODUCTS

        click.echo("\n".join([self.summary.table(), *self.summary.looks()]))
        files = f"{self._output}/TILE/{{{', '.join(PRODUCTS.values())}}}"
        click.echo(f"products: {files}; summary: {self._output / SUMMARY_NAME}")
        click.echo(f"look at: {self._output / PAGE_NAME}")
