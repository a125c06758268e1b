"""Small synthetic feature tables and patches with slides that can be learned; nothing of them is real ground."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsd.runtime.bands import BAND_NAMES

STATISTICS = ("mean", "std", "min", "max", "kurt", "skew")
CHANNELS = (*(f"band{number}" for number in range(1, 13)), "ndvi", "ndwi")


def synthetic_rows(n: int, seed: int = 0, share: float = 0.25) -> tuple[list[str], list[int], dict[str, np.ndarray]]:
    """IDs, labels and columns under the published names; means and spreads of positives are moved a little."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(int)
    labels[:2] = 0, 1  # both classes, whatever the seed
    columns = {}
    for number, channel in enumerate(CHANNELS):
        level = 2000.0 if number < 4 else (-12.0 if number < 12 else 0.2)
        spread = abs(level) / 6
        mean = rng.normal(level, spread, n) + labels * spread * (1.0 if number % 3 == 0 else 0.3)
        std = np.abs(rng.normal(spread, spread / 4, n)) + labels * spread * 0.2
        low, high = mean - std * rng.uniform(2, 4, n), mean + std * rng.uniform(2, 4, n)
        values = (mean, std, low, high, rng.normal(0, 1, n), rng.normal(0, 0.5, n))
        columns.update({f"{channel}_{name}": column for name, column in zip(STATISTICS, values, strict=True)})
    return [f"ID_{i:05d}" for i in range(n)], labels.tolist(), columns


def write_table(path: Path, n: int = 300, seed: int = 0, without: Sequence[str] = ()) -> Path:
    """Write such a table as CSV and return its path."""
    ids, labels, columns = synthetic_rows(n, seed)
    names = [name for name in columns if name not in without]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ID", "label", *names])
        for i, (name, label) in enumerate(zip(ids, labels, strict=True)):
            writer.writerow([name, label, *(f"{columns[column][i]:.9g}" for column in names)])
    return path


def synthetic_patches(n: int, seed: int = 0) -> np.ndarray:
    """float64 (n, 64, 64, 12) in the layout of the data set: stored DN and dB as noise, some with nodata."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((n, 64, 64, len(BAND_NAMES)))
    pixels[..., :4] = rng.normal(2000, 300, (n, 64, 64, 4)).round()
    pixels[..., 4:] = rng.normal(-12, 4, (n, 64, 64, 8))
    return pixels


def write_patches(folder: Path, n: int, seed: int = 0) -> tuple[Path, Path]:
    """Write ID.npy files and labels.csv; returns the folder of patches and the label file."""
    patches = folder / "patches"
    patches.mkdir(parents=True)
    lines = ["ID,label"]
    for i, pixels in enumerate(synthetic_patches(n, seed)):
        label = i % 3 == 0
        pixels[..., 0] += 150 * label
        np.save(patches / f"P{i:03d}.npy", pixels)
        lines.append(f"P{i:03d},{int(label)}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return patches, labels
