"""When a patch holds a landslide: the one rule by which masks and polygons become labels."""

from __future__ import annotations

from dataclasses import dataclass

from lsd.runtime.errors import UsageError
from lsd.runtime.manifest import MIN_VALID_FRACTION


@dataclass(frozen=True)
class LabelRule:
    """A patch is positive with at least `min_slide_m2` of slide, negative with none; in between it is left out.

    The default is 10 pixels of 10 m: fewer are less than what the edges of a mapped slide are off. min_valid: least
    share of the pixels that must be valid in all bands, as the runtime scores no other patch.
    """

    min_slide_m2: float = 1000.0
    min_valid: float = MIN_VALID_FRACTION

    def __post_init__(self) -> None:
        """Raises UsageError for an area that is not above 0."""
        if not 0 < self.min_slide_m2 < float("inf"):
            raise UsageError(f"--min-slide-m2 should be an area above 0, is {self.min_slide_m2:g}")

    def label(self, slide_px: int, pixel_m2: float) -> int | None:
        """1 (slide), 0 (no slide) or None (left out) of a patch with so many pixels of slide."""
        if slide_px == 0:
            return 0
        is_enough = slide_px * pixel_m2 >= self.min_slide_m2 * (1 - 1e-9)  # ten pixels of 10 m are, rounding aside
        return 1 if is_enough else None
