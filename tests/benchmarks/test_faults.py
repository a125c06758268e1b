"""Faults written as they arrive meet the answer that is expected; counting is tested on made-up answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tables import write_table

from bundles import random_bundle
from lsd.benchmarks import faults
from lsd.benchmarks.fault_cases import CASES
from lsd.benchmarks.faults import Answer, TileOfRows, answer_of, outcome, summary
from lsd.benchmarks.simulated_scenes import mosaic
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain
from lsd.runtime.scores import LOOK, NO_SLIDE, NOT_SCORED, SLIDE
from lsd.train.surrogate import surrogates

# mean, std, min, max, skew, kurtosis of ordinary land
LAND = {
    "red": (1550, 260, 1150, 3000, 1.0, 1.5),
    "green": (1600, 180, 1250, 2700, 0.8, 1.2),
    "blue": (1420, 140, 1180, 2300, 0.8, 1.4),
    "nir": (3200, 420, 1800, 5000, 0.1, 0.2),
    "vv": (-9.5, 3.5, -22, 4, 0.2, 0.4),
    "vh": (-16.0, 3.4, -28, -4, 0.1, 0.3),
    "dvv": (0.1, 2.3, -9, 9, 0.0, 0.3),
    "dvh": (-0.1, 2.6, -10, 10, 0.0, 0.4),
}
BY_CASE = {case.name: case for case in CASES}
# told from what the forests say, not from the ingest
BY_FORESTS = ("undetectable",)
CHECKED = [pytest.param(case, id=case.name) for case in CASES if case.expected not in BY_FORESTS]


@pytest.fixture(scope="module")
def tile() -> TileOfRows:
    rows = np.array([[LAND.get(name, LAND.get(name.split("_")[-1])) for name in BAND_NAMES]] * 4, np.float64)
    patches = surrogates(rows, BAND_NAMES, np.random.default_rng(0))
    return TileOfRows(np.arange(4), np.array([1, 0, 1, 0], np.int8), mosaic(patches, 2))


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain(random_bundle())


@pytest.fixture(scope="module")
def clean(tile, chain, tmp_path_factory) -> Answer:
    return answer_of(BY_CASE["no fault"], tile, chain, tmp_path_factory.mktemp("clean"))


def test_a_scene_without_fault_is_answered_without_a_word(clean):
    assert (clean.error, clean.warnings) == (None, ())
    assert clean.configurations == ("all",) and (clean.decision != NOT_SCORED).all()


@pytest.mark.parametrize("case", CHECKED)
def test_a_fault_has_its_outcome(case, tile, chain, clean, tmp_path):
    found = answer_of(case, tile, chain, tmp_path)
    if case.expected == "refused":
        assert found.error is not None and "\n" not in found.error
        return
    assert found.error is None
    if case.expected == "flagged":
        assert found.warnings
    elif case.expected == "other bands":
        assert "all" not in found.configurations
    elif case.expected == "not scored":
        assert (found.decision[[1, 2]] != NO_SLIDE).all()
    elif case.shift_px == (0.0, 0.0):
        np.testing.assert_array_equal(found.decision, clean.decision)


def answers(*decisions: int, warnings: tuple[str, ...] = ()) -> Answer:
    return Answer("T", None, warnings, np.array(decisions, np.uint8), ("all",))


def test_what_is_lost_without_a_word_is_counted():
    tiles = [TileOfRows(np.arange(4), np.array([1, 1, 1, 0], np.int8), {})] * 3
    before = [answers(SLIDE, SLIDE, NO_SLIDE, NO_SLIDE)] * 3
    after = [
        answers(NO_SLIDE, LOOK, NO_SLIDE, SLIDE),
        answers(NO_SLIDE, NOT_SCORED, NO_SLIDE, NO_SLIDE, warnings=("odd",)),
        Answer("T", "TileError: no"),
    ]
    found = summary(tiles, before, after)
    assert (found["silent_negatives"], found["told_negatives"]) == (1, 1)
    assert (found["refused"], found["flagged"], found["new_false_alarms"]) == (1, 1, 1)
    assert (found["slides_to_look_at"], found["slides_not_scored"], found["found"]) == (1, 1, 0)
    assert found["said"] == {"odd": 1, "TileError: no": 1}


def test_the_outcome_is_that_of_most_tiles():
    assert outcome({"tiles": 3, "refused": 2, "flagged": 1}) == "refused"
    assert outcome({"tiles": 3, "flagged": 2, "same": 3}) == "flagged"
    assert outcome({"tiles": 3, "same": 3, "other_bands": 2}) == "same"
    assert outcome({"tiles": 3, "other_bands": 2}) == "other bands"
    assert outcome({"tiles": 4, "same": 2, "refused": 1, "flagged": 1}) == "undetected"


@pytest.mark.slow
def test_the_command_writes_its_result(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "CONFIGURATIONS", ("optical",))
    monkeypatch.setattr(faults, "CASES", CASES[:2])
    monkeypatch.setattr(faults, "ROWS", 2)
    monkeypatch.setattr(faults, "COLUMNS", 2)
    table = write_table(tmp_path / "table.csv", 200)
    arguments = ["--table", table, "--folder", tmp_path / "run", "-o", tmp_path / "out.json", "--recipe", "quick"]
    done = CliRunner().invoke(faults.main, [*map(str, arguments), "--tiles", "2"])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["tiles"] == 2 and result["patches"] == 8
    assert set(result["cases"]) == {case.name for case in CASES[:2]}
    assert set(result["surrogates"]) == {"optical"}
