"""A network trained on surrogate patches of every row of the table, out of fold, alone and averaged with the forest.

    python -m lsd.benchmarks.surrogate_network --network RUN --forest all=RUN --forest optical=RUN -o result.json

The labels are real, the pixels are made up from the rows' statistics: the figures show that the machinery learns what
in them, not what a network makes of real ground.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import UsageError
from lsd.train.encoder_run import load_encoder_run
from lsd.train.metrics import evaluate, paired_f1_gain
from lsd.train.predictions import OutOfFold, read_out_of_fold

KEPT = ("f1", "auc", "average_precision", "precision", "recall", "ece")


def figures(probability: Any, labels: Any) -> dict[str, Any]:
    """Metrics at p > .5 with their intervals."""
    found = evaluate(probability, labels)
    return {name: found[name] for name in KEPT}


def averaged(network: OutOfFold, forest: OutOfFold) -> dict[str, Any]:
    """The network, the forest and the mean of both, on the same rows.

    Raises:
        UsageError: the rows are not the same.
    """
    if network.ids != forest.ids or network.labels is None or forest.labels is None:
        raise UsageError(f"{network.path} and {forest.path} are not of the same rows")
    labels = network.labels
    mean = (network.probability + forest.probability) / 2
    gain = paired_f1_gain([mean > 0.5], [forest.probability > 0.5], labels)
    return {
        "network": figures(network.probability, labels),
        "forest": figures(forest.probability, labels),
        "mean": figures(mean, labels),
        "gain_of_mean_over_forest": gain,
        "correlation": float(np.corrcoef(network.probability, forest.probability)[0, 1]),
    }


@click.command(cls=LsdCommand)
@click.option("--network", required=True, type=click.Path(path_type=Path), help="Encoder run on surrogates.")
@click.option(
    "--forest",
    "forests",
    multiple=True,
    metavar="CONFIGURATION=RUN",
    help="Forest run of the same rows, by configuration.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(network: Path, forests: tuple[str, ...], output: Path, commit: str) -> None:
    """Judge each configuration that the network serves, beside the forest of the same bands."""
    run = load_encoder_run(network)
    of_forests = dict(text.split("=", 1) for text in forests)
    found: dict[str, Any] = {}
    for one in run.configurations:
        ours = read_out_of_fold(network, one.name, one.column or "mean")
        assert ours.labels is not None
        if one.name in of_forests:
            found[one.name] = averaged(ours, read_out_of_fold(Path(of_forests[one.name])))
        else:
            found[one.name] = {"network": figures(ours.probability, ours.labels)}
        for who in ("network", "forest", "mean"):
            if who in found[one.name]:
                f1, auc = found[one.name][who]["f1"], found[one.name][who]["auc"]
                click.echo(
                    f"{one.name:<10} {who:<8} F1 {f1['value']:.4f} ({f1['low']:.4f} to {f1['high']:.4f}) "
                    f"AUC {auc['value']:.4f} ({auc['low']:.4f} to {auc['high']:.4f})"
                )
    result = {
        "conditions": {"commit": commit, **facts()},
        "pixels": "surrogate (synthetic)",
        "recipe": run.recipe.name,
        "parameters": run.parameters,
        "configurations": found,
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
