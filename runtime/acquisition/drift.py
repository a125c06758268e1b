"""Does a stream of tiles drift away from the ground and the units that the models were trained on?

Statistic: for each band the population stability index (N. Siddiqi, Credit Risk Scorecards, Wiley 2006: the sum over
classes of (share - expected) ln(share / expected)) of the last tiles' medians over four classes, cut at the quantiles
.01, .5 and .99 of the training patches' means. The classes hold .01, .49, .49 and .01 of the training patches whatever
the band's distribution is, so one limit serves all bands; one odd tile moves it little.

Limit: of streams drawn at random from the 7,147 rows of the published table, 500 tiles long, 12 bands watched at every
tile, one or two in a hundred ever exceed it (benchmarks/acquisition.py). A real stream comes from one region and season
and may well exceed it without a fault: that, too, is ground which the models know little of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from lsd.runtime.acquisition.ranges import BandRange, Ranges
from lsd.runtime.acquisition.sample import LEAST_PIXELS, Samples, valid
from lsd.runtime.bands import BY_NAME
from lsd.runtime.errors import OutputError

WINDOW_TILES = 50
LEAST_TILES = 20  # fewer tell nothing about a stream
# Over the number of tiles: the index of an ordinary stream falls with it. .5 at 50 tiles.
MOST_INSTABILITY_TILES = 25.0
EXPECTED = np.array([0.01, 0.49, 0.49, 0.01])  # share of the training patches in each class
SCHEMA_VERSION = 1


class DriftMonitor:
    """The last tiles of a stream against the training card. Not thread-safe.

    Args:
        ranges: of the training card; None: nothing is observed and nothing reported.
        window_tiles: tiles that count, 2 at least; the oldest leaves first.
    """

    def __init__(self, ranges: Ranges | None, window_tiles: int = WINDOW_TILES) -> None:
        if window_tiles < 2:
            raise ValueError(f"window_tiles should be 2 or more, is {window_tiles}")
        self.ranges: Ranges = ranges or {}
        self.window_tiles = window_tiles
        self._tiles: OrderedDict[str, dict[str, float]] = OrderedDict()

    def observe(self, tile_id: str, samples: Samples) -> None:
        """Take in one tile; a tile seen before is replaced and counts as the latest.

        Args:
            samples: canonical band name -> float64 (n,) in canonical units, NaN where invalid, as
                `lsd.runtime.inspection` samples them. A band with fewer than 1,000 valid pixels does not count.
        """
        kept = {name: valid(samples[name]) for name in self.ranges if name in samples}
        medians = {name: float(np.median(values)) for name, values in kept.items() if values.size >= LEAST_PIXELS}
        self.observe_medians(tile_id, medians)

    def observe_medians(self, tile_id: str, medians: Mapping[str, float]) -> None:
        """As `observe`, of a tile whose medians are known; bands without a range are left out."""
        self._tiles.pop(tile_id, None)
        self._tiles[tile_id] = {name: float(medians[name]) for name in self.ranges if name in medians}
        while len(self._tiles) > self.window_tiles:
            self._tiles.popitem(last=False)

    def stability(self) -> dict[str, float]:
        """Canonical band name -> population stability index, 0 if the stream is as training was; see the module.

        Bands of fewer than 20 tiles are left out. One tile that is distributed as training was is added to those seen,
        so that an empty class has a logarithm.
        """
        return {name: _stability_index(seen, self.ranges[name]) for name, seen in self._seen().items()}

    def shifts(self) -> dict[str, float]:
        """Canonical band name -> median of the tiles less that of the training patches, in spreads of the latter.

        For reading: the stability index decides. Bands of fewer than 20 tiles are left out.
        """
        ranges = self.ranges
        return {
            name: (float(np.median(seen)) - ranges[name].middle) / ranges[name].spread
            for name, seen in self._seen().items()
        }

    def warnings(self) -> list[str]:
        """One line for each band that drifts; nothing if the stream is ordinary."""
        found = []
        for name, seen in self._seen().items():
            one, unit = self.ranges[name], BY_NAME[name].unit
            index, limit = _stability_index(seen, one), MOST_INSTABILITY_TILES / len(seen)
            if index > limit:
                found.append(
                    f"{name} drifts: over the last {len(seen)} tiles its median is {np.median(seen):.5g} {unit}, "
                    f"that of the training patches {one.middle:.5g} {unit} (stability index {index:.2f}, limit "
                    f"{limit:.2f}): another region or season, or units and processing that changed"
                )
        return found

    def _seen(self) -> dict[str, list[float]]:
        """Band -> medians of the tiles that have it, for bands of enough tiles."""
        least = min(LEAST_TILES, self.window_tiles)
        found = {name: [tile[name] for tile in self._tiles.values() if name in tile] for name in self.ranges}
        return {name: seen for name, seen in found.items() if len(seen) >= least}

    def to_json(self) -> dict[str, Any]:
        """State as plain JSON; the ranges are the bundle's and are not in it."""
        tiles = [{"tile_id": tile_id, "medians": medians} for tile_id, medians in self._tiles.items()]
        return {"schema_version": SCHEMA_VERSION, "window_tiles": self.window_tiles, "tiles": tiles}

    @classmethod
    def from_json(cls, ranges: Ranges | None, state: Mapping[str, Any]) -> DriftMonitor:
        """A monitor that goes on where another stopped.

        Raises:
            OutputError: the state is of another schema or damaged.
        """
        try:
            if state["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema_version should be {SCHEMA_VERSION}, is {state['schema_version']!r}")
            monitor = cls(ranges, int(state["window_tiles"]))
            for tile in state["tiles"]:
                monitor.observe_medians(str(tile["tile_id"]), tile["medians"])
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"state of the drift monitor cannot be read ({error!r}); delete it to begin anew"
            ) from error
        return monitor


def _stability_index(seen: list[float], one: BandRange) -> float:
    classes = np.searchsorted(one.cuts, seen)
    shares = (np.bincount(classes, minlength=len(EXPECTED)) + EXPECTED) / (len(seen) + 1)
    return float(((shares - EXPECTED) * np.log(shares / EXPECTED)).sum())
