"""The forests that are compared, trained once and kept in a folder, with what each library makes of them.

Sizes of METHOD: LightGBM of 24 leaves (100 to 12,000 trees, the paper's member v18b), XGBoost of depth 6 (4,000 trees,
member v44), over 126 columns. The training data are made up: speed depends on the shape of trees, accuracy is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.export.forest_from_treelite import forest_from_file, treelite_from_file
from lsd.runtime.forest.table import ForestTable

Library = Literal["lightgbm", "xgboost"]
COLUMNS = 126
TRAINING_ROWS = 6000
NAN_SHARE = 0.02
LEAVES, DEPTH = 24, 6
SIZES: dict[str, tuple[Library, int]] = {
    "lgbm_100": ("lightgbm", 100),
    "lgbm_500": ("lightgbm", 500),
    "lgbm_2000": ("lightgbm", 2000),
    "lgbm_12000": ("lightgbm", 12_000),
    "xgb_4000": ("xgboost", 4000),
}
ENDINGS: dict[Library, str] = {"lightgbm": "txt", "xgboost": "ubj"}
Rows = NDArray[np.float32]


def rows_of(n: int, seed: int) -> Rows:
    """Varied rows float32 (n, 126), standard normal as the training data, 2 % NaN."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, COLUMNS)).astype(np.float32)
    rows[rng.random(rows.shape) < NAN_SHARE] = np.nan
    return rows


@dataclass(frozen=True)
class Model:
    """One forest, by its file. What is made of it is made once."""

    name: str
    library: Library
    file: Path

    @cached_property
    def table(self) -> ForestTable:
        """Our canonical table."""
        return forest_from_file(self.file, self.library)

    @cached_property
    def treelite(self) -> Any:
        """treelite.Model."""
        return treelite_from_file(self.file, self.library)

    @cached_property
    def shared_library(self) -> Path:
        """Treelite-compiled C beside the model file, compiled where it is absent (12,000 trees: minutes).

        Raises:
            BackendError: no TL2cgen or no compiler.
        """
        from lsd.export.compile_c import compiled_forests

        machine = os.uname().machine
        return _kept(
            self.file.with_name(f"{self.name}.{machine}.so"),
            lambda file: file.write_bytes(compiled_forests(self.treelite, (machine,))[machine]),
        )


def models(cache: Path, names: Sequence[str]) -> list[Model]:
    """The forests of these names of `SIZES`, trained where the folder has none."""
    cache.mkdir(parents=True, exist_ok=True)
    return [
        Model(name, library, _trained(cache / f"{name}.{ENDINGS[library]}", library, trees))
        for name, (library, trees) in ((name, SIZES[name]) for name in names)
    ]


def _trained(file: Path, library: Library, trees: int) -> Path:
    train = _train_lightgbm if library == "lightgbm" else _train_xgboost
    return _kept(file, lambda partial: train(partial, trees))


def _kept(file: Path, make: Callable[[Path], object]) -> Path:
    """The file, made once: an interrupted try does not count."""
    if not file.exists():
        partial = file.with_name(f"partial.{file.name}")
        make(partial)
        partial.rename(file)
    return file


def training_data() -> tuple[Rows, NDArray[np.float32]]:
    """Rows with labels 0 or 1, about a fifth of them 1: a function of a few columns, and noise."""
    rows = rows_of(TRAINING_ROWS, seed=1)
    known = np.nan_to_num(rows)
    score = known[:, 0] + 0.8 * known[:, 1] * known[:, 2] + 0.5 * np.abs(known[:, 3]) + known[:, 4:12].sum(axis=1) / 3
    noise = np.random.default_rng(2).standard_normal(len(rows))
    score = score + noise
    return rows, (score > np.quantile(score, 0.82)).astype(np.float32)


def _train_lightgbm(file: Path, trees: int) -> None:
    import lightgbm

    rows, labels = training_data()
    parameters = {
        "objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.005, "feature_fraction": 0.5, "seed": 1,
        "verbosity": -1, "num_threads": os.cpu_count() or 1,
    }  # fmt: skip
    lightgbm.train(parameters, lightgbm.Dataset(rows, labels), num_boost_round=trees).save_model(str(file))


def _train_xgboost(file: Path, trees: int) -> None:
    import xgboost

    rows, labels = training_data()
    parameters = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.02, "seed": 1}
    xgboost.train(parameters, xgboost.DMatrix(rows, labels), num_boost_round=trees).save_model(str(file))
