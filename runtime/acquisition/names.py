"""Names of the checks, as products and `--force` know them; light, so that a command line can list them."""

from __future__ import annotations

BRIGHT = "bright-scene"
EMPTY, CONSTANT, CUT_OFF = "empty-band", "constant-band", "cut-off"
SWAPPED, LEVEL = "vv-and-vh", "level"
SPREAD, MEDIAN, PAIRING = "difference-spread", "difference-median", "difference-pairing"
OFFSET, COLOURS = "offset", "red-and-blue"
RANGE = "training-range"

# in the order in which a person should read them
CHECK_NAMES = (
    BRIGHT, EMPTY, CONSTANT, CUT_OFF, SWAPPED, LEVEL, SPREAD, MEDIAN, PAIRING, OFFSET, COLOURS, RANGE,
)  # fmt: skip
ALL = "all"  # the word that forces every check
FORCIBLE = (ALL, *CHECK_NAMES)
