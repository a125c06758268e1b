"""Members combined into an answer: the valid bands of a patch choose the configuration, its members give a probability.

An absent modality is never filled: a configuration answers only where all its bands are valid enough, and where none
does the patch is "not scored". Nor does an optical configuration call a patch free of slides if too much of it looks
like cloud, haze or snow: there is no telling what lies below. A detection stands; otherwise a radar configuration may
answer.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bundle import Bundle
from lsd.runtime.encoders import Encoder, EncoderOptions, open_encoders
from lsd.runtime.errors import BackendError
from lsd.runtime.features.sets import FeatureSet, named_statistics
from lsd.runtime.forest.compiled import CompiledForest
from lsd.runtime.forest.walk import TableWalk
from lsd.runtime.haze import is_hazy
from lsd.runtime.manifest import Configuration
from lsd.runtime.patches import PatchBatch
from lsd.runtime.prevalence import shifted
from lsd.runtime.scores import (
    CLOUD,
    LOOK,
    LOOKS_LIKE_CLOUD,
    NO_CONFIGURATION,
    NO_SLIDE,
    NOT_SCORED,
    OUT_OF_RANGE,
    SCORED,
    SLIDE,
    TOO_FEW_VALID_PIXELS,
    Scores,
)
from lsd.runtime.sigmoid import sigmoid

Backend = Literal["table", "compiled"]
Array = NDArray[np.float64]
# With a cloud layer that can be trusted, bright ground in a patch is ground; a patch that is mostly bright may still be
# a cloud that the layer missed.
LEAST_CLEAR_UNDER_LAYER = 0.5


class Forest(Protocol):
    """What the chain needs of a forest backend."""

    def margins(self, rows: NDArray[np.float32]) -> NDArray[np.floating]:
        """Log-odds (n,) of float32 (n, feature) rows; NaN is missing."""
        ...


class Chain:
    """Scores patches with the members of a bundle. Threads may share it if the bundle holds no encoder."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend = "table",
        prevalence: float | None = None,
        encoders: EncoderOptions | None = None,
        opened: dict[str, Encoder] | None = None,
    ) -> None:
        """Load every member with the backend asked for.

        Args:
            backend: of forests. encoders: backend, precision and batch size of encoders; None is the default. opened:
                the encoders themselves, by member, where they are opened elsewhere.
            prevalence: share of patches with a slide, above 0 and below 1, that `score` assumes instead of that of the
                training data. It moves probabilities, never a decision.
        Raises:
            BackendError: the bundle has no compiled forest for this machine, or an encoder cannot be opened.
            BundleError: a forest table is malformed.
        """
        self.manifest = bundle.manifest
        self.backend = backend
        self.prevalence = prevalence
        self.forests: dict[str, Forest] = {
            member: _compiled(bundle, member) if backend == "compiled" else TableWalk(bundle.forest(member))
            for member in bundle.manifest.members
        }
        self.encoder_options = encoders or EncoderOptions()
        self.encoders = open_encoders(bundle, self.encoder_options) if opened is None else opened

    def feature_sets(self, configuration: Configuration) -> dict[str, FeatureSet]:
        """Forest -> feature set of one configuration."""
        members = self.manifest.members
        sets = self.manifest.feature_sets
        return {key: sets[members[key].feature_set] for key in configuration.members if key in members}

    def features(
        self, configuration: Configuration, pixels: NDArray[np.float32], bands: tuple[str, ...]
    ) -> dict[str, NDArray[np.float32]]:
        """Forest -> float32 (n, feature); statistics that forests share are computed once."""
        sets = self.feature_sets(configuration)
        names = _without_repeats(name for one in sets.values() for name in one.statistics)
        statistics = named_statistics(pixels, bands, names)
        return {key: one.of_statistics(statistics) for key, one in sets.items()}

    def encoded(
        self, configuration: Configuration, pixels: NDArray[np.float32], bands: tuple[str, ...]
    ) -> dict[str, Array]:
        """Encoder -> probability float64 (n,); bands that the configuration does without are NaN for it."""
        shown = [bands.index(band) for band in configuration.bands]
        asked = [key for key in configuration.members if key in self.encoders]
        return {key: self.encoders[key].probabilities(pixels[:, shown], configuration.bands) for key in asked}

    def probabilities(
        self,
        configuration: Configuration,
        margins: Mapping[str, NDArray[np.floating]],
        encoded: Mapping[str, Array] = MappingProxyType({}),
    ) -> Array:
        """float64 (n,): the members' probabilities averaged in each part, the parts combined, calibrated.

        Args:
            margins: forest -> log-odds (n,). encoded: encoder -> probability float64 (n,).
        """
        found = {member: sigmoid(one) for member, one in margins.items()} | dict(encoded)
        parts = [
            np.asarray(sum(weight * found[member] for member, weight in zip(part.members, part.weights, strict=True)))
            for part in configuration.parts
        ]
        return configuration.calibration.apply(configuration.combination.apply(np.stack(parts, axis=1)))

    def score(self, batch: PatchBatch) -> Scores:
        """Answer a batch; each patch's answer depends on its own pixels only.

        Args:
            batch: patches in canonical units, NaN where invalid; any subset of the bands.
        Returns:
            Scores in the order of the batch.
        """
        n = len(batch)
        enough = self.manifest.min_valid_fraction
        probability = np.full(n, np.nan)
        decision = np.full(n, NOT_SCORED, np.uint8)
        chosen = np.zeros(n, np.uint8)
        valid = np.zeros(n, np.float32)
        hazy = np.zeros(n, bool)  # an optical configuration saw nothing, through what looks like cloud
        opaque = _clear_fraction(batch) < (LEAST_CLEAR_UNDER_LAYER if batch.clouds_known else enough)
        possible = False
        for number, configuration in enumerate(self.manifest.configurations, start=1):
            if not set(configuration.bands) <= set(batch.bands):
                continue
            possible = True
            if chosen.all():
                break
            optical = {"red", "blue"} <= set(configuration.bands)
            fraction = batch.valid_fraction(configuration.bands)
            answers = (chosen == 0) & (fraction >= enough)
            if optical:
                answers &= ~hazy
            valid = np.where(answers, fraction, np.where(chosen == 0, np.maximum(valid, fraction), valid))
            if not answers.any():
                continue
            features = self.features(configuration, batch.pixels[answers], batch.bands)
            margins = {member: self.forests[member].margins(rows) for member, rows in features.items()}
            encoded = self.encoded(configuration, batch.pixels[answers], batch.bands)
            p = self.probabilities(configuration, margins, encoded)
            called = _decided(p, configuration)
            unseen = optical & opaque[answers] & (called != SLIDE)
            hazy[answers] = unseen
            kept = np.flatnonzero(answers)[~unseen]
            probability[kept] = shifted(p[~unseen], configuration.prevalence, self.prevalence)
            decision[kept] = called[~unseen]
            chosen[kept] = number
        status = np.where(chosen > 0, SCORED, NO_CONFIGURATION).astype(np.uint8)
        if possible:
            status[chosen == 0] = _reasons(batch, hazy, 1.0 - enough)[chosen == 0]
        return Scores(probability.astype(np.float32), decision, chosen, valid, status)


