"""Patches on their way through the configurations of a bundle, and those that are done."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.patches import PatchBatch
from lsd.runtime.scores import Scores

Margins = Mapping[str, NDArray[np.floating]]  # forest -> log-odds (n,)


@dataclass(frozen=True)
class Pending:
    """Patches that wait for an answer, of one tile or of several; read-only.

    tiles: int (n,), number of the tile that a patch is of; its rows and columns in `batch` are those of that tile's
    grid. number: configuration to be asked next, 1 is the bundle's first. margins: forest -> log-odds (n,), what that
    configuration's forests have said already; None where it was not asked yet. hazy: bool (n,), an optical
    configuration saw nothing, through what looks like cloud.
    """

    batch: PatchBatch
    tiles: NDArray[np.intp]
    number: int
    margins: Margins | None
    hazy: NDArray[np.bool_]

    @classmethod
    def of(cls, batch: PatchBatch, tile: int = 0) -> Pending:
        """Patches of one tile that nothing has been asked about."""
        return cls(batch, np.full(len(batch), tile, np.intp), 1, None, np.zeros(len(batch), bool))

    @property
    def kind(self) -> Hashable:
        """Equal for patches that can be asked about together: the configuration, and what is known of their pixels."""
        batch = self.batch
        return self.number, batch.bands, batch.clouds_known, batch.cloud is None, batch.out_of_range is None

    def __len__(self) -> int:
        return len(self.batch)

    def some(self, positions: slice | NDArray[np.intp]) -> Pending:
        """These patches only. Pixels are copied, so that those of the others can go."""
        chosen = np.arange(len(self))[positions]
        known = self.margins
        return Pending(
            some_of(self.batch, chosen),
            self.tiles[chosen],
            self.number,
            None if known is None else {member: values[chosen] for member, values in known.items()},
            self.hazy[chosen],
        )


@dataclass(frozen=True)
class Answered:
    """scores: of the patches that are done, which lie at `rows`, `columns` (int (n,)) of the grid of their tile, whose
    number `tiles` holds (int (n,)). pending: the others, by configuration."""

    tiles: NDArray[np.intp]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scores: Scores
    pending: tuple[Pending, ...]


def some_of(batch: PatchBatch, positions: NDArray[np.intp]) -> PatchBatch:
    """The patches at these positions, copied."""
    return replace(
        batch,
        pixels=batch.pixels[positions],
        rows=batch.rows[positions],
        columns=batch.columns[positions],
        cloud=None if batch.cloud is None else batch.cloud[positions],
        out_of_range=None if batch.out_of_range is None else batch.out_of_range[positions],
    )


def joined(parts: Sequence[Pending]) -> Pending:
    """Patches of the same kind, in the order of `parts`, one or more."""
    first, batches = parts[0], [part.batch for part in parts]
    if len(parts) == 1:
        return first
    known = [part.margins for part in parts if part.margins is not None]
    return Pending(
        replace(
            first.batch,
            pixels=np.concatenate([batch.pixels for batch in batches]),
            rows=np.concatenate([batch.rows for batch in batches]),
            columns=np.concatenate([batch.columns for batch in batches]),
            cloud=_together([batch.cloud for batch in batches]),
            out_of_range=_together([batch.out_of_range for batch in batches]),
        ),
        np.concatenate([part.tiles for part in parts]),
        first.number,
        {member: np.concatenate([one[member] for one in known]) for member in known[0]} if known else None,
        np.concatenate([part.hazy for part in parts]),
    )


def _together(shares: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    known = [share for share in shares if share is not None]
    return np.concatenate(known) if known else None
