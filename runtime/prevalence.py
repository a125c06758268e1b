"""Probabilities under another share of positives than that of the training data (Bayes' rule on the odds).

M. Saerens, P. Latinne and C. Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural
Computation 14, 2002, equation 2.4. It assumes that slides and other ground look as in training, only rarer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shifted(probability: NDArray[np.float64], trained: float, stated: float | None) -> NDArray[np.float64]:
    """Probabilities that assume the share `stated` of positive patches instead of `trained`.

    Args:
        probability: float64, any shape, 0..1; NaN stays NaN.
        trained: share of positives that the probabilities assume, above 0 and below 1.
        stated: the share to assume; None changes nothing.
    Returns:
        float64 of the same shape, 0..1, in the same order of size.
    """
    p = np.asarray(probability, np.float64)
    if stated is None:
        return p
    positive = p * (stated / trained)
    negative = (1.0 - p) * ((1.0 - stated) / (1.0 - trained))
    return positive / (positive + negative)