def _compiled(bundle: Bundle, member: str) -> CompiledForest:
    record, machine = bundle.manifest.members[member], platform.machine()
    if machine not in record.compiled:
        raise BackendError(
            f"{bundle.path} holds no compiled forest of {member!r} for {machine} (found: "
            f"{', '.join(record.compiled) or 'none'}); use --backend table, or export with lsd-export build --with-c"
        )
    path = record.compiled[machine]
    return CompiledForest(bundle.contents[path], record.library, path)


def _clear_fraction(batch: PatchBatch) -> NDArray[np.float64]:
    """float64 (n,) in 0..1: share of pixels that do not look like cloud, haze or snow; 1 without red and blue."""
    if not {"red", "blue"} <= set(batch.bands):
        return np.ones(len(batch))
    red, blue = (batch.pixels[:, batch.bands.index(band)] for band in ("red", "blue"))
    return 1.0 - np.asarray(is_hazy(red, blue).mean(axis=(1, 2)), np.float64)


def _decided(probability: Array, configuration: Configuration) -> NDArray[np.uint8]:
    """uint8 (n,): `SLIDE` where p > threshold, `LOOK` where above the look threshold only."""
    look = np.where(probability > configuration.look_threshold, LOOK, NO_SLIDE)
    return np.asarray(np.where(probability > configuration.threshold, SLIDE, look), np.uint8)


def _reasons(batch: PatchBatch, hazy: NDArray[np.bool_], most: float) -> NDArray[np.uint8]:
    """uint8 (n,): why a patch that no configuration answered was not scored, the most telling reason first.

    Args:
        hazy: an optical configuration saw nothing, through what looks like cloud.
        most: share of the pixels that may be invalid.
    """
    reason = np.full(len(batch), TOO_FEW_VALID_PIXELS, np.uint8)
    for share, status in ((batch.out_of_range, OUT_OF_RANGE), (batch.cloud, CLOUD)):
        if share is not None:
            reason[share > most] = status
    reason[hazy] = LOOKS_LIKE_CLOUD
    return reason


def _without_repeats(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
