from __future__ import annotations

import numpy as np

from bundles import random_bundle, write
from lsd.benchmarks.tile_speed import ClearContent, bare_read_s, in_memory, recompressed
from lsd.benchmarks.whole_tile_input import write_tile
from lsd.runtime.chain import Chain
from lsd.runtime.scoring import ScoringOptions, score_tile
from lsd.runtime.sources import SourceOptions, tiles_of
from lsd.runtime.stopwatch import Stopwatch


def test_from_memory_and_from_files_the_answers_are_the_same(tmp_path):
    content = ClearContent()
    made = write_tile(tmp_path / "zstd" / "tile", 300, content)
    (tile,) = tiles_of([made], SourceOptions(s2_offset="present"))
    bundle = write(random_bundle(), tmp_path / "bundle")
    found = in_memory(bundle, tile, content, 2, 1)
    scores, _ = score_tile(tile, Chain(random_bundle()), ScoringOptions(), Stopwatch())
    assert found["counts"] == scores.counts() and found["patches"] == 25
    assert found["counts"]["not_scored"] == 0 and (scores.configuration == 1).all()
    plain = recompressed(made, tmp_path / "none" / "tile", "none")
    assert bare_read_s(plain) > 0
    (other,) = tiles_of([plain], SourceOptions(s2_offset="present"))
    again, _ = score_tile(other, Chain(random_bundle()), ScoringOptions(workers=3), Stopwatch())
    np.testing.assert_array_equal(again.probability, scores.probability)
