"""Labelled patches, read one at a time when asked for: what every layout on disk becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Units = Literal["canonical", "relative"]


@dataclass(frozen=True)
class PatchDataset:
    """n labelled patches of the same bands. Immutable; threads and forked processes may share it.

    ids: unique. labels: int8 (n,), 0 or 1. bands: canonical names, in canonical order. reader: position -> float32
    (band, 64, 64), NaN where not valid; reads from disk, keeps nothing; raises PatchFileError for a sample that cannot
    be used. groups: name of the ground a patch lies on (tile, image), that folds must not split; events: name of the
    event; None where the layout does not tell. source, sha256: the file that lists the samples. units: `canonical` is
    DN and dB as lsd.runtime.bands has them; `relative` is anything else: a network trained on it cannot be exported.
    synthetic: pixels are made up, which everything trained on them says.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    bands: tuple[str, ...]
    reader: Callable[[int], NDArray[np.float32]]
    source: str
    sha256: str
    groups: tuple[str, ...] | None = None
    events: tuple[str, ...] | None = None
    units: Units = "canonical"
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, position: int) -> NDArray[np.float32]:
        """float32 (band, 64, 64); raises PatchFileError."""
        return self.reader(position)

    def subset(self, positions: Sequence[int] | NDArray[np.intp]) -> PatchDataset:
        """These samples only, in this order; nothing is copied but lists."""
        kept = [int(position) for position in positions]
        reader = self.reader
        return replace(
            self,
            ids=tuple(self.ids[i] for i in kept),
            labels=self.labels[kept],
            reader=lambda position: reader(kept[position]),
            groups=None if self.groups is None else tuple(self.groups[i] for i in kept),
            events=None if self.events is None else tuple(self.events[i] for i in kept),
        )

    def arranged(self, bands: Sequence[str]) -> PatchDataset:
        """The same samples with these bands, in this order; a band that is not there is invalid (NaN) throughout."""
        wanted = tuple(bands)
        if wanted == self.bands:
            return self
        reader, positions = self.reader, {band: i for i, band in enumerate(self.bands)}

        def arranged_reader(position: int) -> NDArray[np.float32]:
            pixels = reader(position)
            out = np.full((len(wanted), *pixels.shape[1:]), np.nan, np.float32)
            for i, band in enumerate(wanted):
                if band in positions:
                    out[i] = pixels[positions[band]]
            return out

        return replace(self, bands=wanted, reader=arranged_reader)
