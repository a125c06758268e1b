"""MODEL_CARD.md of a bundle: what it was trained on, how good it is and how sure that is, what it is not for."""

from __future__ import annotations

from typing import Any

from lsd.runtime.manifest import Configuration, Manifest

METRICS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "auc": "AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "precision_at_recall_0.8": "precision at recall .8",
    "precision_at_recall_0.9": "precision at recall .9",
    "precision_at_prevalence_0.02": "precision if 2 % of the patches hold slides",
    "precision_at_prevalence_0.01": "precision if 1 % do",
    "precision_at_prevalence_0.002": "precision if .2 % do",
}
WAYS = {
    "kfold": "Out of fold, members combined, not calibrated, p > .5",
    "nested": "Out of fold, calibrated and cut by what the other folds chose: how the bundle decides",
    "leave_cluster_out": "Whole clusters of similar ground left out (a proxy for another region), p > .5",
}
LIMITS = """## What it must not be used for

- To say that ground is safe. A patch without a detection is a patch where nothing was seen; unseen ground is marked as
  such.
- To say that an event caused a slide: the optical bands are from after the event only, and old scars, quarries, river
  bars and fresh roads look alike. Nor to map outlines or areas of slides: a detection is 41 ha of ground looked at.
- As the only basis of a decision about people. Every detection is automatic and unvalidated.
- On other inputs: Level-1C, terrain-flattened radar levels, another resolution, cloud. The models do not know clouds:
  lsd-run masks them by the cloud layer, or leaves open what looks like cloud.
- At face value where slides are rare: probabilities assume the prevalence of the training data. The precision at 2, 1
  and .2 % above shows what that means in the field.
"""


def model_card(manifest: Manifest) -> str:
    """The card as Markdown, from the manifest alone."""
    lines = [f"# {manifest.name}\n", f"{manifest.description}\n"]
    if manifest.synthetic:
        lines.append("**Trained on synthetic data: it tests machinery, its answers mean nothing on real ground.**\n")
    lines.append(f"Licence of this bundle: {manifest.licence}. Written by lsd-edge {manifest.lsd_version}.\n")
    lines += [*_overview(manifest), ""]
    for configuration in manifest.configurations:
        training = manifest.training[configuration.name]
        data = training["data"]
        lines += [
            f"## Configuration `{configuration.name}`\n",
            f"- Bands: {', '.join(configuration.bands)}",
            *_members(configuration, manifest, training["recipe"]["name"]),
            _data(data, configuration),
            f"- Calibration: {configuration.calibration.method}; positive is p > {configuration.threshold:.4f}",
            *_look(configuration),
            *_exit(configuration),
            _folds(training["folds"]),
            *_fitted(configuration, manifest),
            "",
        ]
        if not configuration.metrics:
            lines += ["**Never judged on labelled patches: nothing is known of its errors.**\n"]
        for way, title in WAYS.items():
            if way in configuration.metrics:
                lines += [f"### {title}\n", *_table(configuration.metrics[way]), ""]
    return "\n".join([*lines, LIMITS])


def _members(configuration: Configuration, manifest: Manifest, recipe: str) -> list[str]:
    """What the configuration asks: forests, networks, and how they are combined."""
    lines = []
    forests = [member for member in configuration.members if member in manifest.members]
    if forests:
        trees = sum(manifest.members[member].trees for member in forests)
        lines.append(f"- Forests: {len(forests)} of {trees} trees in all, recipe `{recipe}`")
    for member in configuration.members:
        if member in manifest.encoders:
            encoder = manifest.encoders[member]
            absent = [band for band in encoder.bands if band not in configuration.bands]
            without = f", without {', '.join(absent)} (trained to do so)" if absent else ""
            lines.append(
                f"- Network `{member}`: {' + '.join(encoder.backbones)}, {encoder.parameters:,} parameters, "
                f"{len(encoder.graphs['fp32'])} graph(s), at {', '.join(encoder.graphs)}{without}"
            )
    if len(configuration.parts) > 1:
        names = ", ".join(
            f"{part.name} {weight:.3f}"
            for part, weight in zip(configuration.parts, configuration.combination.weights, strict=True)
        )
        lines.append(f"- Combined by {configuration.combination.method}: {names}")
    return lines


