"""Channels that are swapped in a scene which no later look sees are refused."""

from __future__ import annotations

import numpy as np
import pytest
from faulty_scenes import land

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.plausibility import refuse_swapped_channels


def test_swapped_channels_are_refused():
    samples = land()
    refuse_swapped_channels(samples["asc_vv"], samples["asc_vh"], "x")
    with pytest.raises(TileError, match=r"scene S: VH exceeds VV by [67]\.\d dB.*correct the names"):
        refuse_swapped_channels(samples["asc_vh"], samples["asc_vv"], "scene S")


def test_too_few_pixels_tell_nothing():
    samples = land()
    vh = np.where(np.arange(samples["asc_vh"].size) < 500, samples["asc_vh"], np.nan)
    refuse_swapped_channels(vh, samples["asc_vv"], "x")
