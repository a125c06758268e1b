"""Patches that wait for encoders, gathered over windows and tiles until they fill a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator

import numpy as np

from lsd.runtime.chain import Chain
from lsd.runtime.pending import Answered, Pending, joined


class Gathering:
    """What waits, by configuration and kind of tile. Not for several threads.

    Full batches are asked as soon as they are there; the rest where `most` is exceeded, where a patch has waited for
    `longest_s`, or when told to. Encoders run at one fixed batch shape, so that it does not matter to a patch with
    which others it is asked.
    """

    def __init__(self, chain: Chain, most: int, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """most: patches that may wait, in all; a batch of the encoders may in any case."""
        self.chain = chain
        self._full = chain.encoder_options.batch_size
        self._most = max(most, self._full)
        self._longest_s = longest_s
        self._clock = clock
        self._waiting: dict[Hashable, Pending] = {}
        self._since_s: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def keep(self, answered: Answered) -> Answered:
        """Have what `Chain.begin` left open wait."""
        for pending in answered.pending:
            before = self._waiting.get(pending.kind)
            self._waiting[pending.kind] = pending if before is None else joined([before, pending])
            self._since_s.setdefault(pending.kind, self._clock())
        return answered

    def due(self) -> Iterator[Pending]:
        """What is to be asked now, taken from what waits; `ask` each before the next is taken."""
        while (kind := self._due()) is not None:
            one = self._taken(kind)
            whole = len(one) // self._full * self._full or len(one)
            if whole < len(one):
                self._waiting[kind] = one.some(slice(whole, None))
                self._since_s[kind] = self._clock()
                one = one.some(slice(whole))
            yield one

    def rest(self) -> Iterator[Pending]:
        """Everything that waits still; `ask` each before the next is taken."""
        while self._waiting:
            yield self._taken(min(self._waiting, key=lambda kind: self._waiting[kind].number))

    def ask(self, pending: Pending) -> Answered:
        """Ask the encoders; what goes on to the next configuration waits again.

        Raises:
            BackendError: a device or library failed.
        """
        return self.keep(self.chain.resume(pending))

    def drop(self, tile: int) -> None:
        """Forget what waits of a tile."""
        for kind, one in list(self._waiting.items()):
            kept = np.flatnonzero(one.tiles != tile)
            if len(kept) == 0:
                self._taken(kind)
            elif len(kept) < len(one):
                self._waiting[kind] = one.some(kept)

    def _due(self) -> Hashable | None:
        """The fullest kind, if it fills a batch or too many wait in all; else one that has waited too long."""
        if not self._waiting:
            return None
        fullest = max(self._waiting, key=lambda one: len(self._waiting[one]))
        if len(self._waiting[fullest]) >= self._full or len(self) > self._most:
            return fullest
        oldest = min(self._since_s, key=lambda one: self._since_s[one])
        return oldest if self._clock() - self._since_s[oldest] >= self._longest_s else None

    def _taken(self, kind: Hashable) -> Pending:
        del self._since_s[kind]
        return self._waiting.pop(kind)
