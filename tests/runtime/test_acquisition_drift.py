"""A stream that drifts is told, one that does not is not, and a restart goes on where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from faulty_scenes import range_document

from lsd.runtime.acquisition.drift import LEAST_TILES, WINDOW_TILES, DriftMonitor
from lsd.runtime.acquisition.ranges import ranges_of
from lsd.runtime.errors import OutputError

# spread of the patch means: .8 of the width between the quantiles .01 and .99, over 4.65
RANGES = ranges_of({"band_ranges": range_document(red=(1000.0, 2000.0), asc_vv=(-20.0, -4.0))})
SPREAD = RANGES["red"].spread


def fed(monitor, tiles, shift=0.0, seed=0, first=0):
    rng = np.random.default_rng(seed)
    for i in range(first, first + tiles):
        red = rng.normal(1500 + shift * SPREAD, SPREAD)
        vv = rng.normal(-12, RANGES["asc_vv"].spread)
        monitor.observe(f"tile{i}", {"red": np.full(2000, red), "asc_vv": np.full(2000, vv), "nir": np.ones(2000)})
    return monitor


def test_an_ordinary_stream_is_silent_at_every_tile():
    monitor = DriftMonitor(RANGES)
    for i in range(300):
        fed(monitor, 1, seed=i, first=i)
        assert monitor.warnings() == []
    assert set(monitor.shifts()) == {"red", "asc_vv"}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_stream_that_drifts_is_told(sign):
    monitor = fed(DriftMonitor(RANGES), WINDOW_TILES, shift=2.0 * sign)
    assert monitor.shifts()["red"] == pytest.approx(2.0 * sign, abs=0.5)
    (line,) = monitor.warnings()
    assert line.startswith("red drifts: over the last 50 tiles its median is ") and "limit 0.50" in line


def test_the_index_by_hand():
    """30 of 50 tiles in the upper half, 20 in the lower; then all beyond the highest percent."""
    monitor = DriftMonitor(RANGES)
    for i in range(WINDOW_TILES):
        monitor.observe_medians(str(i), {"red": 1600.0 if i < 30 else 1400.0})
    shares, expected = np.array([0.01, 20.49, 30.49, 0.01]) / 51, np.array([0.01, 0.49, 0.49, 0.01])
    index = ((shares - expected) * np.log(shares / expected)).sum()
    assert monitor.stability() == {"red": pytest.approx(index)} and monitor.warnings() == []
    assert monitor.shifts() == {"red": pytest.approx(100 / SPREAD)}
    for i in range(WINDOW_TILES):
        monitor.observe_medians(str(i), {"red": 1950.0})
    assert monitor.stability()["red"] > 5 and len(monitor.warnings()) == 1


def test_fewer_tiles_need_a_larger_index():
    """Three quarters in the upper half: ordinary by chance in 20 tiles, not in 200."""
    few, many = DriftMonitor(RANGES), DriftMonitor(RANGES, 200)
    for i in range(200):
        for monitor in (few, many)[i >= 20 :]:
            monitor.observe_medians(str(i), {"red": 1400.0 if i % 4 == 0 else 1600.0})
    assert few.warnings() == [] and len(many.warnings()) == 1
    assert few.stability()["red"] == pytest.approx(many.stability()["red"], rel=0.25)


def test_a_few_odd_tiles_and_too_few_tiles_tell_nothing():
    assert fed(DriftMonitor(RANGES), LEAST_TILES - 1, shift=9.0).shifts() == {}
    monitor = fed(DriftMonitor(RANGES), 40)
    fed(monitor, 5, shift=30.0, first=40)
    assert monitor.warnings() == []


def test_old_tiles_leave_and_one_seen_again_counts_once():
    monitor = fed(DriftMonitor(RANGES), WINDOW_TILES, shift=3.0)
    assert monitor.warnings()
    fed(monitor, WINDOW_TILES, first=WINDOW_TILES)
    assert monitor.warnings() == []
    for _ in range(LEAST_TILES + 5):
        monitor.observe_medians("again", {"red": 9000.0})
    assert monitor.warnings() == [] and len(monitor.to_json()["tiles"]) == WINDOW_TILES


def test_a_restart_goes_on_where_it_was():
    whole = fed(fed(DriftMonitor(RANGES), 30), 30, shift=1.5, seed=1, first=30)
    half = fed(DriftMonitor(RANGES), 30)
    state = json.loads(json.dumps(half.to_json()))
    resumed = fed(DriftMonitor.from_json(RANGES, state), 30, shift=1.5, seed=1, first=30)
    assert resumed.to_json() == whole.to_json() and resumed.shifts() == whole.shifts()


def test_few_pixels_and_bands_without_a_range_do_not_count():
    monitor = DriftMonitor(RANGES)
    red = np.full(5000, np.nan)
    red[:999] = 1500.0
    monitor.observe("T", {"red": red, "nir": np.full(5000, 9000.0)})
    assert monitor.to_json()["tiles"] == [{"tile_id": "T", "medians": {}}]


def test_without_a_card_nothing_is_reported():
    monitor = DriftMonitor(None)
    monitor.observe("T", {"red": np.full(5000, 9000.0)})
    assert monitor.shifts() == monitor.stability() == {} and monitor.warnings() == []


@pytest.mark.parametrize(
    "state", [{}, {"schema_version": 9, "window_tiles": 50, "tiles": []}, {"schema_version": 1, "window_tiles": 50}]
)
def test_a_damaged_state_is_one_line(state):
    with pytest.raises(OutputError, match=r"state of the drift monitor cannot be read .* delete it to begin anew"):
        DriftMonitor.from_json(RANGES, state)


def test_a_window_of_one_tile_is_no_stream():
    with pytest.raises(ValueError, match="window_tiles should be 2 or more, is 1"):
        DriftMonitor(RANGES, 1)
