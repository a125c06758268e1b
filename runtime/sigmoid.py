"""Log-odds to probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sigmoid(margin: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probability 1 / (1 + exp(-margin)) in float64; does not overflow."""
    half: NDArray[np.float64] = 0.5 * np.asarray(margin, np.float64)
    return 0.5 * (1.0 + np.tanh(half))
