"""The trade-off of exits as a report to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TITLES = {"kfold": "K-fold", "leave_cluster_out": "regions left out"}
COLUMNS = (
    "asked", "leave", "label changes", "found slides lost", "slides left low", "F1 with exits", "F1 change",
    "us a patch",
)  # fmt: skip


def text_of(report: Mapping[str, Any]) -> str:
    """Markdown: the chosen exits, the named policies, and the ladder of shares, by view and scope."""
    return "\n".join([*_head(report), *_policies(report), *_ladder(report), "", report["note"], ""])


def _head(report: Mapping[str, Any]) -> Iterable[str]:
    limits, exit = report["limits"], report["exit"]
    yield f"# Early exits of `{report['configuration']}`: `{report['first']}` first, of {', '.join(report['members'])}"
    yield ""
    yield (
        f"{report['samples']} samples, {report['positives']} slides; regions left out: {report['regions']}. Limits: "
        f"label changes {100 * limits['label_changes']:g} %, found slides lost "
        f"{100 * limits['found_slides_lost']:g} %. Bounds are 95 %, one-sided, in-distribution."
    )
    for name, why in report["left_out"].items():
        yield f"Not judged: {name}, since {why}."
    if report["costs_us"] is None:
        yield "Microseconds a patch: unknown (--forest-us, --encoder-us)."
    yield ""
    if exit is None:
        yield f"**Policy `{report['policy']}`: no exits meet it.** Every patch goes to the whole ensemble."
        return
    yield (
        f"**Policy `{report['policy']}`: leave below {exit['low']:.6g} and above {exit['high']:.8g}**, calibrated by "
        f"{exit['calibration']['method']}."
    )
    for view, scopes in report["policies"][report["policy"]]["in_sample"].items():
        shares = ", ".join(f"{100 * row['exit']['share']:.1f} % of {scope}" for scope, row in scopes.items())
        changes = scopes["all"]["label_changes"]["number"]
        yield f"On the samples that chose them, {TITLES[view]}: {shares} leave, {changes} labels change."
    calibrated = exit["measured"]["calibrated"]
    for view in TITLES:
        if view in calibrated:
            pairs = (f"{name.upper()} {_of(calibrated[view], name)}" for name in ("f1", "ece", "brier"))
            yield f"Without exits -> with, calibrated and nested, {TITLES[view]}: {', '.join(pairs)}."


def _of(measures: Mapping[str, Any], name: str) -> str:
    return " -> ".join(f"{measures[one][name]['value']:.4f}" for one in ("whole", "with_exits"))


def _policies(report: Mapping[str, Any]) -> Iterable[str]:
    yield ""
    yield "## Policies, nested: each fold judged with what the other folds chose"
    for view, title in TITLES.items():
        for scope in ("all", "land"):
            lines = list(_rows(report["policies"], view, scope))
            if lines:
                yield from (
                    "",
                    f"{title}, {'all patches' if scope == 'all' else 'land only'}",
                    "",
                    *_table_head("policy"),
                )
                yield from lines
    yield ""
    for view, found in report["one_view_alone"].items():
        for policy, rung in found.items():
            asked = "none" if rung is None else f"{rung['asked_share']:.2f}"
            yield f"{policy} by {TITLES[view]} alone: {asked}."
    missed = [name for name, rung in report["policies"].items() if rung is None]
    if missed:
        yield ""
        yield f"No exits meet: {', '.join(missed)}."


def _rows(policies: Mapping[str, Any], view: str, scope: str) -> Iterable[str]:
    for name, rung in policies.items():
        row = None if rung is None else rung["nested"].get(view, {}).get(scope)
        if row is not None:
            f1, change = row["f1"], row["f1_change"]
            cells = (
                name,
                f"{rung['asked_share']:.2f}",
                f"{100 * row['exit']['share']:.1f} %",
                *(_count(row[key]) for key in ("label_changes", "found_slides_lost", "slides_left_low")),
                f"{f1['value']:.4f} ({f1['low']:.4f} to {f1['high']:.4f})",
                f"{change['value']:+.4f} ({change['low']:+.4f} to {change['high']:+.4f})",
                _us(row["expected_us"]),
            )
            yield f"| {' | '.join(cells)} |"


def _table_head(first: str) -> tuple[str, str]:
    names = (first, *COLUMNS)
    return f"| {' | '.join(names)} |", "|---" * len(names) + "|"


def _count(cell: Mapping[str, float]) -> str:
    return f"{cell['number']} of {cell['of']}, {100 * cell['share']:.2f} % (at most {100 * cell['upper']:.2f} %)"


def _us(expected_us: float | None) -> str:
    return "unknown" if expected_us is None else f"{expected_us:.0f}"


def _ladder(report: Mapping[str, Any]) -> Iterable[str]:
    yield ""
    yield "## Every share, nested, all patches: counts (upper bound)"
    for view, title in TITLES.items():
        rows = [rung for rung in report["ladder"] if view in rung]
        if not rows:
            continue
        yield from (
            "",
            title,
            "",
            "| asked | leave | label changes | found slides lost | slides left low | F1 | low | high |",
        )
        yield "|---|---|---|---|---|---|---|---|"
        for rung in rows:
            row = rung[view]["all"]
            counts = (
                f"{row[key]} ({100 * row[f'{key}_upper']:.2f} %)"
                for key in ("label_changes", "found_slides_lost", "slides_left_low")
            )
            cells = (f"{rung['asked_share']:.2f}", f"{100 * row['exit_share']:.1f} %", *counts, f"{row['f1'][0]:.4f}")
            yield f"| {' | '.join(cells)} | {rung['low']:.6g} | {rung['high']:.8g} |"
