"""The counts of the acquisition benchmark; its own figures are measured, not tested."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from faulty_scenes import land, range_document

from lsd.benchmarks import acquisition
from lsd.benchmarks.acquisition import DRIFTS, outcomes
from lsd.benchmarks.plausibility import FAULTS
from lsd.runtime.acquisition.ranges import ranges_of
from lsd.runtime.bands import BAND_NAMES


def test_scenes_are_counted_by_their_most_certain_new_finding():
    optical = {name: values for name, values in land(1).items() if name in ("red", "green", "blue", "nir")}
    found = outcomes([land(), optical], None)
    assert found["no fault"] == {"scenes": 2, "certain": 0, "likely": 0, "nothing": 2, "odd": 0, "by_check": {}}
    assert found["VV and VH swapped"]["certain"] == 1 == found["VV and VH swapped"]["scenes"]
    assert found["offset missing"]["by_check"]["offset"] == 2
    assert found["before and after reversed in the differences only"]["by_check"] == {"difference-pairing": 1}
    assert found["before and after reversed in all"]["nothing"] == 1
    assert found["cloud over half, called clear"]["by_check"]["bright-scene"] == 2


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaves_bands_and_the_scene_itself_alone(name):
    scene = land()
    before = {band: values.copy() for band, values in scene.items()}
    assert list(FAULTS[name](scene)) == list(scene)
    assert all(np.array_equal(scene[band], before[band]) for band in scene)
    FAULTS[name]({"red": scene["red"]})  # a scene of one band is no error


def test_streams_with_a_change_are_told_and_ordinary_ones_are_not(monkeypatch):
    monkeypatch.setattr(acquisition, "STREAMS", 5)
    rng = np.random.default_rng(0)
    ranges = ranges_of({"band_ranges": range_document(**dict.fromkeys(BAND_NAMES, (1000.0, 2000.0)))})
    tiles = [{band: rng.normal(1500, 150) for band in BAND_NAMES} for _ in range(500)]
    assert acquisition._warned(tiles, ranges, rng, DRIFTS["offset added twice"])["warned_after"] == 5
    ordinary = acquisition._warned(tiles, ranges, rng, DRIFTS["no change"])
    assert ordinary["warned_before"] + ordinary["warned_after"] == 0


def test_help():
    assert CliRunner().invoke(acquisition.main, ["--help"]).exit_code == 0
