"""Second opinions, which the certificate is measured against: scipy, the libraries themselves, GTIL, torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import INDEX_BY_NAME
from lsd.runtime.features.sets import split
from lsd.runtime.forest.compiled import LIGHTGBM_ZERO
from lsd.runtime.sigmoid import sigmoid

if TYPE_CHECKING:
    from lsd.export.encoder_members import EncoderEvidence


def scipy_statistic(pixels: NDArray[np.float32], bands: Sequence[str], name: str) -> float:
    """One statistic of one patch, the slow and obvious way.

    Args:
        pixels: float32 (band, y, x), NaN where invalid.
        bands: names along axis 0.
        name: e.g. `ndvi_skew`.
    Returns:
        float64; NaN where the channel is constant (skew, kurtosis) or has no valid pixel.
    """
    import warnings

    from scipy import stats

    channel, statistic = split(name)

    def band(wanted: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = pixels[list(bands).index(wanted)].astype(np.float64)
        return values

    if channel in INDEX_BY_NAME:
        index = INDEX_BY_NAME[channel]
        a, b = band(index.numerator), band(index.denominator)
        values = (a - b) / (a + b + index.epsilon) + index.offset
    else:
        values = band(channel)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "nearly identical data": the answer is the NaN we want
        formula = {
            "mean": np.mean,
            "median": np.median,
            "min": np.min,
            "max": np.max,
            "std": np.std,
            "skew": stats.skew,
            "kurtosis": stats.kurtosis,
        }[statistic]
        return float(formula(values))


def library_margins(path: Path, library: str, rows: NDArray[np.float32]) -> NDArray[np.floating]:
    """Margins as LightGBM (float64) or XGBoost (float32) itself predicts them from a model file.

    XGBoost is asked through `inplace_predict`, which accepts infinities (a DMatrix refuses them).
    """
    if library == "lightgbm":
        import lightgbm

        booster = lightgbm.Booster(model_file=str(path))
        margins: NDArray[np.floating] = booster.predict(rows, raw_score=True, num_threads=1)
        return margins
    import xgboost

    forest = xgboost.Booster(model_file=str(path))
    forest.set_param({"nthread": 1})
    return np.asarray(forest.inplace_predict(rows, predict_type="margin"))


def gtil_margins(model: Any, library: str, rows: NDArray[np.float32]) -> NDArray[np.floating]:
    """Margins by Treelite's General Tree Inference Library, with LightGBM's reading of values next to zero."""
    from treelite import gtil

    values = rows.astype(np.float64 if library == "lightgbm" else np.float32)
    if library == "lightgbm":
        values[np.abs(values) <= LIGHTGBM_ZERO] = 0.0
    return np.asarray(gtil.predict(model, values, nthread=1, pred_margin=True)).reshape(len(rows))


def torch_logits(
    evidence: EncoderEvidence, pixels: NDArray[np.float32], bands: Sequence[str], batch_size: int = 8
) -> NDArray[np.float32]:
    """float32 (graph, n): what the networks themselves give, neither folded nor exported, in FP32 on the CPU.

    Args:
        pixels: float32 (n, band, 64, 64) in the order of `bands`.
    """
    import torch

    graphs = []
    for networks in evidence.networks:
        own = pixels[:, [list(bands).index(band) for band in networks[0].bands]]
        folds = []
        for network in networks:
            network.eval()
            logits = []
            with torch.inference_mode():
                for start in range(0, len(own), batch_size):
                    patches = torch.from_numpy(np.ascontiguousarray(own[start : start + batch_size]))
                    views = [patches, patches.flip(2), patches.flip(3), patches.flip(2, 3)]
                    several = [network(view) for view in (views if evidence.flips else views[:1])]
                    logits.append(torch.stack(several).mean(dim=0).numpy())
            folds.append(np.concatenate(logits).astype(np.float64))
        graphs.append(folds[0] if len(folds) == 1 else _logit_of_mean(folds))
    return np.asarray(graphs, np.float32)


def _logit_of_mean(folds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The logit of the mean probability of several logits (n,); both tails keep their digits."""
    positive = sum(sigmoid(fold) for fold in folds)
    negative = sum(sigmoid(-fold) for fold in folds)
    return np.asarray(np.log(positive) - np.log(negative))
