"""What the ingest does with faults: corrected, refused, flagged, or nothing; and what a fault costs that passes.

    python -m lsd.benchmarks.faults --table features.csv.gz --real DATA --folder runs/faults -o result.json

Tiles are mosaics of surrogates of rows that the bundle was not trained on, a tile of similar ground, so the answer of
every patch is known. Each fault is written to disk as it would arrive and goes through sources, inspection and chain.
`--real` is the folder of the real samples: their clean scenes count false alarms. `--folder` keeps the bundle.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.fault_cases import CASES, Case
from lsd.benchmarks.simulated_scenes import Pixels, mosaic, needed_statistics, patches_of
from lsd.export.bundle_from_runs import BundleText, bundle_from_runs
from lsd.export.write import write_bundle
from lsd.runtime.acquisition.ranges import ranges_of
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import Bundle, open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import LsdError
from lsd.runtime.inspection import inspection
from lsd.runtime.manifest import Manifest
from lsd.runtime.scores import LOOK, NO_SLIDE, NOT_SCORED, SLIDE, TileScores
from lsd.runtime.scoring import ScoringOptions, score_tile
from lsd.runtime.sources import TileFailure, tiles_of
from lsd.runtime.sources.assembly import NO_CLOUD_LAYER
from lsd.runtime.stopwatch import Stopwatch
from lsd.train.configuration import REFERENCE_STATISTICS, feature_sets_of, train_configuration
from lsd.train.folds import clusters
from lsd.train.groups import bands_of_groups, name_of
from lsd.train.recipe import Recipe, read_recipe
from lsd.train.samples import Samples
from lsd.train.save import save_run
from lsd.train.table import read_table

CONFIGURATIONS = (  # those that the cases ask for, in order of preference
    "all", "optical,asc_pair", "optical,desc_pair", "optical,diffs", "optical,posts", "optical", "sar",
)  # fmt: skip
ROWS, COLUMNS = 6, 9  # patches of a tile
HELD_OUT_SHARE = 0.2
FOLDS = 3
REAL = ("bigearthnet-pairs", "ssl4eo-0000200", "sentinel2-scene")
ORDINARY = (NO_CLOUD_LAYER,)


@dataclass(frozen=True)
class TileOfRows:
    """Rows of the table whose surrogates make one tile, row by row, with their labels and pixels."""

    rows: NDArray[np.intp]
    labels: NDArray[np.int8]
    bands: Mapping[str, Pixels]


@dataclass(frozen=True)
class Answer:
    """What came of one tile: its error, or its warnings, decisions (patch,) and what answered, most patches first."""

    id: str = ""
    error: str | None = None
    warnings: tuple[str, ...] = ()
    decision: NDArray[np.uint8] | None = None
    configurations: tuple[str, ...] = ()

    @property
    def is_silent(self) -> bool:
        """True if nobody is told that anything is odd."""
        return self.error is None and not self.warnings


def held_out_rows(n: int, seed: int) -> NDArray[np.bool_]:
    """bool (n,): a fifth of the rows, drawn once."""
    held = np.zeros(n, bool)
    held[np.random.default_rng(seed).permutation(n)[: round(HELD_OUT_SHARE * n)]] = True
    return held


def some_of(samples: Samples, rows: NDArray[np.bool_]) -> Samples:
    """The samples of some rows."""
    ids = tuple(name for name, kept in zip(samples.ids, rows, strict=True) if kept)
    return replace(
        samples, ids=ids, labels=samples.labels[rows], statistics={k: v[rows] for k, v in samples.statistics.items()}
    )


def bundle_of(folder: Path, samples: Samples, recipe: Recipe, configurations: Sequence[str], seed: int) -> Bundle:
    """Train and export; a bundle that lies in the folder already is used again."""
    place = folder / "bundle"
    if place.is_dir():
        return open_bundle(place)
    runs = []
    for configuration in configurations:
        click.echo(f"training {configuration}", err=True)
        bands = bands_of_groups(configuration)
        run = folder / name_of(configuration)
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        trained = train_configuration(samples, recipe, bands, FOLDS, seed)
        data = {"name": "four fifths of the published table", "licence": "CC-BY-SA 4.0", "synthetic": False}
        save_run(run, name_of(configuration), bands, samples, recipe, trained, data, FOLDS, seed)
        runs.append(run)
    bundle, _ = bundle_from_runs(runs, BundleText("faults", "For benchmarks/faults.py only.", "CC-BY-SA 4.0"))
    place.mkdir()
    write_bundle(place, bundle)
    return open_bundle(place)


def tiles_of_rows(samples: Samples, rows: NDArray[np.intp], seed: int) -> list[TileOfRows]:
    """Surrogates of rows as tiles of similar ground; rows that do not fill a last tile are left out."""
    groups = clusters({name: samples.statistics[name][rows] for name in REFERENCE_STATISTICS})
    ordered = rows[np.argsort(groups, kind="stable")]
    size = ROWS * COLUMNS
    found = []
    for number in range(len(ordered) // size):
        some = ordered[number * size : (number + 1) * size]
        patches = patches_of(samples, some, seed + number)
        found.append(TileOfRows(some, samples.labels[some], mosaic(patches, COLUMNS)))
    return found


def answer_of(case: Case, tile: TileOfRows, chain: Chain, folder: Path) -> Answer:
    """Write a tile with a fault, and let the runtime answer it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = case.write(folder, tile.bands)
    found = answers([source], chain)[0]
    return found if found.error is None else replace(found, error=found.error.replace(f"{folder}/", ""))


