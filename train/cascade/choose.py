"""Choose exits by a policy, and say everything that is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lsd.runtime.exits import Exit
from lsd.train.cascade.bounds import CONFIDENCE
from lsd.train.cascade.calibrated import exit_calibration, with_exits
from lsd.train.cascade.inputs import CascadeInputs
from lsd.train.cascade.judged import Costs
from lsd.train.cascade.ladder import (
    BY_POINT,
    CERTIFIED,
    MOST_CHANGED,
    MOST_LOST,
    SHARES,
    Rung,
    ladder_of,
    last_that_meets,
    policies_of,
)
from lsd.train.cascade.views import KFOLD

SCHEMA_VERSION = 1
STEPS = len(SHARES) + 1
TABLE_SHARES = frozenset(round(0.30 + 0.05 * step, 2) for step in range(14))  # of the ladder, kept in a manifest
NOTE = (
    "A patch leaves where the forest's probability, not calibrated, is below low or above high. nested: each fold "
    "judged with the pair that the other folds chose; in_sample: the pair for new patches, judged on the samples of "
    "all views, which chose it together. kfold: the run's own held-out predictions. leave_cluster_out: the forest saw "
    "nothing of a sample's region, the other members' predictions are as in kfold. land: without open sea. upper: "
    "one-sided 95 % Clopper-Pearson bound, in-distribution: it holds for ground like the training data, drawn "
    "independently, and for no other. Agreement with the ensemble is not truth: slides_left_low counts against labels."
)


@dataclass(frozen=True)
class Cascade:
    """exit: for new patches; None where the policy cannot be met. report: the document cascade.json."""

    exit: Exit | None
    report: dict[str, Any]


def choose(
    inputs: CascadeInputs, policy: str, costs: Costs | None = None, advance: Callable[[], object] = lambda: None
) -> Cascade:
    """Measure the whole trade-off and choose.

    Args:
        policy: of `ladder.POLICIES`. costs: None where they are not known.
        advance: called after each of `STEPS` steps.
    """
    ladder = ladder_of(inputs.views, costs, advance)
    rungs = policies_of(ladder)
    policies = {name: None if rung is None else _rung(rung) for name, rung in rungs.items()}
    chosen = rungs[policy]
    about = {
        "note": NOTE,
        "ensemble_run_sha256": inputs.run_sha256,
        "samples": len(inputs.views[0]),
        "positives": int(inputs.views[0].labels.sum()),
        "land": _land(inputs),
        "regions": inputs.regions,
        "left_out": inputs.left_out,
        "limits": {
            "label_changes": MOST_CHANGED,
            "found_slides_lost": MOST_LOST,
            "confidence": CONFIDENCE,
            "certified": "by the upper bound, in every view and scope, nested and in sample",
            "by-point": "by the share seen, in every view and scope, nested and in sample",
        },
        "costs_us": None if costs is None else vars(costs),
    }
    exit, calibrated = None, None
    if chosen is not None:
        view = next(one for one in inputs.views if one.name == KFOLD)
        calibration, was_held = exit_calibration(view, chosen.pair, inputs.look_threshold, inputs.threshold)
        calibrated = {"held_at_thresholds": was_held, **{one.name: with_exits(one, chosen) for one in inputs.views}}
        measured = {
            "policy": policy,
            **about,
            "chosen": policies[policy],
            "calibrated": calibrated,
            "table": [_flat(rung) for rung in ladder if rung.share in TABLE_SHARES],
        }
        exit = Exit(inputs.first, chosen.pair.low, chosen.pair.high, calibration, measured)
    advance()
    report = {
        "schema_version": SCHEMA_VERSION,
        "kind": "cascade",
        "configuration": inputs.document["configuration"],
        "members": [member["id"] for member in inputs.document["members"]],
        "first": inputs.first,
        "policy": policy,
        **about,
        "exit": None if exit is None else exit.to_json(),
        "policies": policies,
        "one_view_alone": _one_view_alone(inputs, ladder),
        "ladder": [_flat(rung) for rung in ladder],
    }
    return Cascade(exit, report)


def _land(inputs: CascadeInputs) -> dict[str, Any] | None:
    view = inputs.views[0]
    if "land" not in view.scopes:
        return None
    land = view.scopes["land"]
    return {"samples": int(land.sum()), "positives": int(view.labels[land].sum())}


def _one_view_alone(inputs: CascadeInputs, ladder: Sequence[Rung]) -> dict[str, dict[str, Any]]:
    """View -> policy -> what it would choose if it need not hold in the other view: share asked, share that leaves."""
    found: dict[str, dict[str, Any]] = {}
    for view in inputs.views:
        found[view.name] = {}
        for policy, measure in ((CERTIFIED, "upper"), (BY_POINT, "share")):
            rung = last_that_meets(ladder, measure, (view.name,))
            found[view.name][policy] = None if rung is None else _flat(rung)
    return found


def _rung(rung: Rung) -> dict[str, Any]:
    return {
        "asked_share": rung.share,
        "low": rung.pair.low,
        "high": rung.pair.high,
        "by_fold": {name: [[pair.low, pair.high] for pair in pairs] for name, pairs in rung.by_fold.items()},
        "nested": rung.nested,
        "in_sample": rung.in_sample,
    }


def _flat(rung: Rung) -> dict[str, Any]:
    """One line of the trade-off table: nested counts and bounds by view and scope."""
    views: dict[str, Any] = {}
    for name, scopes in rung.nested.items():
        views[name] = {
            scope: {
                "exit_share": row["exit"]["share"],
                **{
                    f"{key}{suffix}": row[key][measure]
                    for key in ("label_changes", "found_slides_lost", "slides_left_low")
                    for suffix, measure in (("", "number"), ("_upper", "upper"))
                },
                "f1": [row["f1"][key] for key in ("value", "low", "high")],
                "expected_us": row["expected_us"],
            }
            for scope, row in scopes.items()
        }
    return {"asked_share": rung.share, "low": rung.pair.low, "high": rung.pair.high, **views}
