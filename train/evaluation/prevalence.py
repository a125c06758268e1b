"""Precision where slides are rarer, or more frequent, than among the samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lsd.train.metrics import BOOTSTRAPS


def precision_at_prevalence(
    decision: NDArray[np.bool_], labels: NDArray[np.int8], prevalence: float, seed: int = 0
) -> dict[str, float]:
    """Precision of these decisions where a share `prevalence` of the patches holds a slide, with a 95 % interval.

    Bayes' rule on recall r and false positive rate f: p r / (p r + (1 - p) f), as in lsd.train.metrics. Rows drawn with
    replacement fall into hits, misses, false positives and the rest as a multinomial draw from the four counts does, so
    that is drawn.

    Args:
        decision: bool (n,), a slide is called.
        labels: (n,), 0 or 1.
        prevalence: 0..1.
    """
    slides = labels == 1
    parts = (decision & slides, ~decision & slides, decision & ~slides, ~decision & ~slides)
    counts = np.array([part.sum() for part in parts])
    drawn = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), BOOTSTRAPS)
    hits, misses, false, rest = np.concatenate([counts[None], drawn]).T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        true_share = prevalence * hits / (hits + misses)
        false_share = (1 - prevalence) * false / (false + rest)
        precision = true_share / (true_share + false_share)
    defined = precision[1:][~np.isnan(precision[1:])]
    low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) else (np.nan, np.nan)
    return {"value": float(precision[0]), "low": float(low), "high": float(high)}
