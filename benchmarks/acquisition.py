"""Which faults of an acquisition its data tell, what is flagged without a fault, and how soon a stream's drift shows.

    python -m lsd.benchmarks.acquisition --table features.csv.gz --real DATA --folder /tmp/scenes -o result.json

Scenes are those of benchmarks/plausibility.py (surrogates of rows of the published table), whose pixels are kept in
`--folder`; faults are arithmetic on them, and on samples of the real tiles. The cases of benchmarks/fault_cases.py are
written to disk as they arrive and go through sources and inspection.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.fault_cases import CASES
from lsd.benchmarks.faults import COLUMNS, ROWS, TileOfRows, held_out_rows, some_of, tiles_of_rows
from lsd.benchmarks.plausibility import (
    CHANGES,
    FAULTS,
    LEVELS,
    OPTICAL,
    SEED,
    Fault,
    Scene,
    sampled_pixels,
    scenes_of,
    with_speckle,
)
from lsd.benchmarks.simulated_scenes import needed_statistics
from lsd.runtime.acquisition.drift import DriftMonitor
from lsd.runtime.acquisition.finding import Finding
from lsd.runtime.acquisition.gate import judged
from lsd.runtime.acquisition.ranges import Ranges, ranges_of
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.bands import BAND_NAMES, Orbit
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import LsdError
from lsd.runtime.inspection import inspection, sampled
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.tiles import Tile
from lsd.train.configuration import REFERENCE_STATISTICS
from lsd.train.samples import Samples
from lsd.train.table import read_table
from lsd.train.training_ranges import band_ranges

# folder of the real samples -> direction that must be declared
REAL: dict[str, Orbit | None] = {
    "bigearthnet-pairs": None,
    "ssl4eo-0000200": None,
    "sentinel2-scene": None,
    "sentinel1-sentinel2-chip/Spain_7370579_S1Hand.tif": "descending",
}
CLOUD_OR_SNOW = ("S2B_MSIL2A_20180204T94161_57_38", "sentinel2-scene")  # no clean tiles
ORDINARY = ("bright-scene", "difference-median")  # scenes of the table have clouds, rain and wind
STREAMS, STREAM_TILES, CHANGED_FROM = 100, 500, 100

Medians = dict[str, float]
DRIFTS: dict[str, Callable[[Medians], Medians]] = {
    "no change": lambda tile: tile,
    "offset added twice": lambda tile: {k: v + 1000 * (k in OPTICAL) for k, v in tile.items()},
    "optical 1.5 times as bright": lambda tile: {k: v + 0.5 * (v - 1000) * (k in OPTICAL) for k, v in tile.items()},
    "radar 3 dB too high": lambda tile: {k: v + 3 * (k in LEVELS) for k, v in tile.items()},
    "radar 6 dB too high": lambda tile: {k: v + 6 * (k in LEVELS) for k, v in tile.items()},
    "differences 1.5 dB too high": lambda tile: {k: v + 1.5 * (k in CHANGES) for k, v in tile.items()},
}


def outcomes(scenes: Sequence[Scene], ranges: Ranges | None, faults: Mapping[str, Fault] = FAULTS) -> dict[str, Any]:
    """Numbers of scenes by their most certain finding, and by check, for each fault.

    Only findings count that a scene has not without the fault, except under "no fault"; `odd` are scenes of those with
    a finding besides cloud and weather (`ORDINARY`).
    """
    counts = {name: Counter(scenes=0, certain=0, likely=0, nothing=0, odd=0) for name in faults}
    checks: dict[str, Counter[str]] = {name: Counter() for name in faults}
    for scene in scenes:
        ordinary = judged(SampledScene(scene), ranges).findings
        known = {(one.check, one.certainty) for one in ordinary}
        for name, fault in faults.items():
            faulty = fault(scene)
            if name == "no fault":
                new = list(ordinary)
            elif all(np.array_equal(faulty[band], scene[band], equal_nan=True) for band in scene):
                continue  # it has none of the bands that the fault changes
            else:
                after = judged(SampledScene(faulty), ranges).findings
                new = [one for one in after if (one.check, one.certainty) not in known]
            counts[name].update(["scenes", _outcome(new)])
            counts[name]["odd"] += any(one.check not in ORDINARY for one in new)
            checks[name].update({one.check for one in new})
    return {name: {**counts[name], "by_check": dict(checks[name].most_common())} for name in faults}


def _outcome(findings: Sequence[Finding]) -> str:
    if any(one.certainty == "certain" for one in findings):
        return "certain"
    return "likely" if findings else "nothing"


def on_disk(tiles: Sequence[TileOfRows], folder: Path, ranges: Ranges | None) -> dict[str, Any]:
    """Each case of benchmarks/fault_cases.py through sources and inspection: tiles refused, flagged, or neither."""
    found: dict[str, Any] = {}
    clean: list[tuple[str, ...]] = []
    for case in CASES:
        counts: Counter[str] = Counter(tiles=len(tiles), refused=0, flagged=0, nothing=0)
        said: Counter[str] = Counter()
        for i, one in enumerate(tiles):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (arrived,) = tiles_of([case.write(folder, one.bands)])
            try:
                if isinstance(arrived, TileFailure):
                    raise arrived.error
                warnings = inspection(arrived, ranges=ranges).tile.warnings
            except LsdError as error:
                counts["refused"] += 1
                said[str(error).replace(f"{folder}/", "")[:160]] += 1
                continue
            if case.name == "no fault":
                clean.append(warnings)
            new = [line for line in warnings if line not in clean[i]]
            counts["flagged" if new else "nothing"] += 1
            said.update(line[:160] for line in new)
        found[case.name] = {"expected": case.expected, **counts, "said": dict(said.most_common(2))}
    return found


def real_tiles(data: Path, ranges: Ranges | None) -> tuple[list[dict[str, Any]], dict[str, Scene]]:
    """What is said of each real tile, and the samples of the clean ones by name."""
    found: list[dict[str, Any]] = []
    clean: dict[str, Scene] = {}
    for place, orbit in REAL.items():
        for tile in tiles_of([data / place], SourceOptions(orbit=orbit)):
            if not isinstance(tile, Tile):
                found.append({"id": tile.id, "error": str(tile.error)[:200]})
                continue
            seen = inspection(tile, force=True, ranges=ranges)
            is_clean = not any(name in (tile.id, place) for name in CLOUD_OR_SNOW)
            found.append(
                {
                    "folder": place,
                    "id": tile.id,
                    "clean": is_clean,
                    "findings": [[one.check, one.certainty, one.text] for one in seen.verdict.findings],
                    "not_judged": sorted({one.check for one in seen.verdict.unjudged}),
                    "cloud_layer_trusted": None if seen.tile.clouds is None else seen.tile.clouds.trusted,
                }
            )
            if is_clean:
                clean[f"{place}: {tile.id}"] = sampled(tile)
    return found, clean


def real_patch(path: Path) -> dict[str, Any]:
    """The one real raw patch with all bands: how differences go with levels, and faults planted into it."""
    pixels = np.load(path).transpose(2, 0, 1).reshape(len(BAND_NAMES), -1).astype(np.float64)
    scene = dict(zip(BAND_NAMES, pixels, strict=True))
    table = {
        name: {level: round(float(np.corrcoef(np.diff(scene[level]), np.diff(x))[0, 1]), 3) for level in LEVELS}
        for name, x in scene.items()
        if name in CHANGES
    }
    return {"correlation_of_steps": table, "faults": outcomes([scene], None)}


def cached_pixels(samples: Samples, folder: Path) -> NDArray[np.float32]:
    """`sampled_pixels`, kept in a file named by the table."""
    path = folder / f"pixels-{samples.sha256[:12]}-{len(samples)}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, sampled_pixels(samples))
    return np.asarray(np.load(path))


# --- what the data cannot prove, and how soon a stream tells --------------------------------------------------------


def swaps_by_card(scenes: Sequence[Scene]) -> dict[str, Any]:
    """How well scenes as named are told from swapped or reversed ones by the levels of training alone.

    A logistic regression over the medians of the eight radar bands, five folds of scenes; every scene is there as named
    and swapped. Scenes of like ground lie in other folds, which flatters it: an upper bound of what a limit on
    quantiles can do.

    Returns:
        fault -> share of scenes ordered rightly (a named one above its own swapped one), and the share of swapped ones
        found where one named scene in a hundred is flagged.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import StandardScaler

    found = {}
    for name in ("directions swapped", "before and after reversed in all"):
        named = np.array([_radar_medians(scene) for scene in scenes])
        faulty = np.array([_radar_medians(FAULTS[name](scene)) for scene in scenes])
        scores = np.empty((2, len(scenes)))
        for train, test in KFold(5, shuffle=True, random_state=0).split(named):
            scale = StandardScaler().fit(np.concatenate([named[train], faulty[train]]))
            labels = np.repeat([0, 1], len(train))
            model = LogisticRegression(max_iter=2000).fit(
                scale.transform(np.concatenate([named[train], faulty[train]])), labels
            )
            for row, those in enumerate((named, faulty)):
                scores[row, test] = model.decision_function(scale.transform(those[test]))
        limit = np.quantile(scores[0], 0.99)
        found[name] = {
            "scenes": len(scenes),
            "ordered_rightly": float((scores[1] > scores[0]).mean()),
            "found_at_1_percent_false_alarms": float((scores[1] > limit).mean()),
        }
    return found


