"""Map of a run: graticule, scale and patches where the ground is, tiles far apart or across the antimeridian."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from contexts import context
from run_results import put, write_result
from scored_tiles import make_scores, make_tile

from lsd.runtime.scores import NOT_OBSERVED, NOT_SCORED, NOTHING_SEEN, SLIDE
from lsd.runtime.sinks.page.class_grid import ClassGrid, read_class_grid
from lsd.runtime.sinks.page.map_frame import LEFT, RIGHT, TOP, WIDTH, Frame, frame_of, groups_of, label
from lsd.runtime.sinks.page.run_map import MapTile, maps_of
from lsd.runtime.tiles import Tile, outline_deg


def map_tile(tmp_path: Path, tile: Tile, scores, number: int = 1) -> MapTile:
    result = write_result(tmp_path / str(number), tile, scores, context(), picture=False)
    assert result.outline_deg is not None
    classes = read_class_grid(tmp_path / str(number) / result.products["scores"])
    return MapTile(number, tile.id, result.outline_deg, classes)


def texts(svg: str, name: str) -> dict[str, tuple[float, float]]:
    found = re.findall(rf'<text x="([\d.]+)" y="([\d.]+)" class="{name}[^"]*">([^<]+)<', svg)
    return {words: (float(x), float(y)) for x, y, words in found}


def polygons(svg: str, name: str) -> list[np.ndarray]:
    paths = re.findall(rf'<path d="([^"]+)" class="{name}"', svg)
    return [
        np.array([[float(value) for value in place.split()] for place in polygon.split("L")])
        for path in paths
        for polygon in re.findall(r"M([^MZ]+)Z", path)
    ]


def test_graticule_labels_lie_where_the_ground_is(tmp_path):
    tile = make_tile(640, 640)  # its left edge is the middle meridian of zone 33, 15 E
    (svg,) = maps_of([map_tile(tmp_path, tile, make_scores(tile))])
    (outline,) = polygons(svg, "outline")
    longitudes, latitudes = texts(svg, "longitude"), texts(svg, "latitude")
    assert list(longitudes) == ["15.00° E", "15.02° E", "15.04° E", "15.06° E", "15.08° E"]
    assert list(latitudes) == ["46.90° N", "46.92° N", "46.94° N"]
    assert outline[0, 0] == pytest.approx(longitudes["15.00° E"][0], abs=0.02)
    (_, top), *_ = outline_deg(tile.grid)
    per_degree = (latitudes["46.90° N"][1] - latitudes["46.94° N"][1]) / 0.04
    expected = latitudes["46.94° N"][1] - (top - 46.94) * per_degree - 4  # text stands 4 below its line
    assert outline[0, 1] == pytest.approx(expected, abs=0.05)
    across = (longitudes["15.08° E"][0] - longitudes["15.00° E"][0]) / 0.08
    assert across / per_degree == pytest.approx(math.cos(math.radians(46.925)), rel=1e-3)


def test_the_scale_bar_is_as_long_as_the_ground(tmp_path):
    tile = make_tile(640, 640)
    (svg,) = maps_of([map_tile(tmp_path, tile, make_scores(tile))])
    (outline,) = polygons(svg, "outline")
    start, end = re.search(r'<path d="M([\d.]+) [\d.]+v5H([\d.]+)v-5" class="bar"', svg).groups()
    assert "1 km" in texts(svg, "distance")
    side = outline[1, 0] - outline[0, 0]  # 6.4 km
    assert (float(end) - float(start)) / side == pytest.approx(1 / 6.4, rel=0.005)  # sphere against ellipsoid


def test_patches_lie_in_their_place_in_the_tile(tmp_path):
    tile = make_tile(200, 128)  # the last column is shifted inward by 56 px, its cell is 8 px wide
    scores = make_scores(tile)
    put(scores, 1, 2, SLIDE, 0.9)
    put(scores, 0, 3, SLIDE, 0.4)
    put(scores, 0, slice(0, 2), NOT_SCORED)
    (svg,) = maps_of([map_tile(tmp_path, tile, scores)])
    (outline,) = polygons(svg, "outline")
    size = outline[2] - outline[0]

    def share(name: str) -> list[float]:
        (found,) = polygons(svg, name)
        low, high = (found.min(axis=0) - outline[0]) / size, (found.max(axis=0) - outline[0]) / size
        return [*low.tolist(), *high.tolist()]

    assert share("likely") == pytest.approx([128 / 200, 0.5, 192 / 200, 1.0], abs=2e-3)
    assert share("possible") == pytest.approx([192 / 200, 0.0, 1.0, 0.5], abs=2e-3)
    assert share("unseen") == pytest.approx([0.0, 0.0, 128 / 200, 0.5], abs=2e-3)


@pytest.mark.parametrize("stride_px", [64, 32, 24])
def test_cells_share_out_the_whole_tile_whatever_the_stride(stride_px, tmp_path):
    tile = make_tile(217, 150)
    classes = map_tile(tmp_path, tile, make_scores(tile, stride_px)).classes
    assert classes is not None
    whole = classes.corners_deg(np.array([[0, 0, *classes.codes.shape]]))[0]
    assert whole == pytest.approx(np.array(outline_deg(tile.grid)), abs=1e-6)
    assert (np.diff(classes.x_edges) > 0).all() and (np.diff(classes.y_edges) > 0).all()


def test_merged_boxes_cover_the_same_cells_once():
    codes = np.random.default_rng(0).integers(0, 3, (23, 31)).astype(np.uint8)
    codes[4:9, 3:20] = NOT_OBSERVED
    grid = ClassGrid(codes, np.arange(24.0), np.arange(32.0), None, None)  # type: ignore[arg-type]
    for code in (NOT_OBSERVED, NOTHING_SEEN):
        for merged in (True, False):
            covered = np.zeros(codes.shape, int)
            for top, left, bottom, right in grid.boxes(code, merged):
                covered[top:bottom, left:right] += 1
            assert (covered == (codes == code)).all()
    assert len(grid.boxes(NOT_OBSERVED, True)) < len(grid.boxes(NOT_OBSERVED, False)) / 2


def test_tiles_far_apart_have_maps_of_their_own(tmp_path):
    places = [(500_000.0, 5_200_000.0), (506_400.0, 5_200_000.0), (300_000.0, 5_200_000.0)]
    tiles = [make_tile(640, 640, x=x, y=y) for x, y in places]
    outlines = [outline_deg(tile.grid) for tile in tiles]
    assert groups_of(outlines) == [[0, 1], [2]]
    assert groups_of(outlines[::-1]) == [[0], [1, 2]]
    drawn = [MapTile(number, "t", outline, None) for number, outline in enumerate(outlines, start=1)]
    maps = maps_of(drawn)
    assert [len(polygons(svg, "outline unread")) for svg in maps] == [2, 1]


def test_a_chain_of_tiles_shares_one_map():
    def square(west: float) -> list[tuple[float, float]]:
        return [(west, 1.0), (west + 1, 1.0), (west + 1, 0.0), (west, 0.0)]

    assert groups_of([square(0), square(6), square(3)]) == [[0, 1, 2]]
    assert groups_of([square(0), square(6)]) == [[0], [1]]


def test_the_antimeridian_does_not_tear_a_map():
    east = [(179.5, -16.0), (-179.9, -16.0), (-179.9, -17.0), (179.5, -17.0)]
    west = [(-179.8, -16.0), (-179.0, -16.0), (-179.0, -17.0), (-179.8, -17.0)]
    assert groups_of([east, west]) == [[0, 1]]
    (svg,) = maps_of([MapTile(1, "a", tuple(east), None), MapTile(2, "b", tuple(west), None)])
    a, b = polygons(svg, "outline unread")
    assert a[0, 0] < a[1, 0] < b[0, 0] < b[1, 0]
    assert min(a.min(), b.min()) > 0 and max(a[:, 0].max(), b[:, 0].max()) < WIDTH
    assert {"179.8° E", "180.0°", "179.8° W"} <= set(texts(svg, "longitude"))


@pytest.mark.parametrize("latitude", [-89.95, -80.0, 0.0, 46.9, 89.9])
@pytest.mark.parametrize("size", [0.0001, 0.01, 1.0])
def test_frames_are_of_readable_shape_with_lines_to_read(latitude, size):
    outline = [(10.0, latitude), (10.0 + size, latitude), (10.0 + size, latitude - size / 20), (10.0, latitude)]
    frame = frame_of([outline])
    assert -90 <= frame.south < frame.north <= 90
    assert 0.2 * WIDTH < frame.height < 1.3 * WIDTH
    step, longitudes, latitudes = frame.graticule()
    assert 1 <= len(longitudes) <= 10 and len(latitudes) >= 2
    places = frame.place(np.array(outline))
    assert places.min() >= TOP and (places[:, 0] >= LEFT).all() and (places[:, 0] <= WIDTH - RIGHT).all()
    assert len({label(degrees, step, "EW") for degrees in longitudes}) == len(longitudes)


@pytest.mark.parametrize(
    ("degrees", "step", "letters", "words"),
    [
        (12.5, 0.5, "EW", "12.5° E"),
        (-0.05, 0.05, "NS", "0.05° S"),
        (0.0, 1.0, "NS", "0°"),
        (-0.0, 0.1, "EW", "0.0°"),
        (180.0, 5.0, "EW", "180°"),
        (190.0, 5.0, "EW", "170° W"),
        (-185.0, 5.0, "EW", "175° E"),
        (15.002, 0.002, "EW", "15.002° E"),
    ],
)
def test_labels(degrees, step, letters, words):
    assert label(degrees, step, letters) == words


def test_a_foreign_raster_is_no_score_grid(tmp_path):
    from tiles import optical, write_tiff

    with pytest.raises(ValueError, match="no score grid of this version"):
        read_class_grid(write_tiff(tmp_path / "x.tif", optical()))


def test_a_map_knows_its_scale():
    assert Frame(0, -0.5, 1, 0.5).km_per_unit == pytest.approx(111.195 / (WIDTH - LEFT - RIGHT), rel=1e-4)
