"""A forest and a network, trained on made-up patches, made a cascade and a bundle by the commands alone; and its tiles.

Patches of the tiles lie between those with a slide and those without, so that some are easy and some are not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from commands import Outcome, invoke
from patch_sets import write_patch_set, write_tiny_recipe
from tiles import write_band_folder

from lsd.export.cli.main import main as lsd_export
from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.train.cli.main import main as lsd_train

FOREST = {
    "name": "tiny", "description": "Two forests for tests.",
    "members": [
        {"id": key, "library": "lightgbm", "feature_set": "table-85", "rounds": 8,
         "parameters": {"num_leaves": 5, "min_data_in_leaf": 4, "learning_rate": 0.3, **more}}
        for key, more in (("boosted", {}), ("extra", {"extra_trees": True, "seed": 1}))
    ],
}  # fmt: skip


def write_cascade(place: Path, patches: int = 90) -> Path:
    """Runs `forest`, `net` and `both` with its exits, in `place`; returns `both`."""
    data = write_patch_set(place / "patches", patches)
    said = ("--patches", data, "--folds", 3, "-qq", "--licence", "CC0-1.0")
    (place / "forest.json").write_text(json.dumps(FOREST))
    write_tiny_recipe(place / "net.json", epochs=2, learning_rate=0.02, modality_dropout={})
    _done(lsd_train, "forest", *said, "--recipe", place / "forest.json", "-o", place / "forest")
    _done(lsd_train, "encoder", *said, "--recipe", place / "net.json", "--threads", 1, "-o", place / "net")
    how = ("--method", "mean", "--folds", 4, "-qq")
    _done(lsd_train, "ensemble", place / "forest", place / "net", *how, "-o", place / "both")
    _done(lsd_train, "cascade", place / "both", "--policy", "exit-75", "-qq")
    return place / "both"


def build_cascade(run: Path, out: Path) -> Outcome:
    """`lsd-export build` of it: one graph of all folds, FP32 only."""
    how = ("--precision", "fp32", "--average-folds", "--threads", 1, "--patches", run.parent / "patches", "-q")
    return invoke(lsd_export, "build", run, "-o", out, *how)


def between(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """float32 (12, 64 rows, 64 columns): each patch a random share of the way to a slide (`patch_sets`); whole DN."""
    rng = np.random.default_rng(seed)
    share = np.kron(rng.random((rows, columns)), np.ones((PATCH_SIZE_PX, PATCH_SIZE_PX)))
    pixels = np.empty((len(BAND_NAMES), *share.shape), np.float32)
    pixels[:4] = np.round(rng.normal(2000, 300, (4, *share.shape)) + 600 * share)
    pixels[4:] = rng.normal(-12, 4, (8, *share.shape)) + 3 * share
    red, blue = BAND_NAMES.index("red"), BAND_NAMES.index("blue")
    pixels[blue] = np.minimum(pixels[blue], np.floor(0.5 * pixels[red] + 1290))  # below what looks like haze
    return pixels


def write_tile(folder: Path, pixels: np.ndarray) -> Path:
    """A folder of one GeoTIFF a band, of float32 (12, y, x)."""
    stored = {name: band.astype(np.uint16) if at < 4 else band for at, (name, band) in enumerate(_named(pixels))}
    return write_band_folder(folder, stored)


def patches_of(pixels: np.ndarray) -> np.ndarray:
    """float32 (row * column, 12, 64, 64) of float32 (12, y, x), row by row."""
    bands, height, width = pixels.shape
    rows, columns = height // PATCH_SIZE_PX, width // PATCH_SIZE_PX
    cut = pixels.reshape(bands, rows, PATCH_SIZE_PX, columns, PATCH_SIZE_PX).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(cut.reshape(rows * columns, bands, PATCH_SIZE_PX, PATCH_SIZE_PX))


def _named(pixels: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return list(zip(BAND_NAMES, pixels, strict=True))


def _done(command, *words) -> None:
    done = invoke(command, *words)
    assert done.code == 0, done.err
