"""Compare this machine with the reference outputs of the golden patches that travel in a bundle.

golden.npz: `pixels` float32 (n, band, 64, 64), `bands`, `names` of the patches, and for each configuration c and member
m `c/m/features`, `c/m/margins`, and `c/probability` of the whole ensemble, as the exporting machine gave them after its
gate was passed. Where a configuration has an exit, `c/exit/side` int8 (-1 left low, 0 stayed, 1 left high) and
`c/exit/probability`, NaN for those that stayed; for an exit by hand, and in bundles made before, both follow from the
margins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import Precision
from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import GateError
from lsd.runtime.exits import Exit
from lsd.runtime.manifest import Configuration
from lsd.runtime.sigmoid import sigmoid

# One table of tolerances, each with its reason
FEATURE_RELATIVE = (
    1e-6  # sums of 4,096 float64 may be added in another order elsewhere: 1e-13, then one float32 rounding
)
TABLE_MARGIN_ABSOLUTE = 0.0  # the same additions in the same order: equal bit for bit
COMPILED_MARGIN_ABSOLUTE = 1e-4  # generated XGBoost code sums float32 in another order (measured up to 4.3e-5)
PROBABILITY_ABSOLUTE = 1e-3  # a feature off by one float32 unit may cross a threshold in one tree
# Encoders. FP32: another order of float32 sums, up to 1e-5 on logits. Below FP32: the gate that a precision must pass.
ENCODER_PROBABILITY_ABSOLUTE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.005, "bf16": 0.005, "int8": 0.005}
FLIPS_SHARE = 0.001  # of decisions, that a precision below FP32 may change

LOW, STAYS, HIGH = -1, 0, 1  # where a patch leaves
SIDE_TEXT = {LOW: "low", HIGH: "high"}


@dataclass(frozen=True)
class ExitAnswers:
    """What an exit says of n patches. side: int8 (n,) of `LOW`, `STAYS`, `HIGH`. probability: float64 (n,) in 0..1,
    calibrated, NaN for those that stay."""

    side: NDArray[np.int8]
    probability: NDArray[np.float64]


@dataclass(frozen=True)
class Leaving:
    """How many patches leave low and high, and which: name -> `low` or `high`, where patches have names."""

    low: int
    high: int
    patches: dict[str, str]

    @classmethod
    def of(cls, side: NDArray[np.int8], names: Sequence[str] = ()) -> Leaving:
        """Counted from int8 (n,) sides."""
        gone = {name: SIDE_TEXT[int(one)] for name, one in zip(names, side, strict=False) if one != STAYS}
        return cls(int((side == LOW).sum()), int((side == HIGH).sum()), gone)


@dataclass(frozen=True)
class StageResult:
    """One stage compared with its reference. max and p99_9: of the absolute (features: relative) error; nan_mismatches:
    places where only one of both is NaN; flips: decisions that differ (probability stages only), of which flips_allowed
    may; cosine: of both vectors (encoders only). leave, leave_by_reference: who leaves (exit stages only); a patch that
    leaves by one of them only counts as a mismatch of NaN, one that leaves low instead of high as a flip."""

    configuration: str
    stage: str
    values: int
    max_error: float
    p99_9_error: float
    tolerance: float
    nan_mismatches: int
    flips: int
    flips_allowed: int = 0
    cosine: float | None = None
    leave_by_reference: Leaving | None = None
    leave: Leaving | None = None

    @property
    def passed(self) -> bool:
        """True if the error is within the tolerance, NaN stand in the same places and no more decisions differ."""
        return self.max_error <= self.tolerance and self.nan_mismatches == 0 and self.flips <= self.flips_allowed

    def to_json(self) -> dict[str, Any]:
        """For the certificate; what only exit stages have stands only there."""
        stored = {key: value for key, value in asdict(self).items() if value is not None or not key.startswith("leave")}
        return {**stored, "passed": self.passed}


def compare(
    configuration: str,
    stage: str,
    found: NDArray[np.floating],
    reference: NDArray[np.floating],
    tolerance: float,
    relative: bool = False,
    threshold: float | None = None,
    flips_share: float = 0.0,
    cosine: bool = False,
) -> StageResult:
    """Compare two arrays of one shape; equal infinities count as equal.

    Args:
        relative: errors are divided by the magnitude of the reference, or by 1 where that is smaller.
        threshold: if given, decisions `value > threshold` that differ are counted as flips.
        flips_share: share of the values that may flip. cosine: measure it, over the values that are finite in both.
    """
    a, b = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    both = ~np.isnan(a) & ~np.isnan(b)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.where(a == b, 0.0, np.abs(a - b) / (np.maximum(np.abs(b), 1.0) if relative else 1.0))[both]
    flips = 0 if threshold is None else int(((a > threshold) != (b > threshold)).sum())
    largest = float(error.max(initial=0.0))
    return StageResult(
        configuration,
        stage,
        int(a.size),
        largest,
        float(np.quantile(error, 0.999)) if largest else 0.0,
        tolerance,
        int((np.isnan(a) != np.isnan(b)).sum()),
        flips,
        int(flips_share * a.size),
        _cosine(a, b) if cosine else None,
    )


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    finite = np.isfinite(a) & np.isfinite(b)
    lengths = float(np.linalg.norm(a[finite]) * np.linalg.norm(b[finite]))
    return float(a[finite] @ b[finite]) / lengths if lengths else 1.0


def check_golden(bundle: Bundle, chain: Chain) -> list[StageResult]:
    """Run every stage of every configuration on the golden patches: the whole ensemble, and the exits in use.

    Raises:
        BundleError: golden.npz is missing.
        GateError: it lacks a stage.
    """
    golden = bundle.golden()
    tolerance = ENCODER_PROBABILITY_ABSOLUTE[chain.encoder_options.precision]
    margin_tolerance = COMPILED_MARGIN_ABSOLUTE if chain.backend == "compiled" else TABLE_MARGIN_ABSOLUTE
    results = []
    try:
        bands = tuple(str(band) for band in golden["bands"])
        pixels = np.asarray(golden["pixels"], np.float32)
        for key, encoder in chain.encoders.items():
            reference = sigmoid(np.asarray(golden[f"encoders/{key}/logits"], np.float32)).mean(axis=0)
            stage = f"probability at {chain.encoder_options.precision} on {chain.encoder_options.backend}"
            results.append(compare(f"encoder {key}", stage, encoder.probabilities(pixels, bands), reference, tolerance))
        for configuration in chain.manifest.configurations:
            name = configuration.name
            features = chain.features(configuration, pixels, bands)
            margins: dict[str, NDArray[np.floating]] = {}
            for member, rows in features.items():
                reference = golden[f"{name}/{member}/features"]
                found = chain.forests[member].margins(np.asarray(reference, np.float32))
                stage = f"features {member}"
                results.append(compare(name, stage, rows, _real(reference), FEATURE_RELATIVE, relative=True))
                expected = _real(golden[f"{name}/{member}/margins"])
                results.append(compare(name, f"margins {member}", found, expected, margin_tolerance))
                same = np.array_equal(rows, reference, equal_nan=True)  # as a rule: then so are their margins
                margins[member] = found if same else chain.forests[member].margins(rows)
            encoded = chain.encoded(configuration, pixels, bands)
            p = chain.probabilities(configuration, margins, encoded)
            expected = _real(golden[f"{name}/probability"])
            allowed = max(PROBABILITY_ABSOLUTE, tolerance) if encoded else PROBABILITY_ABSOLUTE
            results.append(compare(name, "probability", p, expected, allowed, threshold=configuration.threshold))
            if (exit := chain.exits.get(name)) is not None:
                results.append(_compare_exit(golden, chain, configuration, exit, margins))
    except KeyError as error:
        raise GateError(f"{bundle.path}: golden patches lack {error}; export the bundle again") from error
    return results


def exit_answers(
    chain: Chain, configuration: Configuration, exit: Exit, margins: Mapping[str, NDArray[np.floating]]
) -> ExitAnswers:
    """Who leaves at the exit, and with which probability.

    Args:
        margins: forest -> log-odds (n,), of the part asked first at least.
    """
    first = chain.first_probability(configuration, exit, margins)
    leaves = exit.leaves(first)
    side = np.where(leaves, np.where(first > exit.high, HIGH, LOW), STAYS).astype(np.int8)
    return ExitAnswers(side, np.where(leaves, exit.calibration.apply(first), np.nan))


def compare_exits(
    configuration: Configuration,
    stage: str,
    found: ExitAnswers,
    reference: ExitAnswers,
    tolerance: float,
    names: Sequence[str] = (),
) -> StageResult:
    """Who leaves and with which probability, in both; patches that leave on other sides are flips.

    Args:
        tolerance: of the probability. names: of the patches, where they have some.
    """
    result = compare(configuration.name, stage, found.probability, reference.probability, tolerance)
    both = (found.side != STAYS) & (reference.side != STAYS)
    crossed = both & (found.side != reference.side)
    called = (found.probability > configuration.threshold) != (reference.probability > configuration.threshold)
    return replace(
        result,
        nan_mismatches=int(((found.side != STAYS) != (reference.side != STAYS)).sum()),
        flips=int((crossed | (both & called)).sum()),
        leave_by_reference=Leaving.of(reference.side, names),
        leave=Leaving.of(found.side, names),
    )


def _compare_exit(
    golden: Mapping[str, NDArray[np.generic]],
    chain: Chain,
    configuration: Configuration,
    exit: Exit,
    margins: Mapping[str, NDArray[np.floating]],
) -> StageResult:
    """Who leaves, and with which probability, against what the exporting machine stored, or what its margins say."""
    name, stored = configuration.name, f"{configuration.name}/exit/side"
    if exit == configuration.exit and stored in golden:
        reference = ExitAnswers(
            np.asarray(golden[stored], np.int8), np.asarray(golden[f"{name}/exit/probability"], np.float64)
        )
    else:
        known = {m: np.asarray(golden[f"{name}/{m}/margins"], values.dtype) for m, values in margins.items()}
        reference = exit_answers(chain, configuration, exit, known)
    found = exit_answers(chain, configuration, exit, margins)
    names = [str(one) for one in golden.get("names", ())]
    return compare_exits(configuration, "exit", found, reference, PROBABILITY_ABSOLUTE, names)


def require(results: list[StageResult], where: str) -> None:
    """Raise GateError naming the worst stage unless all passed."""
    failed = [result for result in results if not result.passed]
    if failed:
        worst = max(failed, key=lambda result: result.max_error)
        raise GateError(
            f"{where}: {len(failed)} of {len(results)} stages differ from the reference; {worst.configuration} "
            f"{worst.stage}: error {worst.max_error:.3g} (at most {worst.tolerance:.3g}), {worst.nan_mismatches} NaN "
            f"mismatches, {worst.flips} flips{_who(worst)}; do not use this bundle on this machine"
        )


def _who(result: StageResult) -> str:
    """Names of patches that leave elsewhere than by the reference, for the message."""
    if result.leave is None or result.leave_by_reference is None:
        return ""
    here, there = result.leave.patches, result.leave_by_reference.patches
    other = [name for name in {**there, **here} if here.get(name) != there.get(name)]
    said = [f"{name!r} ({here.get(name, 'stays')}, expected {there.get(name, 'stays')})" for name in other[:3]]
    return f", exits differ for {', '.join(said)}" if said else ""


def _real(stored: NDArray[np.generic]) -> NDArray[np.floating]:
    return np.asarray(stored, np.float64)
