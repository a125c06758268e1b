"""Encoders of a bundle: one session a fold, raw patches in, mean probability out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph, EncoderSession, Precision, SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.bundle import Bundle
from lsd.runtime.errors import BandError, BundleError, LsdError, UsageError
from lsd.runtime.sigmoid import sigmoid

Logits = Callable[[], NDArray[np.float32]]
ENGINES_FOLDER = "engines"  # in a bundle: a cache of this machine, not listed in the manifest


@dataclass(frozen=True)
class EncoderOptions:
    """How the encoders of a bundle are opened. batch_size: patches a call, always as many."""

    backend: str = "onnxruntime"
    precision: Precision = "fp32"
    batch_size: int = 8
    session: SessionOptions = field(default_factory=SessionOptions)


class Encoder:
    """The folds of one network, asked in batches of one fixed shape. For one thread at a time.

    Libraries choose kernels by shape, so that the last bits of a logit may differ between batch sizes. Here every call
    has `batch_size` patches, the last one filled up with zeros, and a patch's answer does not depend on how many or
    which others came with it.
    """

    def __init__(
        self,
        sessions: Sequence[EncoderSession],
        bands: tuple[str, ...],
        batch_size: int = 8,
        served: Sequence[tuple[str, ...]] | None = None,
    ) -> None:
        """Take opened sessions.

        Args:
            sessions: one a fold.
            bands: names in the order of the graphs' input.
            batch_size: patches a call, 1 or more.
            served: sets of `bands` that the network was trained to do with, the others being NaN; None: all, only.
        Raises:
            UsageError: no session, a batch size below 1, or a served band that the graphs do not have.
        """
        self.served = tuple(served) if served is not None else (bands,)
        strange = sorted({band for one in self.served for band in one} - set(bands))
        if not sessions or batch_size < 1 or strange:
            raise UsageError(
                "an encoder needs 1 session or more, a batch size of 1 or more, and to serve bands out of "
                f"{', '.join(bands)}; found {len(sessions)}, {batch_size} and {', '.join(strange) or 'only these'}"
            )
        self.bands = bands
        self.batch_size = batch_size
        self._sessions = tuple(sessions)

    def probabilities(self, patches: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float64]:
        """float64 (n,), 0..1: mean over folds of the sigmoid of each logit; arguments as for `logits`."""
        return np.asarray(sigmoid(self.logits(patches, bands)).mean(axis=0))

    def logits(self, patches: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
        """Logits float32 (fold, n).

        Args:
            patches: float32 (n, band, 64, 64) in canonical units, NaN where invalid; n may be 0.
            bands: names of the patches' bands, in any order; those that the graphs do not have are left out.
        Raises:
            BandError: the network was not trained to do with these bands.
            UsageError: another dtype or shape.
        """
        expected = (len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX)
        if patches.dtype != np.float32 or patches.shape[1:] != expected:
            raise UsageError(
                f"expected patches float32 (n, {', '.join(map(str, expected))}), found {patches.dtype} {patches.shape}"
            )
        sources = self._sources(bands)
        found = np.empty((len(self._sessions), len(patches)), np.float32)
        under_way: deque[tuple[slice, list[Logits]]] = deque()
        try:
            for first in range(0, len(patches), self.batch_size):
                place = slice(first, min(first + self.batch_size, len(patches)))
                batch = self._batch(patches[place], sources)
                asked: list[Logits] = []
                under_way.append((place, asked))
                asked.extend(session.start(batch) for session in self._sessions)
                if len(under_way) > 1:  # a device works on this batch while the one before is taken
                    _take(found, *under_way.popleft())
            while under_way:
                _take(found, *under_way.popleft())
        finally:
            for _, asked in under_way:  # after an error: what is under way is awaited, so that sessions can go on
                for logits in asked:
                    with suppress(LsdError):
                        logits()
        return found

    def describe(self) -> dict[str, str]:
        """What the first fold's session says, with the number of folds and the batch size."""
        counts = {"folds": str(len(self._sessions)), "batch_size": str(self.batch_size)}
        return {**self._sessions[0].describe(), **counts}

    def close(self) -> None:
        """Close every session."""
        for session in self._sessions:
            session.close()

    def _sources(self, bands: tuple[str, ...]) -> list[int | None]:
        """For each band of the graphs its position in the patches, None where it is NaN."""
        given = {band for band in self.bands if band in bands}
        if given not in [set(one) for one in self.served]:
            missing = [band for band in self.bands if band not in given]
            raise BandError(
                f"the encoder was trained with {' or with '.join(', '.join(one) for one in self.served)}; given: "
                f"{', '.join(bands)}; missing: {', '.join(missing) or 'none'}"
            )
        return [bands.index(band) if band in given else None for band in self.bands]

    def _batch(self, some: NDArray[np.float32], sources: list[int | None]) -> NDArray[np.float32]:
        """float32 (batch_size, band, 64, 64) in the graphs' order of bands."""
        batch = np.zeros((self.batch_size, len(sources), PATCH_SIZE_PX, PATCH_SIZE_PX), np.float32)
        for place, source in enumerate(sources):
            batch[: len(some), place] = np.nan if source is None else some[:, source]
        return batch


def _take(found: NDArray[np.float32], place: slice, asked: list[Logits]) -> None:
    """Wait for one batch of every fold and put the answers in their place."""
    while asked:
        fold = len(found) - len(asked)
        found[fold, place] = asked.pop(0)()[: place.stop - place.start]


def open_encoder(
    graphs: Sequence[EncoderGraph], options: EncoderOptions, served: Sequence[tuple[str, ...]] | None = None
) -> Encoder:
    """Open every fold of one network; where one cannot be opened, those before it are closed again.

    Args:
        graphs: one a fold, 1 or more, all with the same bands.
        served: see `Encoder`.
    Raises:
        BundleError: the folds differ in bands or precision, or a graph is not as the contract says.
        UsageError, BackendError: see `registry.open_session` and `Encoder`.
    """
    if len({(graph.bands, graph.precision) for graph in graphs}) != 1:
        raise BundleError(
            f"{graphs[0].name if graphs else 'an encoder'}: expected folds of the same bands and precision, found "
            f"{len(graphs)} that differ; export the bundle again"
        )
    sessions: list[EncoderSession] = []
    try:
        for graph in graphs:
            sessions.append(open_session(options.backend, graph, options.session))
        return Encoder(sessions, graphs[0].bands, options.batch_size, served)
    except BaseException:
        for session in sessions:
            session.close()
        raise


def open_encoders(bundle: Bundle, options: EncoderOptions) -> dict[str, Encoder]:
    """Every encoder of a bundle, by member; engines are looked for in the bundle's own folder unless told otherwise.

    Raises:
        BackendError: the bundle lacks the precision, or the backend cannot run a graph here.
        BundleError, BundleHashError: a graph is gone, was changed or is not as the contract says.
    """
    if options.session.engines is None:
        options = replace(options, session=replace(options.session, engines=bundle.path / ENGINES_FOLDER))
    opened: dict[str, Encoder] = {}
    try:
        for member, record in bundle.manifest.encoders.items():
            opened[member] = open_encoder(bundle.graphs(member, options.precision), options, record.served)
    except BaseException:
        for encoder in opened.values():
            encoder.close()
        raise
    return opened
