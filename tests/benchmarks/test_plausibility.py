"""The rates of the plausibility checks count what they should; the table's own figures are measured, not tested."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from tables import write_table

from lsd.benchmarks import plausibility
from lsd.benchmarks.plausibility import FAULTS, rates, sampled_pixels, scenes_of
from lsd.benchmarks.simulated_scenes import needed_statistics
from lsd.runtime.bands import BAND_NAMES
from lsd.train.table import read_table

N = 4000


@pytest.fixture
def scene() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shade = rng.normal(0, 60, N)
    found = {"red": 1600 + 2 * shade, "green": 1600 + shade, "blue": 1400 + shade, "nir": 3200 + 4 * shade}
    for name in BAND_NAMES[4:]:
        level = {"vv": -10.0, "vh": -17.0}.get(name.split("_")[1], 0.0)
        found[name] = rng.normal(level, 3.5 if level else 2.3, N)
    return found


def test_scenes_are_counted_by_check(scene):
    assert rates([scene, scene], FAULTS["no fault"]) == {"refused": 0, "flagged": 0, "by_check": {}}
    found = rates([scene], FAULTS["offset added twice"])
    assert (found["flagged"], found["by_check"]) == (1, {"offset": 1})
    assert rates([scene], FAULTS["differences of one constant"])["refused"] == 1
    assert rates([scene], FAULTS["VV and VH swapped, descending"])["refused"] == 1
    assert rates([scene], FAULTS["red and blue swapped"])["by_check"] == {"red and blue": 1}


def test_scenes_are_made_of_the_rows_of_a_table(tmp_path):
    samples = read_table(write_table(tmp_path / "table.csv", 40), needed_statistics())
    pixels = sampled_pixels(samples)
    assert pixels.shape == (40, 12, 256)
    scenes = scenes_of(samples, pixels)
    assert len(scenes) >= 200  # the mixed ones; a cluster of so small a table makes none
    assert all(set(one) == set(BAND_NAMES) and one["red"].size % 256 == 0 for one in scenes)


def test_help():
    assert CliRunner().invoke(plausibility.main, ["--help"]).exit_code == 0
