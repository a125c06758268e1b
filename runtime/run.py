"""One run: every tile of a feed scored, written and committed once, one bad tile never stopping the others."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rasterio

from lsd.runtime import __version__
from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.commit import folder_name
from lsd.runtime.ending import BegunTile, Ending
from lsd.runtime.errors import LsdError, OutputError, SourceError, TileError
from lsd.runtime.exits import describe_exits
from lsd.runtime.feeds.base import Feed, Round
from lsd.runtime.inspection import inspection
from lsd.runtime.memory import GDAL_CACHE_MB, gdal_limits
from lsd.runtime.scoring import Scoring, ScoringOptions, TileInHand
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.summary import failed_result
from lsd.runtime.sources import Memo, SourceOptions, TileFailure, tiles_of
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.stream.drift import StreamDrift
from lsd.runtime.stream.events import Drifted, Listener, Queued, TileBegun, TileEnded, TileKnown, TilesWaiting
from lsd.runtime.stream.journal import Entry
from lsd.runtime.stream.keys import files_of, tile_key
from lsd.runtime.stream.output import Output
from lsd.runtime.stream.patience import patiently
from lsd.runtime.stream.serving import Serving
from lsd.runtime.tiles import Tile

# A tile that ended the process so often (a fault in a library, memory) is set aside; a power cut or two hit any tile.
MOST_ATTEMPTS = 10


@dataclass(frozen=True)
class RunPlan:
    """How a run treats its tiles.

    overwrite: do every tile again, also where products of no journal stand. rescore: do those again that another bundle
    answered. patient: wait while the output cannot be written. reload: look for a newer bundle before every tile.
    goes_on: more rounds may follow, so that a source that is not there fails alone. force: acquisition checks that are
    overruled. gdal_cache_mb: GDAL's block cache. threads: of GDAL where it decodes with several, None for its default.
    extras: products beside the usual ones: `kml`, `geoparquet`. key: options that change
    products, for the key of a tile.
    """

    sources: SourceOptions = field(default_factory=SourceOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    overwrite: bool = False
    rescore: bool = False
    patient: bool = False
    reload: bool = False
    goes_on: bool = False
    force: frozenset[str] = frozenset()
    gdal_cache_mb: int = GDAL_CACHE_MB
    threads: int | None = None
    extras: tuple[str, ...] = ()
    key: Mapping[str, Any] = field(default_factory=dict)


def context_of(bundle: Bundle, chain: Chain, event_time: str | None = None, fallback: str | None = None) -> RunContext:
    """What all products of a run say about the bundle and its chain, and what the user stated."""
    manifest = bundle.manifest
    return RunContext(
        bundle_name=manifest.name,
        bundle_sha256=bundle.sha256,
        configurations=manifest.configurations,
        synthetic=manifest.synthetic,
        version=__version__,
        prevalence=chain.prevalence,
        event_time=event_time,
        exits=describe_exits(chain.exits),
        fallback=fallback,
    )


class Run:
    """Takes tiles from a feed into an output folder; for one thread.

    Products of a tile appear whole, then the journal has it as done. Killed in between, the next run does the tile
    again and ends with the same bytes. A tile that the journal has as done, of the same input and options, is left.

    Undecided patches of several tiles go to the encoders together, and products are written while the next tile is
    scored: a few tiles are in hand at a time. None waits longer than `ScoringOptions.waiting_s`, nor beyond its round.
    """

    def __init__(
        self,
        serving: Serving,
        output: Output,
        plan: RunPlan,
        tell: Listener,
        stop: threading.Event,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """`stop`: once set, the run ends after the tiles in hand. `tell` hears of every step.

        moved: called often while a tile is worked on, to show that it goes on.
        """
        self.moved = moved
        self.serving, self.output, self.plan, self.tell, self.stop = serving, output, plan, tell, stop
        self._begun: set[tuple[str, str]] = set()  # folder and key, of this process
        self._files: dict[str, frozenset[Path]] = {}  # folder -> files of its tile
        self._memo = Memo() if plan.goes_on else None  # of rasters that earlier rounds opened
        self._same: dict[str, Tile] = {}  # folder -> answered tile; given again as it is, nothing of it has changed
        self._drift = StreamDrift()
        self._refused: set[tuple[str, str]] = set()  # tile and reason, told without a place in the journal
        self._attempts: dict[str, int] = {}  # folder -> how often it was begun, of tiles that were just begun
        self._scoring: Scoring | None = None
        self._ending = Ending(output, plan.extras, self._limited, self.patiently, tell)
        self._told = Queued({"undecided": 0, "write": 0})

    def follow(self, feed: Feed, after_round: Callable[[], None] = lambda: None) -> None:
        """Take every round of a feed, until it ends or the run is asked to stop.

        Args:
            after_round: called when a round's tiles are done.
        Raises:
            OutputError: the output cannot be written; tiles done before stay.
            SourceError: a source does not exist, unless the run goes on.
        """
        with self._limited(), self._ending:
            for round_ in feed.rounds(self.stop, lambda paths: self.tell(TilesWaiting(paths))):
                missing: SourceError | None = None
                try:
                    self._take(round_)
                except SourceError as error:
                    missing = error
                self._end_all()
                if missing is not None:
                    if not self.plan.goes_on:
                        raise missing
                    self._refuse(", ".join(path.name for path in round_.sources), missing)
                self.patiently(after_round)
                if self.stop.is_set():
                    return

    def _take(self, round_: Round) -> None:
        names: set[str] = set()
        for found in tiles_of(round_.sources, self.plan.sources, round_.left_alone, self._memo):
            if self.stop.is_set():
                return
            if self.plan.reload:
                self.serving.refresh(self.tell)
            if isinstance(found, TileFailure):
                self.patiently(lambda failure=found: self._fail(failure, names))  # type: ignore[misc]
            else:
                self._do(found, names)

    def patiently(self, work: Callable[[], None]) -> None:
        """Do what writes into the output; wait for it if the run is patient.

        Raises:
            OutputError: it cannot be written.
        """
        if self.plan.patient:
            patiently(work, self.stop, self.tell)
        else:
            work()

    def _limited(self) -> rasterio.Env:
        return gdal_limits(self.plan.gdal_cache_mb, self.plan.threads)

    def _fail(self, failure: TileFailure, names: set[str]) -> None:
        """What could not even become a tile: noted once for each reason, under the name the tile would have had."""
        folder, key = folder_name(failure.id), hashlib.sha256(str(failure.error).encode()).hexdigest()
        if self._ending.ended.get(folder) == key:
            return
        if folder in names:  # of a tile that can be used
            self._refuse(failure.id, failure.error)
            return
        self.output.check()
        result = failed_result(failure.id, failure.error, {})
        self.output.journal.begin(folder, failure.id, key, self.serving.context.bundle_sha256)
        self.output.journal.end(folder, result)
        self._ending.ended[folder] = key
        self.tell(TileEnded(result))

    def _refuse(self, tile_id: str, error: LsdError) -> None:
        """Tell of a failure that has no place in the journal: its folder is another tile's; once for each reason."""
        result = failed_result(tile_id, error, {})
        if (tile_id, result.error or "") not in self._refused:
            self._end_all()  # a good tile of that name is told first, or its result would take the place of this one
            self._refused.add((tile_id, result.error or ""))
            self.tell(TileEnded(result))

    def _do(self, tile: Tile, names: set[str]) -> None:
        """One tile, unless it is known; a bad one ends as failed. Earlier ones that are complete by then end, too."""
        begun: list[BegunTile | None] = []
        self.patiently(lambda: begun.append(self._begin(tile, names)))
        if (one := begun[-1]) is None:
            return
        try:
            if (attempts := self._attempts.pop(one.folder)) > MOST_ATTEMPTS:
                raise TileError(
                    f"{tile.id}: begun {MOST_ATTEMPTS} times, and the run ended before the tile each time; set aside: "
                    "look at it, then give --overwrite"
                )
            with one.stopwatch.stage("read"):
                manifest = self.serving.chain.manifest
                seen = inspection(tile, self.plan.force, manifest.ranges)
            journal = self.output.journal
            self.patiently(lambda: self._tell_drift(self._drift.observe(tile.id, seen.samples, manifest, journal)))
            scoring = self._scoring_of(self.serving.chain)
            for complete in scoring.take(seen.tile, one.stopwatch, owner=one):
                self._end_complete(complete)
            if attempts > 1:  # it may be what ended the process: the next tile is not to be drawn into it
                self._end_all()
        except OutputError:
            raise
        except LsdError as error:
            self._ending.note(one, failed_result(tile.id, error, one.stopwatch.seconds))

    def _begin(self, tile: Tile, names: set[str]) -> BegunTile | None:
        """Note in the journal that a tile is begun; None if it is known, or refused."""
        folder = folder_name(tile.id)
        if self._same.get(folder) is tile and folder not in names:
            names.add(folder)
            return None
        self.output.check()
        try:
            files = frozenset(files_of(tile))
            self._claim(tile, folder, files, names)
            _refuse_to_replace_input(files, self.output.folder / folder)
            key = _key(tile, self.plan.key)
        except TileError as error:
            self._refuse(tile.id, error)
            return None
        self._same.pop(folder, None)
        if self._ending.ended.get(folder) == key:
            self._same[folder] = tile
            return None
        journal = self.output.journal
        entry = journal.entry(folder)
        if entry is not None and entry.result is not None and self._is_known(entry, key):
            self._ending.ended[folder] = key
            self.tell(TileKnown(entry.result))
            return None
        if entry is None and not self.plan.overwrite and os.path.lexists(self.output.folder / folder):
            raise OutputError(
                f"{self.output.folder / folder} is there already, and the journal does not know it; give --overwrite "
                "to replace it or another folder with -o"
            )
        counts = (folder, key) not in self._begun
        self._attempts[folder] = journal.begin(folder, tile.id, key, self.serving.context.bundle_sha256, counts)
        self._begun.add((folder, key))
        self.tell(TileBegun(tile.id))
        return BegunTile(folder, key, self.serving.context, Stopwatch(self.moved))

    def _tell_drift(self, drifted: Drifted | None) -> None:
        if drifted is not None:
            self.tell(drifted)

    def _scoring_of(self, chain: Chain) -> Scoring:
        """The one in use, unless another bundle answers: then what waits of the one before is answered first."""
        if self._scoring is None or self._scoring.chain is not chain:
            if self._scoring is not None:
                self._end_complete(self._scoring.rest())
            self._scoring = Scoring(chain, self.plan.scoring)
        return self._scoring

    def _end_complete(self, complete: list[TileInHand]) -> None:
        """Write the products of tiles that are complete, behind; end those whose products are in place."""
        for one in complete:
            begun: BegunTile = one.owner
            if one.error is None:
                self._ending.write(begun, one)
            else:
                self._ending.note(begun, failed_result(one.tile.id, one.error, one.stopwatch.seconds))
        self._ending.take()
        waiting = Queued({"undecided": self._scoring.undecided if self._scoring else 0, "write": len(self._ending)})
        if waiting != self._told:
            self._told = waiting
            self.tell(waiting)

    def _end_all(self) -> None:
        """Answer and write everything that is in hand."""
        if self._scoring is not None:
            self._end_complete(self._scoring.rest())
        self._ending.take(everything=True)
        self._end_complete([])

    def _claim(self, tile: Tile, folder: str, files: frozenset[Path], names: set[str]) -> None:
        """Raise TileError if another tile of this run has the folder; the same one with more or newer files has not."""
        before = self._files.get(folder)
        if before is not None and (before != files if folder in names else before.isdisjoint(files)):
            raise TileError(f"{tile.id}: another tile of this run has the same name; give each its own run")
        names.add(folder)
        self._files[folder] = files

    def _is_known(self, entry: Entry, key: str) -> bool:
        if entry.state != "done" or entry.key != key or not (self.output.folder / entry.folder).is_dir():
            return False
        is_older = entry.bundle_sha256 != self.serving.context.bundle_sha256
        return not self.plan.overwrite and not (self.plan.rescore and is_older)


def _refuse_to_replace_input(files: frozenset[Path], folder: Path) -> None:
    """Raise OutputError if the tile's own files lie where its products go: replacing would delete them."""
    place = folder.resolve()
    if any(place in file.resolve().parents for file in files):
        raise OutputError(f"{folder} holds the input of this tile; choose another folder with -o")


def _key(tile: Tile, options: Mapping[str, Any]) -> str:
    try:
        return tile_key(tile, options)
    except OSError as error:
        raise TileError(f"{error.filename} cannot be read ({error.strerror}); is it still there?") from error