def answers(sources: Sequence[Path], chain: Chain) -> list[Answer]:
    """Answers of all tiles of some sources, looked at as a run looks at them: with the bundle's training card."""
    found, ranges = [], ranges_of(chain.manifest.training)
    for arrived in tiles_of(sources):
        try:
            if isinstance(arrived, TileFailure):
                raise arrived.error
            checked = inspection(arrived, ranges=ranges).tile
            scores, _ = score_tile(checked, chain, ScoringOptions(), Stopwatch())
        except LsdError as error:
            found.append(Answer(arrived.id, f"{type(error).__name__}: {error}"))
            continue
        warnings = tuple(line for line in checked.warnings if line not in ORDINARY)
        found.append(
            Answer(arrived.id, None, warnings, scores.decision.ravel(), _configurations(scores, chain.manifest))
        )
    return found


def _configurations(scores: TileScores, manifest: Manifest) -> tuple[str, ...]:
    """Names, the one that answered most patches first."""
    chosen = Counter(scores.configuration[scores.configuration > 0].tolist())
    return tuple(manifest.configurations[number - 1].name for number, _ in chosen.most_common())


def summary(tiles: Sequence[TileOfRows], clean: Sequence[Answer], faulty: Sequence[Answer]) -> dict[str, Any]:
    """One case against the run without fault; counts of tiles and patches.

    silent_negatives: slides found without the fault, now "nothing seen" in a tile that no warning marks.
    told_negatives: the same in a tile with a warning. f1: over the tiles that were answered; what is not scored counts
    as not called.
    """
    counts: Counter[str] = Counter()
    hits = calls = slides = 0
    reasons: Counter[str] = Counter()
    configurations: Counter[str] = Counter()
    for tile, before, after in zip(tiles, clean, faulty, strict=True):
        counts["tiles"] += 1
        if after.decision is None or before.decision is None:
            counts["refused"] += 1
            reasons[str(after.error)[:160]] += 1
            continue
        told = [line for line in after.warnings if line not in before.warnings]
        counts["flagged"] += bool(told)
        changed = after.decision != before.decision
        counts["same"] += not changed.any()
        counts["other_bands"] += not set(after.configurations) & set(before.configurations[:1])
        counts["withheld"] += bool(changed.any() and (after.decision[changed] != NO_SLIDE).all())
        for line in told:
            reasons[line[:160]] += 1
        configurations.update(after.configurations)
        is_slide = tile.labels == 1
        called = after.decision == SLIDE
        lost = is_slide & (before.decision == SLIDE) & (after.decision == NO_SLIDE)
        counts["silent_negatives" if after.is_silent else "told_negatives"] += int(lost.sum())
        counts["false_alarms"] += int((called & ~is_slide).sum())
        counts["new_false_alarms"] += int((called & ~is_slide & (before.decision != SLIDE)).sum())
        counts["slides_not_scored"] += int((is_slide & (after.decision == NOT_SCORED)).sum())
        counts["slides_to_look_at"] += int((is_slide & (after.decision == LOOK)).sum())
        hits += int((called & is_slide).sum())
        calls += int(called.sum())
        slides += int(is_slide.sum())
    return {
        "outcome": outcome(counts),
        **counts,
        "slides": slides,
        "found": hits,
        "f1": 2 * hits / (calls + slides) if calls + slides else None,
        "configurations": dict(configurations),
        "said": dict(reasons.most_common(3)),
    }


def outcome(counts: Mapping[str, int]) -> str:
    """In one word, what happened to most tiles; `undetected` where answers changed and nobody was told.

    same: every patch is answered as without the fault. other bands: none is answered by what answered most before.
    withheld: answers changed, none of them to "nothing seen".
    """
    for word in ("refused", "flagged", "same", "other_bands", "withheld"):
        if counts.get(word, 0) > counts["tiles"] / 2:
            return word.replace("_", " ")
    return "undetected"


def real_scenes(data: Path, chain: Chain) -> list[dict[str, Any]]:
    """Detections and warnings on the real samples, none of which is known to hold a slide."""
    found = []
    for folder in REAL:
        for one in answers([data / folder], chain):
            decision = np.empty(0) if one.decision is None else one.decision
            counted = {"slide": SLIDE, "look": LOOK, "no_slide": NO_SLIDE, "not_scored": NOT_SCORED}
            found.append(
                {
                    "folder": folder,
                    "id": one.id,
                    "error": one.error,
                    "warnings": one.warnings,
                    "configurations": one.configurations,
                    **{name: int((decision == value).sum()) for name, value in counted.items()},
                }
            )
    return found


