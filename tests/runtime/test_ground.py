"""Areas of overlapping squares: exact in one CRS, against painted pixels and a sampled reference in two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from lsd.runtime.merging import ground
from lsd.runtime.merging.ground import disjoint, ground_m2, overlap_area, quad_area

UTM = CRS.from_epsg(32633)
sides = st.integers(1, 40)
box_lists = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), sides, sides), min_size=0, max_size=12)


def boxes_mm(found: list[tuple[int, int, int, int]]) -> np.ndarray:
    """(left, bottom, width, height) in metres as boxes."""
    array = np.array(found, np.int64).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1) * 1000


def paint(boxes: np.ndarray) -> np.ndarray:
    """Number of boxes over each square metre of 100 x 100."""
    painted = np.zeros((100, 100), int)
    for left, bottom, right, top in boxes // 1000:
        painted[bottom:top, left:right] += 1
    return painted


@settings(max_examples=80)
@given(box_lists, st.sampled_from([1, 3, 64]))
def test_disjoint_boxes_are_the_same_ground_once(found, strip):
    boxes = boxes_mm(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground, "_STRIP_EDGES", strip)  # the result must not depend on it
        apart = disjoint(boxes)
    assert (paint(apart) == (paint(boxes) > 0)).all()
    assert ground_m2([(UTM, boxes)]) == (paint(boxes) > 0).sum()


def test_ground_of_a_whole_zone_does_not_overflow():
    zone = np.array([[166_000, 0, 834_000, 9_300_000]], np.int64) * 1000
    assert ground_m2([(UTM, zone), (CRS.from_epsg(32632), zone[:0])]) == 668_000 * 9_300_000


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_shared_area_of_a_turned_square_and_a_box(seed):
    rng = np.random.default_rng(seed)
    angle, side = rng.uniform(0, np.pi / 2), rng.uniform(2, 8)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5) * side @ turn + rng.uniform(2, 8, 2)
    low = rng.uniform(0, 6, 2)
    box = np.concatenate([low, low + rng.uniform(0.5, 6, 2)])
    points = (np.stack(np.meshgrid(np.arange(300), np.arange(300)), -1).reshape(-1, 2) + 0.5) / 300
    points = points * (box[2:] - box[:2]) + box[:2]
    own = (points - quad.mean(axis=0)) @ turn.T
    share = (np.abs(own) < side / 2).all(axis=1).mean()
    size = np.prod(box[2:] - box[:2])
    assert overlap_area(quad[None], box[None])[0] == pytest.approx(share * size, abs=6e-3 * size)
    assert overlap_area(quad[None, ::-1], box[None])[0] == pytest.approx(overlap_area(quad[None], box[None])[0])
    around = np.array([[-99.0, -99, 99, 99]])
    assert overlap_area(quad[None], around)[0] == pytest.approx(side**2) == quad_area(quad[None])[0]
    assert overlap_area(quad[None], around + 300)[0] == 0


def test_a_square_along_the_axes_shares_exactly():
    square = np.array([[[0.0, 0], [64, 0], [64, 64], [0, 64]]])
    assert overlap_area(square, np.array([[32.0, 16, 96, 80]]))[0] == 32 * 48
    assert overlap_area(square, np.array([[64.0, 0, 128, 64]]))[0] == 0


def test_the_same_ground_in_two_zones_counts_once():
    """A square of one zone laid over a larger one of its neighbour adds nothing; beside it, all of it."""
    east, north = transform("EPSG:32633", "EPSG:32632", [300_000.0], [5_200_000.0])
    middle = np.array([east[0], north[0]])
    large = np.array([[290_000, 5_190_000, 310_000, 5_210_000]], np.int64) * 1000
    small = np.rint(np.concatenate([middle - 3000, middle + 3000])[None] * 1000).astype(np.int64)
    other = CRS.from_epsg(32632)
    both = ground_m2([(UTM, large), (other, small)])
    assert both == pytest.approx(400e6, abs=1)
    assert ground_m2([(UTM, large), (other, small + 40_000_000)]) == 400e6 + 36e6
    # a half of it sticks out: the edge of the large square halves the small one, turned by the zones' convergence
    edge_east, edge_north = transform("EPSG:32633", "EPSG:32632", [310_000.0], [5_200_000.0])
    at_edge = np.array([edge_east[0], edge_north[0]])
    half = np.rint(np.concatenate([at_edge - 3000, at_edge + 3000])[None] * 1000).astype(np.int64)
    assert ground_m2([(UTM, large), (other, half)]) == pytest.approx(400e6 + 18e6, abs=2000)


def test_zones_on_either_side_of_the_antimeridian():
    x, y = transform("EPSG:4326", "EPSG:32660", [179.99], [-17.5])
    x2, y2 = transform("EPSG:4326", "EPSG:32601", [179.99], [-17.5])
    west, east = (
        np.rint(np.array([[a - 5000, b - 5000, a + 5000, b + 5000]]) * 1000).astype(np.int64)
        for a, b in ((x[0], y[0]), (x2[0], y2[0]))
    )
    once = ground_m2([(CRS.from_epsg(32660), west), (CRS.from_epsg(32601), east)])
    assert 100e6 < once < 108e6  # turned against each other by the convergence, so that corners stick out
    far = ground_m2([(CRS.from_epsg(32660), west), (CRS.from_epsg(32601), east + 60_000_000)])
    assert far == 200e6