def _radar_medians(scene: Scene) -> list[float]:
    return [float(np.median(scene[band])) for band in (*LEVELS, *CHANGES)]


def drift_trials(samples: Samples, ranges: Ranges | None) -> dict[str, Any]:
    """Streams in random order without and with a change: how often and how soon the monitor warns.

    A tile is a row of the table (its mean: a tile of one patch), or the mean of ten rows of similar ground. Streams are
    drawn with replacement; a change begins after 100 tiles.
    """
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(SEED)
    means = np.stack([samples.statistics[f"{band}_mean"] for band in BAND_NAMES], axis=1).astype(np.float64)
    groups = KMeans(200, n_init=3, random_state=0).fit_predict((means - means.mean(axis=0)) / means.std(axis=0))
    alike = [np.flatnonzero(groups == groups[i]) for i in range(len(means))]
    kinds = {"one patch": means, "ten patches": np.array([means[rng.choice(rows, 10)].mean(axis=0) for rows in alike])}
    found = {}
    for kind, rows in kinds.items():
        tiles = [dict(zip(BAND_NAMES, row.tolist(), strict=True)) for row in rows]
        found[f"tiles of {kind}"] = {name: _warned(tiles, ranges, rng, change) for name, change in DRIFTS.items()}
    return found


def _stream(tiles: Sequence[Medians], rng: np.random.Generator) -> list[Medians]:
    return [tiles[i] for i in rng.integers(0, len(tiles), STREAM_TILES)]


