"""lsd-run is killed at random moments, and nothing is lost (the benchmark of that name does it 200 times over)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lsd.benchmarks.run_kills import (
    Pace,
    command,
    killed,
    main,
    outcome,
    products,
    rows,
    undisturbed,
    write_tiles,
)

TILES = 4


@pytest.mark.slow
def test_products_of_a_killed_run_are_those_of_an_undisturbed_one(bundle, tmp_path):
    """Six kills, some of them at a commit; then damage, which the same checks must see."""
    call = [str(bundle), "--folder", str(tmp_path), "--tiles", str(TILES), "--size", "128", "--times", "6"]
    done = CliRunner().invoke(main, [*call, "--advancing", "0.5", "-o", str(tmp_path / "result.json")])
    assert done.exit_code == 0, done.output
    (part,) = json.loads((tmp_path / "result.json").read_text())["parts"]
    assert part["kills"] == len(part["lives"]) == sum(part["hit"].values()) == 6
    assert part["files_that_differ"] == [] and part["tiles_done_twice"] == part["tiles_not_whole"] == 0
    assert part["files_compared"] == part["runs"] * (5 * TILES + 2)  # five products a tile, collection, summary

    out, whole = tmp_path / "killed-0.5-1", outcome(tmp_path / "whole")
    (one, *_) = sorted(folder for folder in rows(out))
    (out / one / "item.json").unlink()
    words = command(bundle, tmp_path / "tiles", out)
    (life,) = killed(words, out, 1, Pace(0.05, 0, 1), {"any": 1.0}, np.random.default_rng(0), whole)
    assert life["not_whole"] == [one] and products(out) != products(tmp_path / "whole")


def test_a_run_that_ends_by_itself_is_no_kill(bundle, tmp_path):
    source = write_tiles(tmp_path / "tiles", 1, 64)
    words = command(bundle, source, tmp_path / "out")
    pace = undisturbed(words, tmp_path / "out")
    assert 0 < pace.start_s < pace.whole_s and 0 < pace.tile_s < pace.whole_s
    whole = outcome(tmp_path / "out")
    lives = killed(words, tmp_path / "out", 5, Pace(1e6, 0, 1e6), {"any": 1.0}, np.random.default_rng(0), whole)
    assert [life.get("ended") for life in lives] == [True] and outcome(tmp_path / "out") == whole
