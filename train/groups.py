"""Groups of bands that arrive together, and the configurations of the reference bundle that are made of them.

A pair is the level after the event and its change since before the event, of one flight direction. Radar that is
terrain-flattened (RTC) gives differences only, radar without a scene from before the event gives levels only.
"""

from __future__ import annotations

from lsd.runtime.bands import BAND_NAMES, in_order, of_modality

GROUPS: dict[str, tuple[str, ...]] = {
    "all": BAND_NAMES,
    "optical": of_modality("optical"),
    "sar": of_modality("sar", "sar_diff"),
    "posts": of_modality("sar"),
    "diffs": of_modality("sar_diff"),
    **{f"{orbit}_pair": tuple(name for name in BAND_NAMES if name.startswith(orbit)) for orbit in ("desc", "asc")},
    **{f"{orbit}_post": (f"{orbit}_vv", f"{orbit}_vh") for orbit in ("desc", "asc")},
    **{f"{orbit}_diff": (f"{orbit}_dvv", f"{orbit}_dvh") for orbit in ("desc", "asc")},
}

# In order of preference: the first whose bands are valid answers a patch. Sorted by measured F1 (docs/performance.md).
CONFIGURATIONS: tuple[str, ...] = (
    "all",
    "optical,asc_pair",
    "optical,desc_pair",
    "optical,diffs",
    "optical,posts",
    "optical,asc_diff",
    "optical,desc_diff",
    "optical,desc_post",
    "optical,asc_post",
    "optical",
    "sar",
    "asc_pair",
    "desc_pair",
    "diffs",
    "desc_diff",
    "asc_diff",
)


def name_of(bands: str) -> str:
    """Name of a configuration from its groups, separated by commas: `optical+desc_pair`."""
    return "+".join(part.strip() for part in bands.split(","))


def recipe_of(bands: str) -> str:
    """The recipe of the reference bundle for a configuration."""
    return "default" if bands == "all" else "partial"


def bands_of_groups(bands: str) -> tuple[str, ...]:
    """Canonical names, in canonical order, of groups separated by commas."""
    return in_order(name for group in bands.split(",") for name in GROUPS[group.strip()])
