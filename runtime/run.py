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
from lsd.runtime.acquisition.ranges import ranges_of
from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.commit import folder_name, tile_folder
from lsd.runtime.errors import LsdError, OutputError, SourceError, TileError
from lsd.runtime.exits import describe_exits
from lsd.runtime.feeds.base import Feed, Round
from lsd.runtime.inspection import inspection
from lsd.runtime.memory import GDAL_CACHE_MB
from lsd.runtime.scoring import ScoringOptions, score_tile
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.products import PRODUCTS, write_products
from lsd.runtime.sinks.summary import TileResult, done_result, failed_result
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.stopwatch import Stopwatch
from lsd.runtime.stream.drift import StreamDrift
from lsd.runtime.stream.events import Listener, TileBegun, TileEnded, TileKnown, TilesWaiting
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
        """`stop`: once set, the run ends after the tile in hand. `tell` hears of every step.

        moved: called often while a tile is worked on, to show that it goes on.
        """
        self.moved = moved
        self.serving, self.output, self.plan, self.tell, self.stop = serving, output, plan, tell, stop
        self._answered: dict[str, str] = {}  # folder -> key, of this process
        self._begun: set[tuple[str, str]] = set()  # folder and key, of this process
        self._files: dict[str, frozenset[Path]] = {}  # folder -> files of its tile
        self._drift = StreamDrift()
        self._refused: set[tuple[str, str]] = set()  # tile and reason, told without a place in the journal

    def follow(self, feed: Feed, after_round: Callable[[], None] = lambda: None) -> None:
        """Take every round of a feed, until it ends or the run is asked to stop.

        Args:
            after_round: called when a round's tiles are done.
        Raises:
            OutputError: the output cannot be written; tiles done before stay.
            SourceError: a source does not exist, unless the run goes on.
        """
        with _bounded(self.plan.gdal_cache_mb, self.plan.threads):
            for round_ in feed.rounds(self.stop, lambda paths: self.tell(TilesWaiting(paths))):
                try:
                    self._take(round_)
                except SourceError as error:
                    if not self.plan.goes_on:
                        raise
                    self._refuse(", ".join(path.name for path in round_.sources), error)
                self.patiently(after_round)
                if self.stop.is_set():
                    return

    def _take(self, round_: Round) -> None:
        names: set[str] = set()
        for found in tiles_of(round_.sources, self.plan.sources, round_.left_alone):
            if self.stop.is_set():
                return
            if self.plan.reload:
                self.serving.refresh(self.tell)
            if isinstance(found, TileFailure):
                self.patiently(lambda failure=found: self._fail(failure, names))  # type: ignore[misc]
            else:
                self.patiently(lambda tile=found: self._do(tile, names))  # type: ignore[misc]

    def patiently(self, work: Callable[[], None]) -> None:
        """Do what writes into the output; wait for it if the run is patient.

        Raises:
            OutputError: it cannot be written.
        """
        if self.plan.patient:
            patiently(work, self.stop, self.tell)
        else:
            work()

    def _fail(self, failure: TileFailure, names: set[str]) -> None:
        """What could not even become a tile: noted once for each reason, under the name the tile would have had."""
        folder, key = folder_name(failure.id), hashlib.sha256(str(failure.error).encode()).hexdigest()
        if self._answered.get(folder) == key:
            return
        if folder in names:  # of a tile that can be used
            self._refuse(failure.id, failure.error)
            return
        self.output.check()
        result = failed_result(failure.id, failure.error, {})
        self.output.journal.begin(folder, failure.id, key, self.serving.context.bundle_sha256)
        self.output.journal.end(folder, result)
        self._answered[folder] = key
        self.tell(TileEnded(result))

    def _refuse(self, tile_id: str, error: LsdError) -> None:
        """Tell of a failure that has no place in the journal: its folder is another tile's; once for each reason."""
        result = failed_result(tile_id, error, {})
        if (tile_id, result.error or "") not in self._refused:
            self._refused.add((tile_id, result.error or ""))
            self.tell(TileEnded(result))

    def _do(self, tile: Tile, names: set[str]) -> None:
        """One tile, unless it is known; a bad one ends as failed."""
        stopwatch, folder = Stopwatch(self.moved), folder_name(tile.id)
        self.output.check()
        try:
            files = frozenset(files_of(tile))
            self._claim(tile, folder, files, names)
            _refuse_to_replace_input(files, self.output.folder / folder)
            key = _key(tile, self.plan.key)
        except TileError as error:
            self._refuse(tile.id, error)
            return
        if self._answered.get(folder) == key:
            return
        journal = self.output.journal
        entry = journal.entry(folder)
        if entry is not None and entry.result is not None and self._is_known(entry, key):
            self._answered[folder] = key
            self.tell(TileKnown(entry.result))
            return
        if entry is None and not self.plan.overwrite and os.path.lexists(self.output.folder / folder):
            raise OutputError(
                f"{self.output.folder / folder} is there already, and the journal does not know it; give --overwrite "
                "to replace it or another folder with -o"
            )
        counts = (folder, key) not in self._begun
        attempts = journal.begin(folder, tile.id, key, self.serving.context.bundle_sha256, counts)
        self._begun.add((folder, key))
        self.tell(TileBegun(tile.id))
        try:
            if attempts > MOST_ATTEMPTS:
                raise TileError(
                    f"{tile.id}: begun {MOST_ATTEMPTS} times, and the run ended before the tile each time; set aside: "
                    "look at it, then give --overwrite"
                )
            with stopwatch.stage("read"):
                ranges = ranges_of(self.serving.chain.manifest.training)
                seen = inspection(tile, self.plan.force, ranges)
            drifted = self._drift.observe(tile.id, seen.samples, self.serving.chain.manifest, journal)
            if drifted is not None:
                self.tell(drifted)
            result = self._score_and_write(seen.tile, stopwatch)
        except OutputError:
            raise
        except LsdError as error:
            result = failed_result(tile.id, error, stopwatch.seconds)
        journal.end(folder, result)
        self._answered[folder] = key
        self.tell(TileEnded(result))

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

    def _score_and_write(self, tile: Tile, stopwatch: Stopwatch) -> TileResult:
        """Products of one tile, in place when this returns; what stood there of an earlier input is replaced."""
        chain, context = self.serving.chain, self.serving.context
        with tile_folder(self.output.folder, tile.id, True, PRODUCTS["scores"]) as folder:
            scores, quicklook = score_tile(tile, chain, self.plan.scoring, stopwatch)
            with stopwatch.stage("write"):
                written = write_products(folder, tile, scores, quicklook, context, self.plan.extras)
        products = {kind: f"{folder_name(tile.id)}/{name}" for kind, name in written.items()}
        return done_result(tile, scores, context, products, stopwatch.seconds)


def _bounded(cache_mb: int, threads: int | None) -> rasterio.Env:
    """GDAL with a block cache and threads of its own; the environment variables GDAL_CACHEMAX, GDAL_NUM_THREADS win."""
    limits = {"GDAL_CACHEMAX": cache_mb * 2**20, "GDAL_NUM_THREADS": threads}
    return rasterio.Env(**{key: value for key, value in limits.items() if value and key not in os.environ})


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
