"""CARD.md of a network's run: what it is, what it was trained on, how good it is, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SYNTHETIC = (
    "**Trained on SYNTHETIC pixels: they test machinery. Its answers mean nothing on real ground, and its figures say "
    "nothing about real patches.**"
)


def card_of(document: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Markdown from run.json and environment.json."""
    data, recipe = document["data"], document["recipe"]
    samples = (
        "unknown number of patches"
        if data["samples"] is None
        else f"{data['samples']} patches, {data['positives']} with a slide"
    )
    lines = [f"# {document['configuration']}: {recipe['name']}", "", recipe["description"], ""]
    if data["synthetic"]:
        lines += [SYNTHETIC, ""]
    if data["units"] != "canonical":
        lines += [
            "**Trained on values in units of their own, so it cannot be exported: no product arrives in them.**",
            "",
        ]
    lines += [
        f"- Data: {data['name']}, licence {data['licence']}; {samples}; {data['source']}",
        f"- Bands: {', '.join(document['bands'])}",
        f"- {document['parameters']:,} parameters in each of {len(document['weights'])} folds, whose probabilities are "
        f"averaged; first weights: {', '.join(dict.fromkeys(document['origins']))}",
    ]
    if document["teacher"]:
        teacher = document["teacher"]
        lines.append(
            f"- Distilled: {teacher['weight']:g} of each target is the out-of-fold probability of {teacher['name']}, "
            "whose models saw the labels of this network's held-out patches: its figures are slightly flattered"
        )
    if environment:
        seconds = sum(environment["seconds"].values())
        lines.append(
            f"- Trained in {seconds / 60:.1f} minutes on {environment['device']}, {environment['precision']}, "
            f"{environment['processes']} process(es), {environment['threads']} thread(s) each"
        )
    lines += ["", *_figures(document)]
    return "\n".join(lines) + "\n"


def _figures(document: Mapping[str, Any]) -> list[str]:
    if not document["metrics"]:
        return ["No out-of-fold figures: the weights were imported. `lsd-train evaluate` judges them on your patches."]
    lines = [
        "Out of fold, 95 % intervals; nested: calibrated and cut by what the other folds chose.",
        "",
        "| configuration | F1, p > .5 | AUC | F1, nested | calibration error, nested |",
        "|---|---|---|---|---|",
    ]
    for one in document["configurations"]:
        kfold, nested = one["metrics"]["kfold"]["all"], one["metrics"]["nested"]["all"]
        cells = [_cell(kfold["f1"]), _cell(kfold["auc"]), _cell(nested["f1"]), _cell(nested["ece"])]
        lines.append(f"| `{one['name']}` | {' | '.join(cells)} |")
    return lines


def _cell(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
