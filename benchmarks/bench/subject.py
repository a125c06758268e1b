"""What is measured: a bundle's chain on this machine, after its self-test, with patches ready to be asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.bench.content import synthetic_patches
from lsd.benchmarks.bench.options import BenchOptions
from lsd.benchmarks.bench.scenarios import Query
from lsd.runtime.bundle import Bundle, open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.cli.serving_of import serving_of
from lsd.runtime.errors import ConfigurationError
from lsd.runtime.manifest import Configuration, Manifest
from lsd.runtime.nearest import did_you_mean
from lsd.runtime.patches import PatchBatch
from lsd.runtime.scores import DECISION_TEXT, STAGE_TEXT, STATUS_TEXT
from lsd.runtime.sinks.context import RunContext

LEAST_PATCHES = 256  # in turn: 50 MB of 12 bands, so that pixels come from memory and not from a cache


@dataclass(frozen=True)
class Subject:
    """An opened bundle and the patches that it is asked about in turn. For one thread.

    pixels: float32 (n, band, 64, 64), of the bands of `configuration`.
    """

    bundle: Bundle
    chain: Chain
    context: RunContext
    configuration: Configuration
    pixels: NDArray[np.float32]

    def batch(self, start: int, patches: int) -> PatchBatch:
        """Patches of the pool as a reader hands them over, new each time: a batch remembers what was asked of it."""
        cells = np.zeros(patches, np.intp)
        return PatchBatch(self.pixels[start : start + patches], self.configuration.bands, cells, cells)

    def query(self, patches: int, score: Callable[[PatchBatch], object] | None = None) -> Query:
        """Function that scores the next so many patches of the pool, which begins again at its end.

        Args:
            score: what answers, None for the chain.
        """
        score = self.chain.score if score is None else score
        places = len(self.pixels) // patches
        cells, bands, pixels = np.zeros(patches, np.intp), self.configuration.bands, self.pixels
        parts = [pixels[place * patches : (place + 1) * patches] for place in range(places)]
        turn = count()

        def ask(_: int) -> object:
            return score(PatchBatch(parts[next(turn) % places], bands, cells, cells))

        return ask

    def answers(self) -> dict[str, dict[str, int]]:
        """How the pool is answered: patches by status, decision and the stage that answered."""
        found = self.chain.score(self.batch(0, len(self.pixels)))
        texts = {"status": STATUS_TEXT, "decision": DECISION_TEXT, "stage": STAGE_TEXT}
        return {kind: dict(Counter(text[int(value)] for value in getattr(found, kind))) for kind, text in texts.items()}


def open_subject(path: Path, options: BenchOptions) -> Subject:
    """Open a bundle as lsd-run does, self-test included, and make the patches.

    Raises:
        BundleError, BackendError: it cannot be opened or used here. GateError: the self-test failed.
        ConfigurationError: the bundle has no such configuration.
    """
    bundle = open_bundle(path, without_encoders=True)
    configuration = configuration_of(bundle.manifest, options.configuration)
    serving, _ = serving_of(path, options.run, None)
    patches = max(LEAST_PATCHES, options.batch_size, options.patches)
    return Subject(
        bundle, serving.chain, serving.context, configuration, synthetic_patches(patches, configuration.bands)
    )


def configuration_of(manifest: Manifest, name: str | None) -> Configuration:
    """The configuration of that name, the first without one.

    Raises:
        ConfigurationError: there is none of that name.
    """
    known = {one.name: one for one in manifest.configurations}
    if name is not None and name not in known:
        hint = did_you_mean(name, known) or f" (known: {', '.join(known)})"
        raise ConfigurationError(f"the bundle has no configuration {name!r}{hint}")
    return manifest.configurations[0] if name is None else known[name]
