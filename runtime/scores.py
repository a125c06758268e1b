"""Scores of patches: what the chain answers, and the grid of answers of a whole tile that the sinks write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.patches import PatchGrid

# decisions
NO_SLIDE, SLIDE, LOOK, NOT_SCORED = 0, 1, 2, 255
DECISION_TEXT = {NO_SLIDE: "no slide", SLIDE: "slide", LOOK: "look", NOT_SCORED: "not scored"}
# classes of the products, the more certain the higher
NOT_OBSERVED, NOTHING_SEEN, LOOK_CLASS, POSSIBLE, LIKELY = 0, 1, 2, 3, 4
CLASS_TEXT = {
    NOT_OBSERVED: "not observed",
    NOTHING_SEEN: "nothing seen",
    LOOK_CLASS: "look",
    POSSIBLE: "possible",
    LIKELY: "likely",
}
# statuses: why a patch has no score
SCORED, TOO_FEW_VALID_PIXELS, NO_CONFIGURATION, LOOKS_LIKE_CLOUD, CLOUD, OUT_OF_RANGE = 0, 1, 2, 3, 4, 5
STATUS_TEXT = {
    SCORED: "scored",
    TOO_FEW_VALID_PIXELS: "not scored: too few valid pixels",
    NO_CONFIGURATION: "not scored: no trained configuration for the bands that are there",
    LOOKS_LIKE_CLOUD: "not scored: bright as cloud, haze or snow, and no detection",
    CLOUD: "not scored: cloud, cloud shadow or snow by the cloud layer",
    OUT_OF_RANGE: "not scored: values outside of the plausible range of a band",
}
# stages: where a patch got its answer
NO_STAGE, LEFT_AT_FOREST, WHOLE_ENSEMBLE = 0, 1, 2
STAGE_TEXT = {
    NO_STAGE: "not scored",
    LEFT_AT_FOREST: "left at the forest",
    WHOLE_ENSEMBLE: "whole ensemble",
}


@dataclass(frozen=True)
class Scores:
    """Answers for n patches, in their order.

    probability: float32, calibrated, at the prevalence stated by the user if any, 0..1, NaN where not scored. decision:
    uint8 `NO_SLIDE`, `SLIDE`, `LOOK` (no detection, but above the look threshold) or `NOT_SCORED`.
    configuration: uint8, 1-based position in the bundle's configurations, 0 where not scored. valid_fraction: float32
    0..1, of that configuration's bands (the best of all configurations where not scored). status, stage: uint8, see
    above.
    """

    probability: NDArray[np.float32]
    decision: NDArray[np.uint8]
    configuration: NDArray[np.uint8]
    valid_fraction: NDArray[np.float32]
    status: NDArray[np.uint8]
    stage: NDArray[np.uint8]


class TileScores:
    """The scores of one tile as arrays (row, column) of its patch grid; filled batch by batch, not thread-safe."""

    def __init__(self, grid: PatchGrid) -> None:
        shape = grid.rows, grid.columns
        self.grid = grid
        self.probability = np.full(shape, np.nan, np.float32)
        self.decision = np.full(shape, NOT_SCORED, np.uint8)
        self.configuration = np.zeros(shape, np.uint8)
        self.valid_fraction = np.zeros(shape, np.float32)
        self.status = np.full(shape, TOO_FEW_VALID_PIXELS, np.uint8)
        self.stage = np.full(shape, NO_STAGE, np.uint8)
        down = np.array([grid.is_shifted(row, 0) for row in range(grid.rows)], bool)
        across = np.array([grid.is_shifted(0, column) for column in range(grid.columns)], bool)
        self.shifted = down[:, None] | across

    def put(self, rows: NDArray[np.intp], columns: NDArray[np.intp], scores: Scores) -> None:
        """Store scores of n patches in the cells they came from, int (n,) each."""
        cells = rows, columns
        for name in ("probability", "decision", "configuration", "valid_fraction", "status", "stage"):
            getattr(self, name)[cells] = getattr(scores, name)

    def classes(self) -> NDArray[np.uint8]:
        """uint8 (row, column) for products: `LIKELY` (a detection of p >= .5), `POSSIBLE` (of less), and so on."""
        found = np.full(self.decision.shape, NOT_OBSERVED, np.uint8)
        found[self.decision == NO_SLIDE] = NOTHING_SEEN
        found[self.decision == LOOK] = LOOK_CLASS
        slide = self.decision == SLIDE
        found[slide] = np.where(self.probability[slide] >= 0.5, LIKELY, POSSIBLE)
        return found

    def counts(self) -> dict[str, int]:
        """Number of patches: all, slide, look, no slide, not scored by reason, exited early, shifted inward."""
        return {
            "patches": self.decision.size,
            "slide": int((self.decision == SLIDE).sum()),
            "look": int((self.decision == LOOK).sum()),
            "no_slide": int((self.decision == NO_SLIDE).sum()),
            "not_scored": int((self.decision == NOT_SCORED).sum()),
            "too_few_valid_pixels": int((self.status == TOO_FEW_VALID_PIXELS).sum()),
            "no_configuration": int((self.status == NO_CONFIGURATION).sum()),
            "looks_like_cloud": int((self.status == LOOKS_LIKE_CLOUD).sum()),
            "cloud": int((self.status == CLOUD).sum()),
            "out_of_range": int((self.status == OUT_OF_RANGE).sum()),
            "exited": int((self.stage == LEFT_AT_FOREST).sum()),
            "shifted": int(self.shifted.sum()),
        }
