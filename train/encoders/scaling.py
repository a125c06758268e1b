"""How raw bands become numbers around 0: one location and one spread a band, stored with the run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from lsd.runtime.bands import in_order
from lsd.runtime.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from lsd.train.datasets.band_statistics import BandStatistics


@dataclass(frozen=True)
class Scaling:
    """(x - location) / spread, by band name, in the band's unit (DN, dB).

    kind: `standard`, mean and standard deviation; `robust`, median and the distance of the 5 and 95 % quantiles.
    """

    kind: str
    location: Mapping[str, float]
    spread: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """For run.json; floats keep every digit."""
        return {"kind": self.kind, "location": dict(self.location), "spread": dict(self.spread)}

    @classmethod
    def from_json(cls, stored: Any) -> Scaling:
        """Read what `to_json` gave.

        Raises:
            RunFolderError: it is something else.
        """
        try:
            location = {str(band): float(value) for band, value in stored["location"].items()}
            spread = {str(band): float(value) for band, value in stored["spread"].items()}
            kind = str(stored["kind"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"scaling of the run cannot be read ({type(error).__name__}: {error})") from error
        if set(location) != set(spread) or not all(0 < value < math.inf for value in spread.values()):
            raise RunFolderError("scaling of the run: expected a location and a spread > 0 for each band")
        return cls(kind, location, spread)


def paper_scaling(kind: str) -> Scaling:
    """The paper's constants of all 12 bands (METHOD, scaling constants)."""
    facts = json.loads(resources.files("lsd.train").joinpath("data/paper_scaling.json").read_text(encoding="utf-8"))
    columns = {
        name: dict(zip(facts["bands"], facts[name], strict=True)) for name in ("mean", "std", "q05", "q50", "q95")
    }
    return _scaling(kind, facts["bands"], columns)


def scaling_of_data(kind: str, statistics: BandStatistics, bands: Iterable[str]) -> Scaling:
    """Constants of the training data.

    Args:
        statistics: of the pixels, NaN where a band has no valid one.
        bands: canonical names; all must be in the statistics.
    Raises:
        UsageError: a band is constant or has no valid pixel.
    """
    columns = {name: getattr(statistics, name) for name in ("mean", "std", "q05", "q50", "q95")}
    return _scaling(kind, in_order(bands), columns)


def _scaling(kind: str, bands: Iterable[str], columns: Mapping[str, Mapping[str, float]]) -> Scaling:
    location = "mean" if kind == "standard" else "q50"
    spread = {
        band: float(columns["std"][band] if kind == "standard" else columns["q95"][band] - columns["q05"][band])
        for band in bands
    }
    for band, value in spread.items():
        if not 0 < value < math.inf:
            raise UsageError(
                f"band {band} is constant or has no valid pixel in these data (spread {value:g}), so it cannot be "
                'scaled; leave it out with --bands, or choose a recipe with the constants "paper"'
            )
    return Scaling(kind, {band: float(columns[location][band]) for band in spread}, spread)
