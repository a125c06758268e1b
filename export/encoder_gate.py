"""The gate of encoders: graphs against torch, precisions against FP32; a network that hides faults is refused.

FP32 graphs are compared with the networks themselves on the golden and adversarial patches. Every other precision is
then compared with FP32 on these and on thousands more, since decisions that flip are rare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.export.adversarial import simulated_patches
from lsd.export.encoder_members import EncoderEvidence
from lsd.export.golden import golden_patches
from lsd.export.precision.shares import precision_shares
from lsd.export.precision.simulate import simulated
from lsd.export.references import torch_logits
from lsd.runtime.backends.base import EncoderGraph, Precision, SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.bands import BAND_NAMES, in_order
from lsd.runtime.chain import Chain
from lsd.runtime.errors import GateError, UsageError
from lsd.runtime.manifest import Configuration
from lsd.runtime.parity import ENCODER_PROBABILITY_ABSOLUTE, FLIPS_SHARE, StageResult, compare
from lsd.runtime.sigmoid import sigmoid

CHECKED_PATCHES = 3_000  # at least; a decision that flips once in a thousand must have a chance to show
CHUNK = 256
SEED = 7
# Of ONNX Runtime FP32 against torch, relative to the logit where it exceeds 1. Sums in another order: up to 1e-5 on the
# paper's networks (docs/performance.md), more where a network magnifies the rounding of extreme inputs.
LOGIT_RELATIVE = 1e-4
LEAST_SPREAD = 1.0  # standard deviation of logits: a network that always says the same hides every fault
LEAST_SHARE = 0.5  # of the convolutions and matrix products that must run in the precision asked for

Array = NDArray[np.float64]
Shown = tuple[str, tuple[str, ...]]  # an encoder, and the bands it is shown


@dataclass(frozen=True)
class Gate:
    """patches: float32 (n, 12, 64, 64), real ones to check on where there are some; simulated ones make up the number.
    threads: of ONNX Runtime; None is its default."""

    patches: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 12, 64, 64), np.float32))
    threads: int | None = None

    @cached_property
    def simulated(self) -> NDArray[np.float32]:
        """float32 (n, 12, 64, 64): simulated patches that make up the number; made once, 200 kB each."""
        missing = max(CHECKED_PATCHES - len(self.patches), 0)
        return simulated_patches(missing, SEED)

    @property
    def checked(self) -> int:
        """Number of patches beside the golden ones that precisions are compared on."""
        return max(CHECKED_PATCHES, len(self.patches))

    def ordinary(self, n: int) -> NDArray[np.float32]:
        """float32 (n, 12, 64, 64): patches of usual ground, real ones where there are enough of them."""
        if len(self.patches) >= n:
            return self.patches[np.linspace(0, len(self.patches) - 1, n, dtype=int)]
        return simulated_patches(n, SEED + 1)


def certify_encoders(
    chain: Chain,
    evidence: Mapping[str, EncoderEvidence],
    gate: Gate,
    say: Callable[[str], object] = lambda line: None,
) -> list[StageResult]:
    """Compare every graph of every encoder, and every configuration that asks one, with its reference.

    Raises:
        GateError: logits do not spread, are not finite, or a graph does not compute in the precision of its name.
    """
    results: list[StageResult] = []
    found: dict[Shown, dict[Precision, Array]] = {}
    for key, one in evidence.items():
        _require_shares(key, one)
        say(f"checking {key} against torch")
        results += _against_torch(key, one)
    for shown in dict.fromkeys(_shown(chain, configuration, key) for configuration, key in _asked(chain)):
        key, bands = shown
        logits = {}
        for precision, graphs in evidence[key].graphs.items():
            say(f"checking {key} at {precision} with {len(bands)} bands on {CHECKED_PATCHES} patches or more")
            logits[precision] = _logits(graphs, bands, gate, evidence)
        if bands == in_order(chain.manifest.encoders[key].bands):
            _require_spread(key, logits["fp32"])
        results += _precisions(shown, logits)
        found[shown] = {precision: sigmoid(values).mean(axis=0) for precision, values in logits.items()}
    if evidence:
        say("checking decisions")
    return results + _decisions(chain, found, gate, evidence)


def _asked(chain: Chain) -> Iterator[tuple[Configuration, str]]:
    for configuration in chain.manifest.configurations:
        for key in configuration.members:
            if key in chain.manifest.encoders:
                yield configuration, key


def _shown(chain: Chain, configuration: Configuration, key: str) -> Shown:
    """An encoder with the bands that a configuration shows it; the others are NaN."""
    return key, tuple(band for band in in_order(chain.manifest.encoders[key].bands) if band in configuration.bands)


def checked_patches(gate: Gate, evidence: Mapping[str, EncoderEvidence]) -> Iterator[NDArray[np.float32]]:
    """Golden and adversarial patches, those given, simulated ones up to the number; float32 (n, 12, 64, 64) each."""
    _, golden = golden_patches([one.scaling for one in evidence.values()])
    yield golden
    for patches in (gate.patches, gate.simulated):
        for start in range(0, len(patches), CHUNK):
            yield patches[start : start + CHUNK]


def _logits(
    graphs: tuple[EncoderGraph, ...], shown: tuple[str, ...], gate: Gate, evidence: Mapping[str, EncoderEvidence]
) -> Array:
    """float64 (graph, n) by ONNX Runtime; bands that are not shown are NaN.

    FP16 and BF16 are simulated by rounding after every operation: ONNX Runtime's own kernels on a CPU would hide an
    overflow (lsd.export.precision.simulate).
    """
    own = [BAND_NAMES.index(band) for band in graphs[0].bands]
    absent = [at for at, band in enumerate(graphs[0].bands) if band not in shown]
    rows = []
    for graph in graphs:
        shown_graph = graph
        if graph.precision in ("fp16", "bf16"):
            shown_graph = replace(graph, content=simulated(graph.content), precision="fp32")
        session = open_session("onnxruntime", shown_graph, SessionOptions(threads=gate.threads))
        try:
            chunks = [
                session.run(_without(patches[start : start + 8, own], absent))
                for patches in checked_patches(gate, evidence)
                for start in range(0, len(patches), 8)
            ]
        finally:
            session.close()
        rows.append(np.concatenate(chunks).astype(np.float64))
    found = np.stack(rows)
    if not np.isfinite(found).all():
        number, at = np.argwhere(~np.isfinite(found))[0]
        raise GateError(
            f"{graphs[number].name}: gives {found[number, at]} for checked patch {at}, expected a finite logit; "
            "do not use this network in this precision"
        )
    return found


def _without(patches: NDArray[np.float32], absent: list[int]) -> NDArray[np.float32]:
    shown = np.ascontiguousarray(patches)
    shown[:, absent] = np.nan
    return shown


def _against_torch(key: str, one: EncoderEvidence) -> list[StageResult]:
    """Logits of the FP32 graphs on golden and adversarial patches."""
    _, pixels = golden_patches([one.scaling])
    reference = torch_logits(one, pixels, BAND_NAMES)
    own = [BAND_NAMES.index(band) for band in one.graphs["fp32"][0].bands]
    results = []
    for number, graph in enumerate(one.graphs["fp32"]):
        session = open_session("onnxruntime", graph, SessionOptions(threads=1))
        found = session.run(np.ascontiguousarray(pixels[:, own]))
        session.close()
        stage = f"logits of graph {number}: ONNX Runtime against torch, golden and adversarial patches"
        results.append(
            compare(f"encoder {key}", stage, found, reference[number], LOGIT_RELATIVE, relative=True, cosine=True)
        )
    return results


def _require_shares(key: str, one: EncoderEvidence) -> None:
    for precision, graphs in one.graphs.items():
        for graph in graphs:
            shares = precision_shares(graph.content)
            if shares.get(precision, 0.0) < LEAST_SHARE:
                raise GateError(
                    f"{graph.name}: {100 * shares.get(precision, 0.0):.0f} % of the convolutions and matrix products "
                    f"of {key!r} run in {precision}, expected {100 * LEAST_SHARE:.0f} % or more; it is not what its "
                    "name says"
                )


def _require_spread(key: str, logits: Array) -> None:
    spread = float(logits.std(axis=1).min())
    if spread < LEAST_SPREAD:
        raise GateError(
            f"encoder {key}: logits of the checked patches spread by {spread:.2g}, expected {LEAST_SPREAD:g} or more: "
            "it says almost the same of everything, so that no comparison could show a fault; train it longer, or give "
            "real patches with --patches"
        )


def _precisions(shown: Shown, logits: Mapping[Precision, Array]) -> list[StageResult]:
    """Probability at every other precision against FP32; flips are counted at .5."""
    key, bands = shown
    reference = sigmoid(logits["fp32"]).mean(axis=0)
    return [
        compare(
            f"encoder {key}",
            f"probability at {precision} against fp32, {len(bands)} bands, checked patches",
            sigmoid(values).mean(axis=0),
            reference,
            ENCODER_PROBABILITY_ABSOLUTE[precision],
            threshold=0.5,
            flips_share=FLIPS_SHARE,
            cosine=True,
        )
        for precision, values in logits.items()
        if precision != "fp32"
    ]


def _decisions(
    chain: Chain,
    found: Mapping[Shown, Mapping[Precision, Array]],
    gate: Gate,
    evidence: Mapping[str, EncoderEvidence],
) -> list[StageResult]:
    """Decisions of every configuration that asks an encoder, at every precision against FP32."""
    results = []
    for configuration in dict.fromkeys(configuration.name for configuration, _ in _asked(chain)):
        one = next(c for c in chain.manifest.configurations if c.name == configuration)
        keys = [key for key in one.members if key in evidence]
        margins = _margins(chain, one, gate, evidence)
        answers = {
            precision: chain.probabilities(
                one, margins, {key: found[_shown(chain, one, key)][precision] for key in keys}
            )
            for precision in evidence[keys[0]].graphs
        }
        results += [
            compare(
                one.name,
                f"decisions at {precision} against fp32, checked patches",
                p,
                answers["fp32"],
                1.0,  # the members' probabilities are held to their own tolerance; here decisions count
                threshold=one.threshold,
                flips_share=FLIPS_SHARE,
            )
            for precision, p in answers.items()
            if precision != "fp32"
        ]
    return results


def _margins(
    chain: Chain, configuration: Configuration, gate: Gate, evidence: Mapping[str, EncoderEvidence]
) -> dict[str, NDArray[np.floating]]:
    """Of the forests of a configuration, on the checked patches."""
    chunks: dict[str, list[NDArray[np.floating]]] = {}
    for patches in checked_patches(gate, evidence):
        for member, rows in chain.features(configuration, patches, BAND_NAMES).items():
            chunks.setdefault(member, []).append(chain.forests[member].margins(rows))
    return {member: np.concatenate(several) for member, several in chunks.items()}


def patches_in(folder: Path) -> NDArray[np.float32]:
    """float32 (n, 12, 64, 64): `CHECKED_PATCHES` at most, evenly spaced, of a folder of ID.npy with labels.csv.

    Raises:
        TableError, PatchFileError, UsageError: the folder cannot be read, or holds patches of other units.
    """
    from lsd.train.datasets.npy import npy_dataset

    dataset = npy_dataset(folder, None).arranged(BAND_NAMES)
    if dataset.units != "canonical":
        raise UsageError(f"{folder}: expected patches in DN and dB, found {dataset.units} units")
    chosen = np.linspace(0, len(dataset) - 1, min(CHECKED_PATCHES, len(dataset)), dtype=int)
    return np.stack([dataset.read(int(position)) for position in chosen])
