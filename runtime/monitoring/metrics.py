"""The numbers of a run for Prometheus; `docs/monitoring.md` explains each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from lsd.runtime import __version__
from lsd.runtime.monitoring.exposition import Family, Histogram
from lsd.runtime.monitoring.process import usage
from lsd.runtime.monitoring.totals import EXITED, OUTCOMES, scored
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import (
    BundleChanged,
    BundleRefused,
    Drifted,
    Event,
    Paused,
    Queued,
    Resumed,
    TileEnded,
    TileKnown,
    TilesWaiting,
)

REASONS = ("too_few_valid_pixels", "no_configuration", "looks_like_cloud", "cloud", "out_of_range")  # not scored
# Three a decade from a crop on a server to a whole Sentinel-2 tile with networks on a small board: a stage takes some
# 10 ms for 100 patches and half a minute for the 29,584 of 10,980 x 10,980 px with forests alone (docs/performance.md);
# networks may take a hundred times as long. Within a bucket a quantile is off by a factor of 2.5 at most.
STAGE_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


class Metrics:
    """A listener that counts what happens and tells it as text. Any thread may call anything.

    Labels take values of fixed lists, of the bundle (configurations, members) or of the code (stages, queues); a family
    holds `MOST_SERIES` series at most. No label holds a tile, a path or a message.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start counting. clock: seconds since 1970."""
        self._clock = clock
        self._lock = threading.Lock()
        made: list[Family] = []

        def counter(name: str, about: str, *labels: str) -> Family:
            made.append(Family("counter", name, about, labels))
            return made[-1]

        def gauge(name: str, about: str, *labels: str) -> Family:
            made.append(Family("gauge", name, about, labels))
            return made[-1]

        self._build = gauge("lsd_build_info", "Version of lsd-edge; always 1.", "version")
        self._bundle = gauge("lsd_bundle_info", "The bundle that answers now; always 1.", "name", "sha256")
        self._engines = gauge("lsd_engine_info", "What evaluates a member of the bundle; always 1.", "member", "engine")
        self._bundles = counter("lsd_bundle_swaps_total", "Newer bundles that were met, by outcome.", "outcome")
        self._tiles = counter("lsd_tiles_total", "Tiles done, failed, or known from an earlier run.", "status")
        self._patches = counter("lsd_patches_total", "Patches of tiles done, by outcome.", "outcome")
        self._unscored = counter("lsd_patches_not_scored_total", "Patches without an answer, by reason.", "reason")
        self._by_configuration = counter(
            "lsd_patches_by_configuration_total", "Scored patches by the configuration that answered.", "configuration"
        )
        self._by_stage = counter(
            "lsd_patches_by_stage_total", "Scored patches by the stage at which they left the chain.", "stage"
        )
        self._stage_s = Histogram("lsd_tile_stage_seconds", "Time a tile spent in a stage.", ("stage",), STAGE_BOUNDS_S)
        made.append(self._stage_s)
        self._waiting = gauge("lsd_tiles_waiting", "Entries of the input that are still being written.")
        self._queues = gauge("lsd_queue_depth", "Patches for encoders, tiles to write.", "queue")
        self._drift = gauge("lsd_drift", "Shift of a band of the stream, in spreads of training.", "band")
        self._paused = gauge("lsd_paused", "1 while the output cannot be written, else 0.")
        self._pauses = counter("lsd_pauses_total", "How often the output could not be written.")
        self._paused_s = counter("lsd_paused_seconds_total", "Time of the pauses that are over.")
        self._last = gauge("lsd_last_tile_timestamp_seconds", "When the last tile ended, done or failed.")
        self._started = gauge("lsd_start_timestamp_seconds", "When this run started.")
        self._cpu_s = counter("process_cpu_seconds_total", "CPU time of this process, user and system.")
        self._resident = gauge("process_resident_memory_bytes", "Memory of this process.")
        self._peak = gauge("lsd_peak_memory_bytes", "Most memory that this process ever had.")
        self._families = tuple(made)

        self._build.put(1, __version__)
        self._started.put(clock())
        for family, values in (
            (self._tiles, ("done", "failed", "known")),
            (self._patches, OUTCOMES),
            (self._unscored, REASONS),
            (self._bundles, ("changed", "refused")),
        ):
            for value in values:
                family.add(0, value)
        for family in (self._waiting, self._paused, self._pauses, self._paused_s):
            family.add(0)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            match event:
                case TileEnded(result):
                    self._count(result)
                case TileKnown():
                    self._tiles.add(1, "known")
                case TilesWaiting(paths):
                    self._waiting.put(len(paths))
                case Paused():
                    self._paused.put(1)
                    self._pauses.add(1)
                case Resumed(waited_s):
                    self._paused.put(0)
                    self._paused_s.add(waited_s)
                case BundleChanged(name, sha256):
                    self._bundles.add(1, "changed")
                    self._set_bundle(name, sha256)
                case BundleRefused():
                    self._bundles.add(1, "refused")
                case Drifted(shifts):
                    for band, shift in shifts.items():
                        self._drift.put(shift, band)
                case Queued(depths):
                    for queue, depth in depths.items():
                        self._queues.put(depth, queue)
                case _:
                    pass

    def _count(self, result: TileResult) -> None:
        self._tiles.add(1, result.status)
        self._last.put(self._clock())
        for outcome in OUTCOMES:
            self._patches.add(result.counts.get(outcome, 0), outcome)
        for reason in REASONS:
            self._unscored.add(result.counts.get(reason, 0), reason)
        for configuration, patches in result.configurations.items():
            self._by_configuration.add(patches, configuration)
        if EXITED in result.counts:
            self._by_stage.add(result.counts[EXITED], "exit")
            self._by_stage.add(scored(result.counts) - result.counts[EXITED], "ensemble")
        for stage, spent_s in result.seconds.items():
            self._stage_s.observe(spent_s, stage)

    def _set_bundle(self, name: str, sha256: str) -> None:
        self._bundle.clear()
        self._bundle.put(1, name, sha256)

    def bundle(self, name: str, sha256: str, engines: Mapping[str, str] | None = None) -> None:
        """Say which bundle answers. engines: member -> what evaluates it (`onnxruntime fp32`)."""
        with self._lock:
            self._set_bundle(name, sha256)
            self._engines.clear()
            for member, engine in (engines or {}).items():
                self._engines.put(1, member, engine)

    def drift(self, band: str, shift: float) -> None:
        """Say how far a band of the stream has moved, in spreads of training; also told by the event `Drifted`."""
        with self._lock:
            self._drift.put(shift, band)

    def render(self) -> str:
        """Everything, in text exposition format 0.0.4; memory and CPU time are measured now."""
        used = usage()
        with self._lock:
            self._cpu_s.put(used.cpu_s)
            self._peak.put(used.peak_bytes)
            if used.resident_bytes is not None:
                self._resident.put(used.resident_bytes)
            return "".join(f"{line}\n" for family in self._families for line in family.lines())

    def names(self) -> tuple[str, ...]:
        """Names of all families, also of those without a series yet."""
        return tuple(family.name for family in self._families)
