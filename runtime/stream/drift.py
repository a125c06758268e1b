"""Drift of the stream of one output folder, remembered in its journal across restarts and bundles."""

from __future__ import annotations

from lsd.runtime.acquisition.drift import DriftMonitor
from lsd.runtime.acquisition.sample import Samples
from lsd.runtime.manifest import Manifest
from lsd.runtime.stream.events import Drifted
from lsd.runtime.stream.journal import Journal

NOTE = "drift"


class StreamDrift:
    """Feeds the monitor and tells when what it says has changed; says nothing where a bundle has no training ranges.

    For one thread. Nothing of it goes into a tile's products, which must not depend on what arrived before.
    """

    def __init__(self) -> None:
        self._said: tuple[str, ...] = ()

    def observe(self, tile_id: str, samples: Samples, manifest: Manifest, journal: Journal) -> Drifted | None:
        """Take in a tile; what to tell, None if nothing new.

        Raises:
            OutputError: the journal cannot be written, or what it remembers is damaged.
        """
        ranges = manifest.ranges
        if ranges is None:
            return None
        before = journal.noted(NOTE)
        monitor = DriftMonitor(ranges) if before is None else DriftMonitor.from_json(ranges, before)
        monitor.observe(tile_id, samples)
        journal.note(NOTE, monitor.to_json())
        warnings = tuple(monitor.warnings())
        is_news, self._said = warnings != self._said, warnings
        return Drifted(monitor.shifts(), warnings) if is_news else None
