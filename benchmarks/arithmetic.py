"""What float32 arithmetic would change: statistics as the published table computed them, against ours in float64.

    python -m lsd.benchmarks.arithmetic bundles/reference --patch ID_005GY8.npy --table features.csv.gz TILES...

Every patch of the tiles, the real training patch and simulated patches go through the bundle twice; label flips are
counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, INDEX_BY_NAME, of_modality
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.command import LsdCommand
from lsd.runtime.features.sets import named_statistics, split
from lsd.runtime.manifest import Configuration
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import patch_batches, read_windows
from lsd.runtime.sources import tiles_of
from lsd.runtime.tiles import Tile
from lsd.train.datasets.npy import read_patch
from lsd.train.table import read_table

SIMULATED = 2_000


def float32_statistics(
    pixels: NDArray[np.float32], bands: tuple[str, ...], names: list[str]
) -> dict[str, NDArray[np.float32]]:
    """Named statistics computed by scipy and numpy on float32 arrays, patch by patch."""
    from scipy import stats

    formulas = {
        "mean": np.mean, "median": np.median, "min": np.min, "max": np.max, "std": np.std,
        "skew": stats.skew, "kurtosis": stats.kurtosis,
    }  # fmt: skip
    found = {name: np.empty(len(pixels), np.float32) for name in names}
    for i, patch in enumerate(pixels):
        for name in names:
            channel, statistic = split(name)
            if channel in INDEX_BY_NAME:
                index = INDEX_BY_NAME[channel]
                a, b = patch[bands.index(index.numerator)], patch[bands.index(index.denominator)]
                values = (a - b) / (a + b + np.float32(index.epsilon)) + np.float32(index.offset)
            else:
                values = patch[bands.index(channel)]
            found[name][i] = formulas[statistic](values.ravel())
    return found


def compare(chain: Chain, configuration: Configuration, pixels: NDArray[np.float32], bands: tuple[str, ...]) -> str:
    """One line: largest difference of probability, and flips, over complete patches."""
    whole = ~np.isnan(pixels).any(axis=(1, 2, 3))
    pixels = pixels[whole]
    ours = chain.features(configuration, pixels, bands)
    sets = chain.feature_sets(configuration)
    names = sorted({name for one in sets.values() for name in one.statistics})
    single = float32_statistics(pixels, bands, names)
    theirs = {member: one.of_statistics(single) for member, one in sets.items()}

    def probability(features: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        return chain.probabilities(configuration, {m: chain.forests[m].margins(rows) for m, rows in features.items()})

    a, b = probability(ours), probability(theirs)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = max(float(np.nanmax(np.abs(theirs[m] / ours[m] - 1.0)[np.isfinite(ours[m])], initial=0)) for m in ours)
    flips = int(((a > configuration.threshold) != (b > configuration.threshold)).sum())
    called = int((a > configuration.threshold).sum())
    return (
        f"{len(pixels)} patches ({called} called), features differ by up to {change:.1e} of their value, "
        f"p by up to {np.abs(a - b).max(initial=0):.1e}, {flips} flips"
    )


def compare_rows(chain: Chain, configuration: Configuration, table: Path, pixels: NDArray[np.float32]) -> str:
    """One line: flips on real rows whose statistics get the relative errors that float32 makes on `pixels`.

    The rows' own pixels are not public, so each statistic of a row is multiplied by 1 + error of the same statistic of
    a patch drawn at random.
    """
    sets = chain.feature_sets(configuration)
    names = sorted({name for one in sets.values() for name in one.statistics})
    rows = read_table(table, names).statistics
    exact, single = named_statistics(pixels, BAND_NAMES, names), float32_statistics(pixels, BAND_NAMES, names)
    drawn = np.random.default_rng(2).integers(0, len(pixels), len(rows[names[0]]))
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = {name: np.nan_to_num(single[name] / exact[name] - 1.0, posinf=0, neginf=0)[drawn] for name in names}
    moved = {name: (rows[name] * (1.0 + errors[name])).astype(np.float32) for name in names}

    def probability(statistics: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        margins = {m: chain.forests[m].margins(one.of_statistics(statistics)) for m, one in sets.items()}
        return chain.probabilities(configuration, margins)

    a, b = probability(rows), probability(moved)
    flips = int(((a > configuration.threshold) != (b > configuration.threshold)).sum())
    largest = max(float(np.abs(error).max()) for error in errors.values())
    called = int((a > configuration.threshold).sum())
    return (
        f"{len(a)} real rows ({called} called), statistics moved by up to {largest:.1e}, "
        f"p of {int((a != b).sum())} rows by up to {np.abs(a - b).max():.1e}, {flips} flips"
    )


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("tiles", nargs=-1, type=click.Path(path_type=Path))
@click.option("--patch", type=click.Path(path_type=Path), help="A real training patch, npy (64, 64, 12).")
@click.option("--table", type=click.Path(path_type=Path), help="The published feature table.")
def main(bundle: Path, tiles: tuple[Path, ...], patch: Path | None, table: Path | None) -> None:
    """Count label flips between float32 and float64 arithmetic of the statistics."""
    chain = Chain(open_bundle(bundle))
    simulated = simulated_patches(SIMULATED, seed=1)
    radar = simulated[:, len(of_modality("optical")) :]
    radar += np.random.default_rng(1).uniform(-1 / 32, 1 / 32, radar.shape).astype(np.float32)  # undo their rounding
    sets: dict[str, tuple[NDArray[np.float32], tuple[str, ...]]] = {"simulated": (simulated, BAND_NAMES)}
    if patch is not None:
        sets["real training patch"] = (read_patch(patch)[None], BAND_NAMES)
    parts = []
    for tile in tiles_of(tiles) if tiles else ():
        if isinstance(tile, Tile):
            grid = PatchGrid(tile.grid.width_px, tile.grid.height_px, 16)
            for window in read_windows(tile, grid):
                parts += [
                    b.pixels[:, [b.bands.index(n) for n in BAND_NAMES[:4]]] for b in patch_batches(window, grid, 256)
                ]
    if parts:
        sets["real tiles, stride 16"] = (np.concatenate(parts), BAND_NAMES[:4])
    for name, (pixels, bands) in sets.items():
        for configuration in chain.manifest.configurations:
            if set(configuration.bands) <= set(bands):
                click.echo(
                    f"{name}, configuration {configuration.name}: {compare(chain, configuration, pixels, bands)}"
                )
    for configuration in chain.manifest.configurations if table is not None else ():
        assert table is not None
        click.echo(f"configuration {configuration.name}: {compare_rows(chain, configuration, table, simulated)}")


if __name__ == "__main__":
    main()