def surrogate_check(samples: Samples, tiles: Iterable[TileOfRows], chain: Chain) -> dict[str, Any]:
    """Decisions on surrogates against decisions on the statistics of the real rows, for each configuration."""
    tiles = list(tiles)
    rows = np.concatenate([tile.rows for tile in tiles])
    labels = samples.labels[rows]
    statistics = {name: values[rows] for name, values in samples.statistics.items()}
    found = {}
    for configuration in chain.manifest.configurations:
        called = {}
        sets = chain.feature_sets(configuration)
        matrices = {
            "rows": {key: one.of_statistics(statistics) for key, one in sets.items()},
            "surrogates": _of_tiles(chain, configuration, tiles),
        }
        for kind, matrix in matrices.items():
            margins = {key: chain.forests[key].margins(one) for key, one in matrix.items()}
            called[kind] = chain.probabilities(configuration, margins) > configuration.threshold
        found[configuration.name] = {
            **{f"f1_{kind}": _f1(one, labels) for kind, one in called.items()},
            "same_decision": float((called["rows"] == called["surrogates"]).mean()),
        }
    return found


def _of_tiles(chain: Chain, configuration: Any, tiles: Sequence[TileOfRows]) -> dict[str, NDArray[np.float32]]:
    """Member -> features of the patches of tiles, in their order."""
    parts = []
    for tile in tiles:
        stacked = np.stack([tile.bands[name] for name in BAND_NAMES])
        grid = stacked.reshape(len(BAND_NAMES), ROWS, 64, COLUMNS, 64).transpose(1, 3, 0, 2, 4)
        patches = np.ascontiguousarray(grid.reshape(ROWS * COLUMNS, len(BAND_NAMES), 64, 64))
        parts.append(chain.features(configuration, patches, BAND_NAMES))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _f1(called: NDArray[np.bool_], labels: NDArray[np.int8]) -> float:
    return float(2 * (called & (labels == 1)).sum() / (called.sum() + (labels == 1).sum()))


@click.command(cls=LsdCommand)
@click.option("--table", required=True, type=click.Path(path_type=Path), help="The published feature table.")
@click.option("--real", type=click.Path(path_type=Path), help="Folder of the real samples, for false alarms.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Folder for bundle and scenes.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--recipe", default="partial", help="Recipe of the forests.  [default: partial]")
@click.option("--rounds", type=int, help="Trees of each forest, instead of the recipe's number.")
@click.option("--tiles", "most", type=int, help="Tiles at most.  [default: all that the held-out rows fill]")
@click.option("--seed", type=int, default=42, help="Of the split, the forests and the textures.  [default: 42]")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(
    table: Path,
    real: Path | None,
    folder: Path,
    output: Path,
    recipe: str,
    rounds: int | None,
    most: int | None,
    seed: int,
    commit: str,
) -> None:
    """Repeat METHOD's fault table through the ingest, on surrogates of held-out rows."""
    chosen = read_recipe(recipe)
    if rounds is not None:
        chosen = replace(chosen, members=tuple(replace(one, rounds=rounds) for one in chosen.members))
    needed = {name for one in feature_sets_of(chosen, BAND_NAMES).values() for name in one.statistics}
    samples = read_table(table, sorted(needed | set(needed_statistics())), REFERENCE_STATISTICS)
    held = held_out_rows(len(samples), seed)
    bundle = bundle_of(folder, some_of(samples, ~held), chosen, CONFIGURATIONS, seed)
    chain = Chain(bundle)
    tiles = tiles_of_rows(samples, np.flatnonzero(held), seed)[:most]
    clean: list[Answer] = []
    found: dict[str, Any] = {}
    for case in CASES:
        faulty = [answer_of(case, tile, chain, folder / "scene") for tile in tiles]
        clean = clean or faulty
        found[case.name] = {"expected": case.expected, **summary(tiles, clean, faulty)}
        one = found[case.name]
        f1 = "-" if one["f1"] is None else f"{one['f1']:.3f}"
        click.echo(f"{case.name:<40} {one['outcome']:<11} F1 {f1} silent {one.get('silent_negatives', 0)}")
    result = {
        "conditions": {"commit": commit, **facts(), "recipe": chosen.to_json(), "seed": seed, "folds": FOLDS},
        "rows_trained": int((~held).sum()),
        "tiles": len(tiles),
        "patches": len(tiles) * ROWS * COLUMNS,
        "warned_without_fault": sum(bool(one.warnings) for one in clean),
        "cases": found,
        "surrogates": surrogate_check(samples, tiles, chain),
        "real": real_scenes(real, chain) if real is not None else None,
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
