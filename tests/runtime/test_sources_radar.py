"""Radar scenes that no later look at the tile sees are looked at when their bands are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiles import radar, write_band_folder, write_metadata

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.times import utc_of
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.tiles import Tile

BEFORE, AFTER = (f"S1A_IW_2020{day}T010800_DVP_RTC10_G_gpuned_A1B2" for day in ("0601", "0613"))
EVENT = utc_of("2020-06-07T00:00Z", "event")
DECIDED = "acquisition check vv-and-vh", "overruled by --force"


def write_pair(folder: Path, swapped: str | None = None, valid_px: int | None = None) -> Path:
    """Two terrain-flattened scenes of one track, as power; VV and VH of one of them under each other's names."""
    for seed, name in enumerate((BEFORE, AFTER)):
        vv, vh = 10 ** (radar(seed=seed) / 10)
        for channel in (vv, vh):
            if valid_px is not None:
                channel.flat[valid_px:] = 0
        channels = ("VH", "VV") if name == swapped else ("VV", "VH")
        write_band_folder(folder / name, dict(zip(channels, (vv, vh), strict=True)))
        write_metadata(folder / name, **{"sat:orbit_state": "descending", "sat:relative_orbit": 107})
    return folder


def tile_in(folder: Path, *force: str) -> Tile | TileFailure:
    options = SourceOptions(event_time=EVENT, force=frozenset(force))
    (found,) = tiles_of([folder], options)
    return found


def test_an_ordinary_pair_gives_differences_and_no_word_of_the_check(tmp_path):
    tile = tile_in(write_pair(tmp_path), "vv-and-vh")
    assert isinstance(tile, Tile) and set(tile.bands) == {"desc_dvv", "desc_dvh"}
    assert DECIDED not in {(one.subject, one.choice) for one in tile.decisions}
    assert not any("swapped" in line for line in tile.warnings)


@pytest.mark.parametrize("swapped", [BEFORE, AFTER])
@pytest.mark.parametrize("others", [(), ("level", "constant-band")])
def test_swapped_channels_are_refused_with_the_word_that_forces_them(tmp_path, swapped, others):
    failure = tile_in(write_pair(tmp_path, swapped), *others)
    assert isinstance(failure, TileFailure) and isinstance(failure.error, TileError)
    assert f"{swapped}: VH exceeds VV by" in str(failure.error)
    assert str(failure.error).endswith("(use it all the same: --force vv-and-vh)")


@pytest.mark.parametrize("word", ["vv-and-vh", "all"])
def test_forced_they_are_used_and_the_tile_says_so(tmp_path, word):
    tile = tile_in(write_pair(tmp_path, AFTER), word)
    assert isinstance(tile, Tile) and set(tile.bands) == {"desc_dvv", "desc_dvh"}
    (reason,) = (one.reason for one in tile.decisions if (one.subject, one.choice) == DECIDED)
    assert reason.startswith(f"{AFTER}: VH exceeds VV") and reason in tile.warnings


def test_too_few_pixels_tell_nothing(tmp_path):
    assert isinstance(tile_in(write_pair(tmp_path, AFTER, valid_px=500)), Tile)
