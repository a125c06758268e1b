"""Members combined into an answer: the valid bands of a patch choose the configuration, its members give a probability.

An absent modality is never filled: a configuration answers only where all its bands are valid enough, and where none
does the patch is "not scored". Nor does an optical configuration call a patch free of slides if too much of it looks
like cloud, haze or snow: there is no telling what lies below. A detection stands; otherwise a radar configuration may
answer. Where a configuration has an exit, one forest part is asked first, and the rest only about what it leaves open.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bundle import Bundle
from lsd.runtime.encoders import Encoder, EncoderOptions, open_encoders
from lsd.runtime.errors import BackendError, LsdError
from lsd.runtime.exits import Exit, Exits, exits_in_use
from lsd.runtime.features.sets import FeatureSet, named_statistics
from lsd.runtime.forest.backends import Backend
from lsd.runtime.forest.native import NativeForest
from lsd.runtime.forest.walk import TableWalk
from lsd.runtime.haze import hazy_fraction
from lsd.runtime.manifest import Configuration, Part
from lsd.runtime.native.library import native_library
from lsd.runtime.patches import PatchBatch
from lsd.runtime.pending import Answered, Margins, Pending, some_of
from lsd.runtime.prevalence import shifted
from lsd.runtime.scores import (
    CLOUD,
    LEFT_AT_FOREST,
    LOOK,
    LOOKS_LIKE_CLOUD,
    NO_CONFIGURATION,
    NO_SLIDE,
    NO_STAGE,
    NOT_SCORED,
    OUT_OF_RANGE,
    SCORED,
    SLIDE,
    TOO_FEW_VALID_PIXELS,
    WHOLE_ENSEMBLE,
    Scores,
)
from lsd.runtime.sigmoid import sigmoid

Array = NDArray[np.float64]
NOTHING: Margins = MappingProxyType({})
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
        backend: Backend = "auto",
        prevalence: float | None = None,
        encoders: EncoderOptions | None = None,
        opened: dict[str, Encoder] | None = None,
        exits: Exits | None = None,
    ) -> None:
        """Load every member with the backend asked for.

        Args:
            backend: of forests: `native` and `table` (numpy) give the same bits, `auto` is the former where the native
                library is. encoders: backend, precision and batch size of encoders; None is the default. opened:
                the encoders themselves, by member, where they are opened elsewhere.
            prevalence: share of patches with a slide, above 0 and below 1, that `score` assumes instead of that of the
                training data. It moves probabilities, never a decision.
            exits: `off`, `certified`, (low, high) by hand, or None: those of the bundle if it holds any.
        Raises:
            BackendError: the bundle has no compiled forest for this machine, there is no native library, or an encoder
                cannot be opened.
            BundleError: a forest table is malformed. UsageError: the bundle has no such exits.
        """
        self.manifest = bundle.manifest
        self.backend = backend if backend != "auto" else "table" if native_library() is None else "native"
        self.prevalence = prevalence
        self.exits: dict[str, Exit] = exits_in_use(bundle.manifest, exits)
        self.forests: dict[str, Forest] = {
            member: _forest(bundle, member, self.backend) for member in bundle.manifest.members
        }
        self.encoder_options = encoders or EncoderOptions()
        self.encoders = open_encoders(bundle, self.encoder_options) if opened is None else opened

    def lay_out_forests(self) -> threading.Thread:
        """Begin to lay out native forests for the kernel, in a thread of its own, which is returned.

        Else each is laid out when its first rows come, 4 ms for 1,000 trees; that may happen at the same time. The last
        is begun with, as those who ask all of them ask the last one last. What a malformed forest raises, it raises
        again when it is asked.
        """
        forests = [forest for forest in self.forests.values() if isinstance(forest, NativeForest)]

        def work() -> None:
            for forest in reversed(forests):
                with suppress(LsdError):
                    forest.margins(np.empty((0, forest.forest.n_features), np.float32))

        thread = threading.Thread(target=work, name="lay out forests")
        thread.start()
        return thread

    def feature_sets(self, configuration: Configuration) -> dict[str, FeatureSet]:
        """Forest -> feature set of one configuration."""
        members = self.manifest.members
        sets = self.manifest.feature_sets
        return {key: sets[members[key].feature_set] for key in configuration.members if key in members}

    def features(
        self,
        configuration: Configuration,
        pixels: NDArray[np.float32],
        bands: tuple[str, ...],
        only: Container[str] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Forest -> float32 (n, feature), of these forests `only`; statistics that forests share are computed once."""
        sets = self.feature_sets(configuration)
        if only is not None:
            sets = {key: one for key, one in sets.items() if key in only}
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
        self, configuration: Configuration, margins: Margins, encoded: Mapping[str, Array] = MappingProxyType({})
    ) -> Array:
        """float64 (n,): the members' probabilities averaged in each part, the parts combined, calibrated.

        Args:
            margins: forest -> log-odds (n,). encoded: encoder -> probability float64 (n,).
        """
        found = {member: sigmoid(one) for member, one in margins.items()} | dict(encoded)
        parts = [_average(part, found) for part in configuration.parts]
        return configuration.calibration.apply(configuration.combination.apply(np.stack(parts, axis=1)))

    def first_probability(self, configuration: Configuration, exit: Exit, margins: Margins) -> Array:
        """float64 (n,): what the part asked first says, not calibrated; `exit` compares it with its limits.

        Args:
            margins: forest -> log-odds (n,), of that part's members at least.
        """
        part = _first_part(configuration, exit)
        return _average(part, {member: sigmoid(margins[member]) for member in part.members})

    def score(self, batch: PatchBatch) -> Scores:
        """Answer a batch; each patch's answer depends on its own pixels only.

        Args:
            batch: patches in canonical units, NaN where invalid; any subset of the bands.
        Returns:
            Scores in the order of the batch.
        """
        scores, _ = self._answer(Pending.of(batch), gather=False)
        return scores

    def begin(self, batch: PatchBatch, tile: int = 0) -> Answered:
        """As `score`, but patches that an encoder must be asked about are handed back, to be gathered.

        Args:
            tile: number that the answers are to carry.
        """
        return self.resume(Pending.of(batch, tile))

    def resume(self, pending: Pending) -> Answered:
        """Ask the encoders about gathered patches, and go on; what the next configuration's encoders must be asked
        about is handed back again."""
        scores, open_patches = self._answer(pending, gather=True)
        left = [at for one, places in open_patches for at in places]
        done = np.setdiff1d(np.arange(len(pending)), np.array(left, np.intp))
        if not left:
            return Answered(pending.tiles, pending.batch.rows, pending.batch.columns, scores, ())
        some = Scores(**{name: values[done] for name, values in vars(scores).items()})
        batch = pending.batch
        others = tuple(one for one, _ in open_patches)
        return Answered(pending.tiles[done], batch.rows[done], batch.columns[done], some, others)

    def _answer(self, start: Pending, gather: bool) -> tuple[Scores, list[tuple[Pending, NDArray[np.intp]]]]:
        """Answers of the patches that are done, and who is not, with their places in `start`."""
        batch, n = start.batch, len(start)
        enough = self.manifest.min_valid_fraction
        probability = np.full(n, np.nan)
        decision = np.full(n, NOT_SCORED, np.uint8)
        chosen, stage = np.zeros(n, np.uint8), np.full(n, NO_STAGE, np.uint8)
        valid, hazy = np.zeros(n, np.float32), start.hazy.copy()
        opaque = _clear_fraction(batch) < (LEAST_CLEAR_UNDER_LAYER if batch.clouds_known else enough)
        still = np.ones(n, bool)  # in search of a configuration
        gathered = []
        possible = False
        for number, configuration in enumerate(self.manifest.configurations, start=1):
            if number < start.number or not set(configuration.bands) <= set(batch.bands):
                continue
            possible = True
            if not still.any():
                break
            optical = {"red", "blue"} <= set(configuration.bands)
            fraction = batch.valid_fraction(configuration.bands)
            answers = still & (fraction >= enough)
            if optical:
                answers &= ~hazy
            valid = np.where(answers, fraction, np.where(still, np.maximum(valid, fraction), valid))
            if not answers.any():
                continue
            places = np.flatnonzero(answers)
            known = start.margins if number == start.number else None
            pixels = batch.pixels if answers.all() else batch.pixels[answers]
            p, leaves, margins = self._leave(configuration, pixels, batch.bands, known)
            rest = ~leaves
            if gather and known is None and rest.any() and self._asks_encoders(configuration):
                waiting = places[rest]
                rest_of = Pending(
                    some_of(batch, waiting), start.tiles[waiting], number, _of(margins, rest), hazy[waiting]
                )
                gathered.append((rest_of, waiting))
                still[waiting] = False
                places, p, leaves = places[leaves], p[leaves], leaves[leaves]
            elif rest.any():
                p[rest] = self._whole(
                    configuration, pixels if rest.all() else pixels[rest], batch.bands, _of(margins, rest)
                )
            called = _decided(p, configuration)
            unseen = optical & opaque[places] & (called != SLIDE)
            hazy[places] = unseen
            kept = places[~unseen]
            probability[kept] = shifted(p[~unseen], configuration.prevalence, self.prevalence)
            decision[kept] = called[~unseen]
            chosen[kept] = number
            stage[kept] = np.where(leaves[~unseen], LEFT_AT_FOREST, WHOLE_ENSEMBLE)
            still[kept] = False
        status = np.where(chosen > 0, SCORED, NO_CONFIGURATION).astype(np.uint8)
        if possible:
            status[chosen == 0] = _reasons(batch, hazy, 1.0 - enough)[chosen == 0]
        return Scores(probability.astype(np.float32), decision, chosen, valid, status, stage), gathered

    def _asks_encoders(self, configuration: Configuration) -> bool:
        return any(member in self.encoders for member in configuration.members)

    def _leave(
        self,
        configuration: Configuration,
        pixels: NDArray[np.float32],
        bands: tuple[str, ...],
        known: Margins | None,
    ) -> tuple[Array, NDArray[np.bool_], Margins]:
        """Probability float64 (n,) of patches that leave after the first part, else NaN; who leaves, bool (n,); the
        first part's margins, for the others.

        Args:
            known: these margins where the first part was asked already and nobody left.
        """
        p, nobody = np.full(len(pixels), np.nan), np.zeros(len(pixels), bool)
        exit = self.exits.get(configuration.name)
        if exit is None or known is not None:
            return p, nobody, known or NOTHING
        asked = _first_part(configuration, exit).members
        rows = self.features(configuration, pixels, bands, asked)
        margins = {member: self.forests[member].margins(rows[member]) for member in asked}
        first = self.first_probability(configuration, exit, margins)
        leaves = exit.leaves(first)
        p[leaves] = exit.calibration.apply(first[leaves])
        return p, leaves, margins

    def _whole(
        self, configuration: Configuration, pixels: NDArray[np.float32], bands: tuple[str, ...], known: Margins
    ) -> Array:
        """Calibrated probability float64 (n,) of all members, of which the margins of some are known."""
        unknown = [member for member in configuration.members if member not in known]
        features = self.features(configuration, pixels, bands, unknown)
        margins = {member: self.forests[member].margins(rows) for member, rows in features.items()}
        return self.probabilities(configuration, {**known, **margins}, self.encoded(configuration, pixels, bands))


def _average(part: Part, found: Mapping[str, Array]) -> Array:
    return np.asarray(sum(weight * found[member] for member, weight in zip(part.members, part.weights, strict=True)))


def _first_part(configuration: Configuration, exit: Exit) -> Part:
    return next(part for part in configuration.parts if part.name == exit.part)


def _of(margins: Margins, chosen: NDArray[np.bool_]) -> Margins:
    return {member: values[chosen] for member, values in margins.items()}


def _forest(bundle: Bundle, member: str, backend: str) -> Forest:
    if backend == "compiled":
        return _compiled(bundle, member)
    table = bundle.forest(member)
    return NativeForest(table) if backend == "native" else TableWalk(table)


def _compiled(bundle: Bundle, member: str) -> Forest:
    from lsd.runtime.forest.compiled import CompiledForest

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
    return 1.0 - hazy_fraction(batch.pixels, batch.bands.index("red"), batch.bands.index("blue"))


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
