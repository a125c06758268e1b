"""Accuracy against microseconds a patch: what each set of bands costs and finds, in our runtime and the paper's way.

Speeds are measured in this run, one thread, on simulated patches that are in memory. Accuracy is borrowed: F1 at .5,
out of fold on the real table, from benchmarks/results/configurations.json and real_table.json, made by other runs on
other machines; each point names its file and commit. "The paper's settings" are, for F1, its LightGBM recipe on the
table's 85 columns, and for speed 84 of these and 12,000 made-up trees of 24 leaves. No network is shown: the one with a
known accuracy on real patches is published as probabilities only and cannot be timed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.benchmarks.peers.forest_models import Model, Rows, models
from lsd.benchmarks.peers.forest_peers import OURS, PEERS
from lsd.benchmarks.peers.notebook_statistics import notebook_statistics
from lsd.benchmarks.peers.result import AbsentError, ResultFile, conditions_of
from lsd.benchmarks.peers.turns import TURNS, Timed, Work, in_turns
from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, INDEX_BY_NAME
from lsd.runtime.bundle import Bundle, open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import LsdError, UsageError
from lsd.runtime.features.sets import TABLE_INDICES, feature_set
from lsd.runtime.forest.backends import BACKENDS
from lsd.runtime.patches import PatchBatch

PATCHES, FEW, SEED = 128, 8, 5
# marker and colour of a series; M. Okabe and K. Ito: told apart by every reader
LOOKS = (("s", "#d55e00"), ("D", "#0072b2"), ("o", "#009e73"), ("v", "#cc79a7"), ("^", "#e69f00"), ("P", "#56b4e9"))
NOTEBOOK, RUNTIME, PAPER_MODEL = "the paper's settings, notebook way", "the paper's settings, our runtime", "lgbm_12000"
NO_NETWORK = "the network with known real accuracy is published as probabilities only"


@dataclass(frozen=True)
class Accuracy:
    """Borrowed: F1 at .5, mean of the fold seeds, and where it stands."""

    f1: float
    source: str


def accuracies(results: Path) -> dict[str, Accuracy]:
    """Configuration -> accuracy, and that of the paper's LightGBM settings under `NOTEBOOK`.

    Raises:
        UsageError: a result is not there.
    """
    try:
        known, table = (
            json.loads((results / name).read_text(encoding="utf-8"))
            for name in ("configurations.json", "real_table.json")
        )
    except OSError as error:
        raise UsageError(f"{error.filename}: not there; make measure writes it") from error
    source = f"configurations.json of {known['conditions']['commit']}"
    found = {name: Accuracy(one["all"]["mean"]["f1_at_half"], source) for name, one in known["configurations"].items()}
    paper = table["cases"]["all paper-lightgbm-table"]["f1_mean"]
    return {**found, NOTEBOOK: Accuracy(paper, f"real_table.json of {table['conditions']['commit']}")}


def batch_of(bands: tuple[str, ...]) -> PatchBatch:
    """Simulated patches that hold these bands only."""
    pixels = simulated_patches(PATCHES, SEED)[:, [BAND_NAMES.index(band) for band in bands]]
    zeros = np.zeros(PATCHES, np.intp)
    return PatchBatch(np.ascontiguousarray(pixels), bands, zeros, zeros)


def chains(bundle: Bundle) -> tuple[dict[str, Chain], dict[str, str]]:
    """Backend -> chain, and backend -> why there is none."""
    found: dict[str, Chain] = {}
    missing: dict[str, str] = {}
    for backend in (one for one in BACKENDS if one != "auto"):
        try:
            found[backend] = Chain(bundle, backend)
        except LsdError as error:
            missing[backend] = str(error)
    return found, missing


def paper_works(model: Model) -> tuple[dict[str, Work], dict[str, str]]:
    """The paper's settings the notebook way and in our runtime, and what could not be measured, with the reason."""
    patches = np.ascontiguousarray(simulated_patches(PATCHES, SEED))
    few, columns = patches[:FEW], feature_set("table-85", BAND_NAMES)
    indices = [INDEX_BY_NAME[name] for name in TABLE_INDICES]
    predict = PEERS["LightGBM"](model, 1)

    def notebook() -> None:
        for patch in few:
            found = notebook_statistics(patch, medians=False, indices=indices)
            predict(_widened(np.array([list(found.values())], np.float32), model))

    works, missing = {NOTEBOOK: Work(notebook, len(few))}, {}
    try:
        ours = PEERS[OURS](model, 1)
        works[RUNTIME] = Work(lambda: ours(_widened(columns.of_patches(patches, BAND_NAMES), model)), len(patches))
    except (AbsentError, LsdError) as error:
        missing[RUNTIME] = str(error)
    return works, missing


def _widened(rows: Rows, model: Model) -> Rows:
    """The columns of the model, the first of which are known."""
    wide = np.zeros((len(rows), model.table.n_features), np.float32)
    wide[:, : rows.shape[1]] = rows
    return wide


def measure(bundle: Bundle, model: Model, known: Mapping[str, Accuracy], turns: int) -> dict[str, Any]:
    """Points: series -> name -> accuracy, source and speed; and what was not measured, with the reason."""
    works, missing = paper_works(model)
    opened, missing_chains = chains(bundle)
    for configuration in bundle.manifest.configurations:
        batch = batch_of(configuration.bands)
        for backend, chain in opened.items():
            works[f"{backend}: {configuration.name}"] = Work(_scored(chain, batch), len(batch))
    timed = in_turns(works, turns)
    points = {name: _point(known[NOTEBOOK], timed[name]) for name in (NOTEBOOK, RUNTIME) if name in timed}
    series: dict[str, dict[str, Any]] = {name: {name: point} for name, point in points.items()}
    for backend in opened:
        series[f"reference bundle, forests by {backend}"] = {
            one.name: _point(known[one.name], timed[f"{backend}: {one.name}"])
            for one in bundle.manifest.configurations
            if one.name in known
        }
    not_measured = {**missing, **{f"forests by {name}": reason for name, reason in missing_chains.items()}}
    return {"series": series, "not_measured": {**not_measured, "networks": NO_NETWORK}}