def _warned(
    tiles: Sequence[Medians], ranges: Ranges | None, rng: np.random.Generator, change: Callable[[Medians], Medians]
) -> dict[str, Any]:
    """Share of streams with a warning after the change, the median number of tiles until it, and with one before."""
    before, delays = 0, []
    for _ in range(STREAMS):
        monitor = DriftMonitor(ranges)
        for number, tile in enumerate(_stream(tiles, rng)):
            monitor.observe_medians(str(number), change(tile) if number >= CHANGED_FROM else tile)
            if monitor.warnings():
                if number >= CHANGED_FROM:
                    delays.append(number - CHANGED_FROM + 1)
                else:
                    before += 1
                break
    return {
        "streams": STREAMS,
        "warned_before": before,
        "warned_after": len(delays),
        "median_tiles_until": float(np.median(delays)) if delays else None,
    }


@click.command(cls=LsdCommand)
@click.option("--table", required=True, type=click.Path(path_type=Path), help="The published feature table.")
@click.option("--real", required=True, type=click.Path(path_type=Path), help="Folder of the real samples.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Folder for pixels and scenes.")
@click.option("--every", type=int, default=1, help="Scenes are made of every so many-th row.  [default: 1]")
@click.option("--tiles", "most", type=int, default=6, help="Tiles written to disk for each case.  [default: 6]")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(table: Path, real: Path, folder: Path, every: int, most: int, output: Path, commit: str) -> None:
    """Measure the acquisition checks (fifteen minutes, most of it surrogates that are made once)."""
    samples = read_table(table, sorted({*needed_statistics(), *REFERENCE_STATISTICS}))
    ranges = ranges_of({"band_ranges": band_ranges(samples)})
    some = some_of(samples, np.arange(len(samples)) % every == 0)
    scenes = scenes_of(some, cached_pixels(some, folder))
    rows = np.flatnonzero(held_out_rows(len(samples), SEED))[: most * ROWS * COLUMNS]
    said, clean = real_tiles(real, ranges)
    result: dict[str, Any] = {
        "conditions": {"commit": commit, **facts(), "rows": len(some), "rows_of_table": len(samples)},
        "scenes": outcomes([with_speckle(scene) for scene in scenes], ranges),
        "on_disk": on_disk(tiles_of_rows(samples, rows, SEED), folder / "scene", ranges),
        "real_tiles": said,
        "real_faults": outcomes(list(clean.values()), ranges),
        "real_patch": real_patch(real / "zindi-landslide" / "patches" / "ID_005GY8.npy"),
        "swaps_by_card": swaps_by_card(scenes),
        "drift": drift_trials(samples, ranges),
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, one in result["scenes"].items():
        click.echo(f"{name:<52} certain {one['certain']:>3} likely {one['likely']:>3} nothing {one['nothing']:>3}")


if __name__ == "__main__":
    main()
