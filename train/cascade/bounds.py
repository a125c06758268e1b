"""How many there may be where so many were seen."""

from __future__ import annotations

from typing import Any

CONFIDENCE = 0.95


def upper_bound(number: int, of: int) -> float:
    """Upper 95 % confidence bound, one-sided, of a share of which `number` in `of` were seen; 1 where `of` is 0.

    Exact for independent draws from one distribution (C. J. Clopper and E. S. Pearson, The use of confidence or
    fiducial limits illustrated in the case of the binomial, Biometrika 26, 1934). It says nothing of ground that is
    unlike the training data: it is an in-distribution bound.
    """
    from scipy.stats import beta

    return 1.0 if number >= of else float(beta.ppf(CONFIDENCE, number + 1, of - number))


def counted(number: int, of: int) -> dict[str, Any]:
    """{"number", "of", "share", "upper"}; share is 0 where `of` is 0."""
    return {"number": number, "of": of, "share": number / of if of else 0.0, "upper": upper_bound(number, of)}
