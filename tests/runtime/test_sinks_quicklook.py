"""Quicklook: the right pixels in the right place, detections and unseen ground drawn where they are, small memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from lsd.runtime.patches import PatchGrid
from lsd.runtime.scores import LOOK, NO_SLIDE, NOT_SCORED, SLIDE, TileScores
from lsd.runtime.sinks.quicklook import Quicklook
from lsd.runtime.tiles import BandSource, Grid, Tile

RGB = ("red", "green", "blue")
VERMILLION, YELLOW, BLUE = (213, 94, 0), (240, 228, 66), (86, 180, 233)
INVALID, HATCH = (38, 30, 46), (190, 190, 190)


@dataclass(frozen=True)
class Part:
    pixels: np.ndarray
    bands: tuple[str, ...]
    y_px: int
    x_px: int


def make_tile(width_px: int, height_px: int, bands: tuple[str, ...] = RGB) -> Tile:
    grid = Grid(CRS.from_epsg(32633), Affine(10, 0, 500_000, 0, -10, 5_200_000), width_px, height_px)
    return Tile("t", grid, {band: BandSource(band, Path("t.tif"), 1, None) for band in bands})


def all_scored(tile: Tile, stride_px: int = 64) -> TileScores:
    scores = TileScores(PatchGrid(tile.grid.width_px, tile.grid.height_px, stride_px))
    scores.decision[:] = NO_SLIDE
    return scores


def picture_of(pixels: np.ndarray, bands: tuple[str, ...] = RGB, max_size_px: int = 1024) -> tuple[np.ndarray, str]:
    tile = make_tile(pixels.shape[2], pixels.shape[1], bands)
    quicklook = Quicklook(tile, max_size_px)
    quicklook.add(Part(pixels, bands, 0, 0))
    return quicklook.draw(all_scored(tile))


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(axis=2)


@settings(max_examples=40)
@given(st.integers(64, 200), st.integers(64, 200), st.integers(20, 90), st.integers(5, 70), st.integers(5, 70))
def test_the_picture_does_not_depend_on_the_windows(width_px, height_px, max_size_px, rows, columns):
    tile = make_tile(width_px, height_px)
    pixels = np.random.default_rng(0).uniform(900, 4200, (3, height_px, width_px)).astype(np.float32)
    pixels[:, :9, :9] = np.nan
    whole, parts = Quicklook(tile, max_size_px), Quicklook(tile, max_size_px)
    whole.add(Part(pixels, RGB, 0, 0))
    for y in range(0, height_px, rows):
        for x in range(0, width_px, columns):
            parts.add(Part(pixels[:, y : y + rows, x : x + columns], RGB, y, x))
    scores = all_scored(tile)
    assert (whole.draw(scores)[0] == parts.draw(scores)[0]).all()


def test_memory_does_not_grow_with_the_tile():
    quicklook = Quicklook(make_tile(109_800, 54_900), max_size_px=1024)
    assert quicklook.step_px == 108
    assert quicklook._kept.nbytes <= 3 * 4 * 1024**2


def test_colours_are_reflectance_on_a_fixed_scale():
    pixels = np.full((3, 64, 64), 1000.0, np.float32)  # reflectance 0
    pixels[0, :, 32:] = 4000.0  # red reflectance .3
    pixels[1, :, 32:] = 2500.0
    picture, legend = picture_of(pixels)
    assert picture.shape == (512, 512, 3)
    assert tuple(picture[0, 0]) == (0, 0, 0)
    assert tuple(picture[0, 511]) == (255, round(255 * 0.5 ** (1 / 1.6)), 0)
    assert legend.startswith("true colour, reflectance 0 to 0.3; thick orange-red line between white ones: likely")


def test_a_cloudy_scene_is_stretched_to_itself():
    pixels = np.random.default_rng(0).uniform(6000, 9000, (3, 64, 64)).astype(np.float32)
    picture, legend = picture_of(pixels)
    assert "very bright scene" in legend
    assert picture.std() > 60 and picture.min() == 0 and picture.max() == 255


def test_bands_are_taken_by_name():
    pixels = np.stack([np.full((64, 64), value, np.float32) for value in (1000, 1900, 2800, 4000)])
    tile = make_tile(64, 64, ("blue", "nir", "red", "green"))
    quicklook = Quicklook(tile)
    quicklook.add(Part(pixels, ("blue", "nir", "red", "green"), 0, 0))
    red, green, blue = quicklook.draw(all_scored(tile))[0][0, 0]
    assert (blue, green) == (0, 255) and 0 < red < 255


@pytest.mark.parametrize(
    ("bands", "shown"),
    [(("asc_vh", "asc_vv"), "asc_vv"), (("desc_dvv",), "desc_dvv"), (("nir", "red"), "red")],
)
def test_without_true_colour_one_band_is_grey(bands, shown):
    pixels = np.random.default_rng(0).uniform(-20, 0, (len(bands), 64, 64)).astype(np.float32)
    picture, legend = picture_of(pixels, bands)
    assert legend.startswith(f"{shown} in grey")
    assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 1] == picture[..., 2]).all()


def plain(width_px: int, height_px: int) -> tuple[Quicklook, TileScores]:
    tile = make_tile(width_px, height_px)
    quicklook = Quicklook(tile)
    quicklook.add(Part(np.full((3, height_px, width_px), 2000, np.float32), RGB, 0, 0))
    return quicklook, all_scored(tile)


@pytest.mark.parametrize(
    ("decision", "probability", "colour"),
    [(SLIDE, 0.9, VERMILLION), (SLIDE, 0.5, VERMILLION), (SLIDE, 0.45, YELLOW), (LOOK, 0.3, BLUE)],
)
def test_a_patch_is_outlined_where_it_lies_in_the_way_of_its_class(decision, probability, colour):
    quicklook, scores = plain(200, 200)
    scores.decision[1, 3] = decision  # shifted inward: x 136..200, y 64..128; 3 picture pixels a tile pixel
    scores.probability[1, 3] = probability
    picture, _ = quicklook.draw(scores)
    y, x = np.nonzero(is_colour(picture, colour))
    assert (y.min(), y.max() + 1, x.min(), x.max() + 1) == (3 * 64, 3 * 128, 3 * 136, 3 * 200)
    assert not is_colour(picture, colour)[3 * 96, 3 * 160]  # the inside stays visible
    for other in {VERMILLION, YELLOW, BLUE} - {colour}:
        assert not is_colour(picture, other).any()


def test_the_classes_differ_in_form_and_not_only_in_colour():
    quicklook, scores = plain(192, 64)
    scores.probability[0] = 0.9, 0.45, 0.3
    widths = {}
    for column, (decision, colour) in enumerate([(SLIDE, VERMILLION), (SLIDE, YELLOW), (LOOK, BLUE)]):
        scores.decision[0] = NO_SLIDE
        scores.decision[0, column] = decision
        middle = is_colour(quicklook.draw(scores)[0], colour)[:, 192 * column + 96]
        widths[colour] = int(middle[:32].sum())
        along_the_top = is_colour(quicklook.draw(scores)[0], colour)[0, 192 * column : 192 * column + 192]
        assert along_the_top.all() == (colour != BLUE)  # dashed
        assert along_the_top.mean() == pytest.approx(1 if colour != BLUE else 0.5, abs=0.1)
    assert widths[VERMILLION] == 2 * widths[YELLOW]


def test_a_slide_hides_a_look_that_overlaps_it():
    tile = make_tile(96, 64)
    quicklook = Quicklook(tile)
    quicklook.add(Part(np.full((3, 64, 96), 2000, np.float32), RGB, 0, 0))
    scores = all_scored(tile, 32)
    scores.decision[0] = SLIDE, LOOK
    scores.probability[0] = 0.9, 0.3
    picture, _ = quicklook.draw(scores)
    assert is_colour(picture, VERMILLION).any()
    assert np.nonzero(is_colour(picture, BLUE))[1].min() >= 64 * 6


def test_unseen_ground_is_hatched_and_a_negative_is_not():
    tile = make_tile(128, 128)
    quicklook = Quicklook(tile)
    quicklook.add(Part(np.full((3, 128, 128), 2000, np.float32), RGB, 0, 0))
    scores = all_scored(tile)
    assert not is_colour(quicklook.draw(scores)[0], HATCH).any()
    scores.decision[0, 1] = NOT_SCORED
    hatched = is_colour(quicklook.draw(scores)[0], HATCH)
    assert hatched[:256, 256:].mean() == pytest.approx(0.2, abs=0.02)
    hatched[:256, 256:] = False
    assert not hatched.any()


def test_ground_seen_by_an_overlapping_patch_is_not_hatched():
    tile = make_tile(96, 64)
    scores = all_scored(tile, 32)
    scores.decision[0, 0] = NOT_SCORED  # x 0..64; the other patch saw 32..96
    quicklook = Quicklook(tile)
    quicklook.add(Part(np.full((3, 64, 96), 2000, np.float32), RGB, 0, 0))
    columns = np.nonzero(is_colour(quicklook.draw(scores)[0], HATCH))[1]
    assert columns.max() < 32 * 6


def test_invalid_pixels_are_dark_and_an_empty_tile_still_draws():
    pixels = np.full((3, 64, 64), 3500, np.float32)
    pixels[1, :, :8] = np.nan
    picture, _ = picture_of(pixels)
    assert is_colour(picture, INVALID)[:, :64].all() and not is_colour(picture, INVALID)[:, 64:].any()
    picture, legend = picture_of(np.full((3, 64, 64), np.nan, np.float32))
    assert is_colour(picture, INVALID).all() and legend.startswith("nothing valid")


def test_the_file_is_one_png_with_the_same_bytes_each_time(tmp_path: Path):
    tile = make_tile(130, 70)
    quicklook = Quicklook(tile)
    quicklook.add(Part(np.random.default_rng(0).uniform(900, 4200, (3, 70, 130)).astype(np.float32), RGB, 0, 0))
    scores = all_scored(tile)
    scores.decision[0, 0] = SLIDE
    for name in ("a.png", "b.png"):
        quicklook.write(tmp_path / name, scores)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes() and b"hatched grey: not scored" in data
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(tmp_path / "a.png") as png:
        assert (np.moveaxis(png.read(), 0, 2) == quicklook.draw(scores)[0]).all()


def test_a_real_scene_is_neither_black_nor_white(shared_data: Path):
    folder = shared_data / "ssl4eo-0000200/s2a/20200813T054639_20200813T054952_T43RCP"
    with (
        rasterio.open(folder / "B4.tif") as r,
        rasterio.open(folder / "B3.tif") as g,
        rasterio.open(folder / "B2.tif") as b,
    ):
        pixels = np.stack([r.read(1), g.read(1), b.read(1)]).astype(np.float32) + 1000.0  # baseline N0214
    picture, legend = picture_of(pixels)
    assert legend.startswith("true colour, reflectance")
    assert 60 < picture.mean() < 200 and picture.std() > 20
    green = picture.reshape(-1, 3).mean(axis=0)
    assert green[1] > green[2]  # fields in August: more green than blue