def _data(data: dict[str, Any], configuration: Configuration) -> str:
    if data["samples"] is None:
        return f"- Data: {data['name']}, licence {data['licence']}; weights trained elsewhere, not on data seen here"
    return (
        f"- Data: {data['name']}, licence {data['licence']}; {data['samples']} patches, {data['positives']} with a "
        f"slide ({100 * configuration.prevalence:.1f} %); {data['source']}, SHA-256 {data['sha256'][:16]}..."
    )


def _exit(configuration: Configuration) -> list[str]:
    """Which patches leave before the whole ensemble is asked."""
    exit = configuration.exit
    if exit is None:
        return []
    policy = exit.measured.get("policy", "set by hand")
    return [
        f"- Early exit: a patch whose probability by `{exit.part}`, not calibrated, is below {exit.low:g} or above "
        f"{exit.high:g} is answered by it alone (policy {policy}). What that costs was counted on the training data, "
        "in-distribution: see `exit.measured` of this configuration in the manifest."
    ]


def _folds(folds: dict[str, Any]) -> str:
    if "seed" not in folds:
        return f"- Folds: {folds['number']}, {folds['kind']}"
    return (
        f"- Folds: {folds['number']} by {folds['kind']}, seed {folds['seed']}: one split of many, others differ by up "
        "to a hundredth of F1"
    )


def _fitted(configuration: Configuration, manifest: Manifest) -> list[str]:
    """Which patches the members saw, against those that judged them."""
    lines = []
    if any(member in manifest.members for member in configuration.members):
        lines.append(
            "- The forests here are fitted on all patches; the figures below come from forests that did not see the "
            "patch they judge."
        )
    if any(member in manifest.encoders for member in configuration.members):
        lines.append(
            "- The networks here are those of the folds, averaged; the figures below come from the one that did not "
            "see the patch it judges."
        )
    return lines


def _overview(manifest: Manifest) -> list[str]:
    """One line a configuration, in order of preference."""
    lines = [
        "## Configurations\n",
        "The first whose bands are valid answers a patch. Calibrated and cut by what other folds chose, all "
        "patches; the last column leaves whole clusters of similar ground out.\n",
        "| configuration | F1 | AUC | calibration error | precision at recall .9 | F1, clusters left out |",
        "|---|---|---|---|---|---|",
    ]
    for one in manifest.configurations:
        nested = one.metrics.get("nested", {}).get("all", {})
        clusters = one.metrics.get("leave_cluster_out", {}).get("all", {})
        keys = ("f1", "auc", "ece", "precision_at_recall_0.9")
        cells = [*(_cell(nested.get(key)) for key in keys), _cell(clusters.get("f1"))]
        lines.append(f"| `{one.name}` | {' | '.join(cells)} |")
    return lines


def _look(configuration: Configuration) -> list[str]:
    """What the band between no slide and slide costs and finds."""
    if "look" not in configuration.metrics:
        return []
    look = configuration.metrics["look"]
    return [
        f"- Worth a look: {configuration.look_threshold:.4f} < p <= {configuration.threshold:.4f}, "
        f"{100 * look['share']:.1f} % of the patches, of which {100 * look['precision']:.0f} % hold a slide; with the "
        f"detections they hold {100 * look['recall_with_detections']:.1f} % of the slides (out of fold, nested)"
    ]


def _table(scopes: dict[str, Any]) -> list[str]:
    lines = ["| metric | " + " | ".join(_title(scope) for scope in scopes) + " |", "|---" * (1 + len(scopes)) + "|"]
    for key, name in METRICS.items():
        cells = (_cell(metrics[key]) for metrics in scopes.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _title(scope: str) -> str:
    return {"all": "all patches (95 % interval)", "land": "land only (95 % interval)"}[scope]


def _cell(metric: dict[str, float | None] | None) -> str:
    if metric is None:
        return "not measured"
    if metric["value"] is None:
        return "not defined"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
