"""Whatever way tiles take through a run, their products are the same bytes; a smaller stride only adds patches.

Two bundles: one of two forests a configuration, and one whose forests let sure patches go before networks are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from cascades import cascade_bundle
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from interrupted_runs import Killed, ending_after
from single_run import Fixed, fixed, products, run_once
from tiles import L2A_NEW, ORIGIN, write_band_folder

from bundles import random_bundle
from lsd.export.adversarial import simulated_patches
from lsd.runtime.backends.base import SessionOptions
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.encoders import EncoderOptions
from lsd.runtime.patches import PatchGrid
from lsd.runtime.run import RunPlan
from lsd.runtime.scores import LEFT_AT_FOREST, WHOLE_ENSEMBLE
from lsd.runtime.scoring import ScoringOptions
from lsd.runtime.stream.events import TileEnded

pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="asks the encoders")

KINDS = ("two forests", "forests, then networks")
SIZES, CUT_PX = ((3, 4), (2, 3), (2, 2)), 30  # tiles in patches, and what their last row lacks
STRIDE_PX, MOST_THREADS = 20, 3
DECISION, CONFIGURATION, STAGE = 1, 3, 7  # bands of the score grid
ENCODER_BATCH = 8  # one fixed shape: a part of how networks are asked, not of how patches are cut


def write_tiles(folder: Path) -> list[Path]:
    """Tiles that lie apart, of simulated patches side by side: one without ascending radar in a corner, one without
    radar, one of few patches; a hole in each."""
    paths = []
    for number, (rows, columns) in enumerate(SIZES):
        place = folder / L2A_NEW.replace("T33NZA", f"T33NZ{'ABC'[number]}")
        lies = {"transform": Affine(10, 0, ORIGIN.c + 20_000 * number, 0, -10, ORIGIN.f)}
        patches = simulated_patches(rows * columns, number).reshape(rows, columns, 12, 64, 64)
        pixels = patches.transpose(2, 0, 3, 1, 4).reshape(12, rows * 64, columns * 64)[:, : rows * 64 - CUT_PX]
        bands = dict(zip(BAND_NAMES, np.nan_to_num(pixels), strict=True))
        dn = np.clip(np.stack([bands[name] for name in ("red", "green", "blue", "nir")]), 1, 20_000).astype(np.uint16)
        dn[:, :24, :24] = 0
        write_band_folder(place, dict(zip(("B04", "B03", "B02", "B08"), dn, strict=True)), **lies)
        for name in BAND_NAMES[4:] if number != 1 else ():
            if number == 0 and name.startswith("asc"):
                bands[name][-80:, -80:] = 0
            write_band_folder(place, {name: bands[name]}, nodata=0, **lies)
        paths.append(place)
    return paths


class Kind:
    """A bundle, and what answers with it by the number of threads."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._serving: dict[int, Fixed] = {}

    def __repr__(self) -> str:
        return self.bundle.manifest.name

    def served_by(self, threads: int) -> Fixed:
        if threads not in self._serving:
            options = EncoderOptions(batch_size=ENCODER_BATCH, session=SessionOptions(threads))
            self._serving[threads] = fixed(self.bundle, Chain(self.bundle, encoders=options))
        return self._serving[threads]


@pytest.fixture(scope="module")
def kinds() -> dict[str, Kind]:
    return {KINDS[0]: Kind(random_bundle()), KINDS[1]: Kind(cascade_bundle())}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> list[Path]:
    return write_tiles(tmp_path_factory.mktemp("tiles"))


def plan_of(threads: int = 1, **cut: float) -> RunPlan:
    return RunPlan(scoring=ScoringOptions(**{"stride_px": STRIDE_PX, **cut}), threads=threads)


def run(kind: Kind, sources: Sequence[Path], out: Path, threads: int = 1, **cut: float) -> dict[str, bytes]:
    told = run_once(sources, out, kind.served_by(threads), plan_of(threads, **cut))
    assert all(event.result.status == "done" for event in told if isinstance(event, TileEnded))
    return products(out)


class Whole:
    """Products of everything at once, and the calls that it takes."""

    def __init__(self, products: dict[str, bytes], calls: int) -> None:
        self.products, self.calls = products, calls

    def __repr__(self) -> str:  # a failing example prints its arguments
        return f"{len(self.products)} products in {self.calls} calls"

    def differing(self, made: dict[str, bytes]) -> list[str]:
        """Names of the products that are missing, too many or of other bytes."""
        return sorted(name for name in {*self.products, *made} if self.products.get(name) != made.get(name))


