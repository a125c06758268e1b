"""Fit forests with the libraries. Deterministic for a seed; models are saved in the libraries' text or UBJSON form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import RecipeError
from lsd.runtime.sigmoid import sigmoid
from lsd.train.recipe import MemberRecipe

SUFFIXES = {"lightgbm": ".txt", "xgboost": ".ubj"}


class FittedForest:
    """A fitted forest of either library."""

    def __init__(self, library: str, booster: Any) -> None:
        self.library = library
        self.booster = booster

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 (n,), not calibrated; the same sigmoid as at run time."""
        if self.library == "lightgbm":
            return sigmoid(self.booster.predict(rows, raw_score=True, num_threads=1))
        return sigmoid(self.booster.inplace_predict(rows, predict_type="margin"))

    def gains(self, n_features: int) -> NDArray[np.float64]:
        """float64 (feature,): total gain of the splits on each feature, as a share of all."""
        if self.library == "lightgbm":
            gain = np.asarray(self.booster.feature_importance("gain"), np.float64)
        else:
            found = self.booster.get_score(importance_type="total_gain")
            gain = np.array([found.get(f"f{i}", 0.0) for i in range(n_features)])
        return gain / max(float(gain.sum()), 1e-300)

    def save(self, folder: Path, member: str) -> Path:
        """Write the model file; returns its path."""
        path = folder / f"{member}{SUFFIXES[self.library]}"
        self.booster.save_model(str(path))
        return path


def fit(
    member: MemberRecipe, rows: NDArray[np.float32], labels: NDArray[np.int8], seed: int, threads: int
) -> FittedForest:
    """Train one forest.

    Args:
        rows: float32 (n, feature), NaN is missing.
        labels: (n,), 0 or 1.
        seed: of row and column sampling, unless the recipe fixes one.
        threads: used by the library; the result does not depend on it for LightGBM.
    Raises:
        RecipeError: the library refuses a value of the recipe.
    """
    if member.library == "lightgbm":
        import lightgbm

        settings = {
            "objective": "binary",
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
            **member.parameters,
            "num_threads": threads,
        }
        try:
            return FittedForest("lightgbm", lightgbm.train(settings, lightgbm.Dataset(rows, labels), member.rounds))
        except lightgbm.basic.LightGBMError as error:
            raise _refusal(member, error) from error
    import xgboost

    settings = {"objective": "binary:logistic", "seed": seed, "tree_method": "hist", **member.parameters}
    data = xgboost.DMatrix(rows, labels, nthread=threads)
    try:
        return FittedForest("xgboost", xgboost.train({**settings, "nthread": threads}, data, member.rounds))
    except xgboost.core.XGBoostError as error:
        raise _refusal(member, error) from error


def _refusal(member: MemberRecipe, error: Exception) -> RecipeError:
    reason = str(error).strip().partition("\n")[0].partition(" at /")[0]  # without the place in the library's source
    return RecipeError(
        f"{member.library} refuses to train member {member.id!r}: {reason}; correct its parameters in the recipe"
    )
