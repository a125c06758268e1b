"""Samples of a made-up scene, ordinary in everything that the acquisition checks ask, and a radar pair with speckle."""

from __future__ import annotations

import numpy as np

N = 5000


def land(seed: int = 0, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Band -> float64 (5000,): half forest, half dry ground; both radar directions, each of two acquisitions.

    The speckle of the scene after the event is in level and difference, as in real pairs.
    """
    rng = np.random.default_rng(seed)
    bare = rng.random(N) < 0.5
    shade = rng.normal(0, 30, N)
    samples = {
        "red": np.where(bare, 2100.0, 1300.0) + 2 * shade,
        "green": np.where(bare, 1900.0, 1450.0) + 1.5 * shade,
        "blue": np.where(bare, 1600.0, 1250.0) + shade,
        "nir": np.where(bare, 3000.0, 3900.0) + 4 * shade,
    }
    for short in ("desc", "asc"):
        for channel, level in (("vv", -10.0), ("vh", -17.0)):
            before, after = rng.normal(0, 1.6, (2, N))
            samples[f"{short}_{channel}"] = level + rng.normal(0, 3.2, N) + after
            samples[f"{short}_d{channel}"] = after - before
    return samples | changes


def swapped(samples: dict[str, np.ndarray], a: str, b: str) -> dict[str, np.ndarray]:
    """The samples with two bands under each other's names."""
    return {**samples, a: samples[b], b: samples[a]}


def water(seed: int = 0) -> dict[str, np.ndarray]:
    """Band -> float64 (5000,): the optical bands of open sea, where a scene without land is."""
    rng = np.random.default_rng(seed)
    ripple = rng.normal(0, 12, N)
    return {"red": 1180 + ripple, "green": 1290 + ripple, "blue": 1340 + ripple, "nir": 1120 + rng.normal(0, 10, N)}


def range_document(**bands: tuple[float, float]) -> dict:
    """`band_ranges` as a card holds it: band -> (lowest, highest) patch mean; min and max reach 10 % further."""
    stored = {}
    for band, (low, high) in bands.items():
        middle, width = (low + high) / 2, high - low
        quantiles = {"mean": 1.0, "min": 1.2, "max": 1.2}
        stored[band] = {
            name: [middle + width * wide * share for share in (-0.5, -0.4, 0.0, 0.4, 0.5)]
            for name, wide in quantiles.items()
        }
    return {"schema_version": 1, "quantiles": [0.001, 0.01, 0.5, 0.99, 0.999], "rows": 1000, "bands": stored}