@pytest.fixture(scope="module")
def whole(kinds, tiles, tmp_path_factory) -> dict[str, Whole]:
    found = {}
    for name, kind in kinds.items():
        kind.served_by(1)
        with ending_after(None) as calls:
            cut = {"batch_size": 4096, "window_rows": 100, "window_columns": 100, "waiting": 4096, "waiting_s": 1e9}
            made = run(kind, tiles, tmp_path_factory.mktemp("whole") / "out", **cut)
        found[name] = Whole(made, calls.count)
    return found


def grids(made: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Tile -> its score grid (band, row, column)."""
    found = {}
    for name, content in made.items():
        if name.endswith("scores.tif"):
            with rasterio.MemoryFile(content) as memory, memory.open() as scores:
                found[name.split("/")[0]] = scores.read()
    return found


def test_the_tiles_ask_for_everything(whole):
    """Both configurations answer and some patches none; networks are asked about patches that fill no batch."""
    for name, one in whole.items():
        found = grids(one.products)
        bands = np.concatenate([grid.reshape(len(grid), -1) for grid in found.values()], axis=1)
        assert len(found) == len(SIZES) and one.calls > 1000
        assert set(bands[CONFIGURATION]) == {0, 1, 2} and {0, 1} <= set(bands[DECISION])
        asked = [int((grid[STAGE] == WHOLE_ENSEMBLE).sum()) for grid in found.values()]
        if name == KINDS[1]:
            assert all(asked) and sum(asked) >= 3 * ENCODER_BATCH and any(number % ENCODER_BATCH for number in asked)
            assert (bands[STAGE] == LEFT_AT_FOREST).sum() > sum(asked)


def interrupted(kind: Kind, sources: Sequence[Path], out: Path, calls: int, threads: int, **cut: float) -> None:
    """A run that may end in the middle."""
    serving = kind.served_by(threads)
    try:
        with ending_after(calls):
            run_once(sources, out, serving, plan_of(threads, **cut))
    except Killed:
        return


CUTS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 40),
        "window_rows": st.integers(1, 5),
        "window_columns": st.integers(1, 6),
        "waiting": st.integers(1, 60),
        "waiting_s": st.sampled_from([0.0, 0.05, 100.0]),
    }
)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=5, phases=[Phase.explicit, Phase.generate])  # an example is a run: none is shrunk
@given(
    cut=CUTS,
    threads=st.integers(1, MOST_THREADS),
    order=st.permutations(range(len(SIZES))),
    first=st.integers(0, len(SIZES)),
    ends=st.lists(st.floats(0, 1, exclude_max=True), max_size=2),
)
def test_products_do_not_depend_on_the_way(
    kinds, tiles, whole, tmp_path_factory, name, cut, threads, order, first, ends
):
    """`first` tiles arrive before a run, all before the next; runs end at these shares of the calls of a whole one."""
    arrived = [tiles[number] for number in order]
    out = tmp_path_factory.mktemp("way") / "out"
    for share in ends:
        interrupted(kinds[name], arrived, out, 1 + int(share * whole[name].calls), threads, **cut)
    if first:
        run(kinds[name], arrived[:first], out, threads, **cut)
    assert whole[name].differing(run(kinds[name], arrived, out, threads, **cut)) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_smaller_stride_adds_patches_and_changes_none(kinds, tiles, tmp_path, name):
    """What products say of a patch of stride 64 that stride 32 has too: every bit of it."""
    few, many = (grids(run(kinds[name], tiles, tmp_path / str(px), stride_px=px)) for px in (64, 32))
    for tile, (rows, columns) in zip(sorted(few), SIZES, strict=True):
        coarse, fine = (PatchGrid(columns * 64, rows * 64 - CUT_PX, px) for px in (64, 32))
        at = {(fine.y_px(r), fine.x_px(c)): (r, c) for r in range(fine.rows) for c in range(fine.columns)}
        places = [(r, c) for r in range(coarse.rows) for c in range(coarse.columns)]
        for row, column in places:
            r, c = at[coarse.y_px(row), coarse.x_px(column)]
            assert few[tile][:, row, column].tobytes() == many[tile][:, r, c].tobytes(), (tile, row, column)
        assert len(at) > len(places)
