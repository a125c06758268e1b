"""Small sets of made-up patches in memory, with slides that a network can learn; nothing of them is real ground."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lsd.runtime.bands import BAND_NAMES
from lsd.train.datasets.base import PatchDataset

# a network of some thousand parameters: an epoch of it takes a second
TINY_RECIPE = {
    "name": "tiny",
    "description": "A network for tests.",
    "network": {
        "encoders": [
            {
                "backbone": "resnet10t",
                "channels": ["optical", "sar", "sar_diff"],
                "arguments": {"stem_width": 8, "channels": [8, 8, 16, 16], "drop_rate": 0.1},
            }
        ],
        "head": "single",
        "input_px": 64,
    },
    "scaling": {"kind": "standard", "constants": "paper"},
    "fitting": {
        "learning_rate": 0.003,
        "epochs": 2,
        "batch_size": 8,
        "modality_dropout": {"optical": 0.25, "sar": 0.25},
    },
}


def learnable_pixels(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, 12, 64, 64) of noise, brighter in every band where there is a slide; labels int8 (n,)."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int8)
    pixels = np.empty((n, len(BAND_NAMES), 64, 64), np.float32)
    pixels[:, :4] = rng.normal(2000, 300, (n, 4, 64, 64)) + 600.0 * labels[:, None, None, None]
    pixels[:, 4:] = rng.normal(-12, 4, (n, 8, 64, 64)) + 3.0 * labels[:, None, None, None]
    return pixels, labels


def patch_set(n: int = 48, seed: int = 0) -> PatchDataset:
    """Such patches as a dataset in memory; six of them lie on one ground, two grounds in one event."""
    pixels, labels = learnable_pixels(n, seed)
    return PatchDataset(
        ids=tuple(f"P{i:03d}" for i in range(n)),
        labels=labels,
        bands=BAND_NAMES,
        reader=lambda position: pixels[position].copy(),
        source="memory",
        sha256="0" * 64,
        groups=tuple(f"tile{i // 6}" for i in range(n)),
        events=tuple(f"event{i // 12}" for i in range(n)),
        synthetic=True,
    )


def write_patch_set(folder: Path, n: int = 48, seed: int = 0) -> Path:
    """Such patches as ID.npy (64, 64, 12) with labels.csv and dataset.json; returns the folder."""
    folder.mkdir(parents=True)
    pixels, labels = learnable_pixels(n, seed)
    for i in range(n):
        np.save(folder / f"P{i:03d}.npy", pixels[i].transpose(1, 2, 0))
    lines = [f"P{i:03d},{labels[i]},tile{i // 6},event{i // 12}" for i in range(n)]
    (folder / "labels.csv").write_text("\n".join(["ID,label,group,event", *lines]) + "\n", encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps({"name": "made up", "licence": "none", "synthetic": True}))
    return folder


def write_tiny_recipe(path: Path, **fitting) -> Path:
    """The recipe of `TINY_RECIPE` as a file, with changes to its fitting."""
    path.write_text(json.dumps({**TINY_RECIPE, "fitting": {**TINY_RECIPE["fitting"], **fitting}}))
    return path