def _scored(chain: Chain, batch: PatchBatch) -> Callable[[], object]:
    return lambda: chain.score(batch)


def _point(accuracy: Accuracy, timed: Timed) -> dict[str, Any]:
    return {"f1": round(accuracy.f1, 4), "f1_borrowed_from": accuracy.source, **timed.to_json()}


def frontier_of(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points (microseconds, F1) that no other beats in both, the fastest first."""
    kept: list[str] = []
    for name in sorted(points, key=lambda one: (points[one][0], -points[one][1])):
        if not kept or points[name][1] > points[kept[-1]][1]:
            kept.append(name)
    return kept


def plot(found: Mapping[str, Any], about: str, path: Path) -> None:
    """Points of every series with the least and the most of the turns, and the steps of those that nothing beats.

    Args:
        found: of `measure`.
        about: what was measured where, for the line below the axes.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    everything: dict[str, tuple[float, float]] = {}
    for (series, named), (marker, colour) in zip(found["series"].items(), LOOKS, strict=False):
        us, f1 = (np.array([one[key] for one in named.values()]) for key in ("median_us", "f1"))
        spread = [us - [one["least_us"] for one in named.values()], [one["most_us"] for one in named.values()] - us]
        axes.errorbar(us, f1, xerr=spread, fmt=marker, color=colour, ecolor=f"{colour}66", label=series, elinewidth=1)
        everything.update({f"{series}: {name}": (one["median_us"], one["f1"]) for name, one in named.items()})
    axes.set_xscale("log")
    axes.set_xlim(min(us for us, _ in everything.values()) / 2.5, 1.5 * max(us for us, _ in everything.values()))
    axes.set_ylim(min(f1 for _, f1 in everything.values()) - 0.02, max(f1 for _, f1 in everything.values()) + 0.035)
    _draw_frontier(axes, {name: everything[name] for name in frontier_of(everything)})
    _draw_ratio(axes, found["series"])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda us, _: f"{us:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"microseconds a patch, pixels in memory, one thread (log scale; median, least to most)\n{about}")
    axes.set_ylabel("F1 at .5, out of fold on 7,147 real patches (of other runs)")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=120)


def _draw_frontier(axes: Any, best: Mapping[str, tuple[float, float]]) -> None:
    """Steps, and names in the empty corner above them, one above the other where points are close."""
    us, f1 = zip(*best.values(), strict=True)
    axes.step(us, f1, where="post", color="grey", linewidth=0.9, zorder=0)
    low, high = axes.get_ylim()
    apart, lowest = 0.028 * (high - low), low
    for name, (x, y) in best.items():
        place = max(y + 0.008 * (high - low), lowest)
        lowest = place + apart
        axes.annotate(
            name.split(": ")[1], (x, y), (x / 1.35, place), ha="right", va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def _draw_ratio(axes: Any, series: Mapping[str, Mapping[str, Any]]) -> None:
    """How many times as long the notebook way takes for the same model."""
    if not {NOTEBOOK, RUNTIME} <= set(series):
        return
    ours, theirs = (series[name][name]["median_us"] for name in (RUNTIME, NOTEBOOK))
    f1 = series[NOTEBOOK][NOTEBOOK]["f1"]
    axes.annotate("", (ours, f1), (theirs, f1), arrowprops={"arrowstyle": "->", "color": "grey", "linestyle": ":"})
    axes.annotate(
        f"the same model, {theirs / ours:.3g} times as long", (theirs, f1), (-12, 5), textcoords="offset points",
        ha="right", fontsize=8,
    )  # fmt: skip


@click.command(cls=LsdCommand)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write; PNG beside it."
)
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of the models of `forests`.")
@click.option("--bundle", default=Path("bundles/reference"), show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--results", default=Path("benchmarks/results"), show_default=True, type=click.Path(path_type=Path),
    help="Folder of the accuracy figures.",
)  # fmt: skip
@click.option("--turns", default=TURNS, show_default=True, help="Of everything.")
def frontier(output: Path, commit: str, cache: Path, bundle: Path, results: Path, turns: int) -> None:
    """F1 against microseconds a patch for every set of bands, with a plot (a minute)."""
    (model,) = models(cache, [PAPER_MODEL])
    result = ResultFile(output, conditions_of(commit, patches=PATCHES, threads=1, turns=turns, bundle=bundle.name))
    case = "F1 against microseconds a patch"
    if not result.has(case):
        result.put(case, measure(open_bundle(bundle), model, accuracies(results), turns))
    found = result.cases[case]
    for series, points in found["series"].items():
        click.echo(f"\n{series}")
        for name, one in points.items():
            click.echo(f"  {name:<34}{one['median_us']:>10.4g} us   F1 {one['f1']:.4f} ({one['f1_borrowed_from']})")
    for name, reason in found["not_measured"].items():
        click.echo(f"  {name:<34}not measured: {reason}")
    known = result.conditions
    about = f"{known['processor']}; bundle {bundle.name}, commit {commit}; {turns} turns"
    plot(found, about, output.with_suffix(".png"))
