"""Tiles with rasters or polygons: the same labels either way, and what is unknown."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import shapely
from affine import Affine
from labelled_tiles import (
    COLUMNS,
    HEIGHT,
    NAME,
    ROWS,
    WIDTH,
    labels_of,
    moved,
    slide_mask,
    write_outlines,
    write_place,
)
from rasterio.crs import CRS
from rasterio.warp import transform
from tiles import ORIGIN, UTM, write_tiff

from lsd.runtime.errors import SourceError, TableError, TileError, UsageError
from lsd.train.datasets.label_rule import LabelRule
from lsd.train.datasets.polygon_labels import PolygonLabels
from lsd.train.datasets.raster_labels import RasterLabels
from lsd.train.datasets.tiles import tile_dataset

EXPECTED = {(0, 0): 1, (0, 1): 1, (1, 3): 1, (3, 1): None}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def dataset(place):
    return tile_dataset(place / "tiles", RasterLabels(place / "mask.tif"))


def test_labels_follow_the_rule(dataset, caplog, place):
    wanted = {
        f"{NAME}_r{row:03d}_c{column:03d}": EXPECTED.get((row, column), 0)
        for row in range(ROWS)
        for column in range(COLUMNS)
        if EXPECTED.get((row, column), 0) is not None
    }
    assert labels_of(dataset) == wanted
    assert dataset.bands == ("blue", "green", "red", "nir") and dataset.units == "canonical"
    assert set(dataset.groups) == {NAME} and dataset.events is None
    with caplog.at_level(logging.WARNING, "lsd"):
        tile_dataset(place / "tiles", RasterLabels(place / "mask.tif"))
    assert caplog.messages == ["1 of 20 patches left out: 1 with too little slide for either label"]


@pytest.mark.parametrize("labels", ["masks", "utm.gpkg", "degrees.geojson"])
def test_rasters_and_polygons_give_the_same_labels(dataset, place, labels):
    ground = RasterLabels(place / labels) if labels == "masks" else PolygonLabels(place / labels)
    again = tile_dataset(place / "tiles", ground)
    assert labels_of(again) == labels_of(dataset) and again.sha256 == dataset.sha256
    assert again.source == f"tiles labelled by {labels}"


@pytest.mark.parametrize(("area", "positives"), [(900, 4), (901, 3), (1001, 2), (2500, 1)])
def test_the_least_area_of_slide_can_be_stated(place, area, positives):
    found = tile_dataset(place / "tiles", RasterLabels(place / "mask.tif"), LabelRule(area))
    assert found.labels.sum() == positives and (found.labels == 0).sum() == 16
    with pytest.raises(UsageError, match="area above 0"):
        LabelRule(0)


def test_labels_of_another_grid_and_crs_are_taken_by_nearest_neighbour(dataset, place, tmp_path):
    fine = np.repeat(np.repeat(slide_mask(), 2, 0), 2, 1)
    shifted = Affine(5, 0, ORIGIN.c + 1, 0, -5, ORIGIN.f - 1)
    half = RasterLabels(write_tiff(tmp_path / "fine.tif", fine, transform=shifted))
    assert labels_of(tile_dataset(place / "tiles", half)) == labels_of(dataset)
    east, north = transform(
        CRS.from_string(UTM), CRS.from_string("EPSG:32632"), [ORIGIN.c, ORIGIN.c + 3600], [ORIGIN.f, ORIGIN.f - 3200]
    )
    west, top = min(east) - 500, max(north) + 500
    columns, rows = np.meshgrid(west + 5 + 10 * np.arange(480), top - 5 - 10 * np.arange(440))
    x, y = transform(CRS.from_string("EPSG:32632"), CRS.from_string(UTM), columns.ravel(), rows.ravel())
    at = np.floor((np.array(x) - ORIGIN.c) / 10).astype(int), np.floor((ORIGIN.f - np.array(y)) / 10).astype(int)
    inside = (at[0] >= 0) & (at[0] < WIDTH) & (at[1] >= 0) & (at[1] < HEIGHT)
    turned = np.zeros(columns.size, np.uint8)
    turned[inside] = slide_mask()[at[1][inside], at[0][inside]]
    path = write_tiff(
        tmp_path / "other.tif", turned.reshape(columns.shape), None, "EPSG:32632", Affine(10, 0, west, 0, -10, top)
    )
    again = labels_of(tile_dataset(place / "tiles", RasterLabels(path), LabelRule(700)))
    assert [name[-9:] for name, label in again.items() if label] == ["r000_c000", "r000_c001", "r001_c003", "r003_c001"]


@pytest.mark.parametrize("nodata", [9, np.nan])
def test_nodata_and_ground_outside_are_unknown(place, tmp_path, caplog, nodata):
    mask = slide_mask().astype(np.float32)[: 3 * 64 - 1]  # the third row of patches lacks a line, the fourth is outside
    mask[0, 0] = nodata  # in a positive patch
    mask[70, 130] = nodata
    labels = RasterLabels(write_tiff(tmp_path / "m.tif", mask, nodata=nodata))
    with caplog.at_level(logging.WARNING, "lsd"):
        found = labels_of(tile_dataset(place / "tiles", labels))
    assert sorted(name[-9:] for name in found) == [
        "r000_c001", "r000_c002", "r000_c003", "r000_c004", "r001_c000", "r001_c001", "r001_c003", "r001_c004"
    ]  # fmt: skip
    assert caplog.messages == ["12 of 20 patches left out: 12 of unknown label"]


def test_without_declared_nodata_ground_outside_is_unknown_all_the_same(place, tmp_path):
    labels = RasterLabels(write_tiff(tmp_path / "m.tif", slide_mask()[: 2 * 64]))
    assert {name[-9:-5] for name in tile_dataset(place / "tiles", labels).ids} == {"r000", "r001"}


def test_labels_that_cannot_be_used_are_one_line(place, tmp_path):
    square = [shapely.box(0, 0, 1, 1)]
    tiles = place / "tiles"
    with pytest.raises(SourceError, match="absent do not exist"):
        RasterLabels(tmp_path / "absent")
    with pytest.raises(SourceError, match="cannot be read as a vector file"):
        PolygonLabels(tmp_path / "absent.gpkg")
    (tmp_path / "text.gpkg").write_text("none")
    with pytest.raises(SourceError, match="cannot be read as a vector file"):
        PolygonLabels(tmp_path / "text.gpkg")
    points = write_outlines(tmp_path / "points.gpkg", [shapely.Point(0, 0)], kind="Point")
    with pytest.raises(TableError, match="as polygons, found a Point"):
        PolygonLabels(points)
    write_outlines(tmp_path / "two.gpkg", square, layer="a")
    write_outlines(tmp_path / "two.gpkg", square, layer="b")
    with pytest.raises(TableError, match="expected one layer of polygons, found a, b"):
        PolygonLabels(tmp_path / "two.gpkg")
    far_off = shapely.Polygon([(14, 38), (14, 42), (105, 0)])  # its tip has no place in the tile's UTM zone
    write_outlines(tmp_path / "wide.gpkg", [far_off], "EPSG:4326")
    with pytest.raises(TileError, match="outlines cannot be placed on the grid of tile"):
        tile_dataset(tiles, PolygonLabels(tmp_path / "wide.gpkg"), strict=True)
    for _ in range(40):  # GDAL falls silent after some failures of one transformation
        with pytest.raises(TileError, match="outlines cannot be placed on the grid of tile"):
            tile_dataset(tiles, PolygonLabels(tmp_path / "wide.gpkg"), strict=True)
    bare = write_tiff(tmp_path / "bare.tif", slide_mask(), crs=None)
    with pytest.raises(TileError, match="has no CRS"):
        tile_dataset(tiles, RasterLabels(bare), strict=True)
    two = write_tiff(tmp_path / "two.tif", np.stack([slide_mask()] * 2))
    with pytest.raises(TileError, match="should hold the one band of labels, holds 2"):
        tile_dataset(tiles, RasterLabels(two), strict=True)
    with pytest.raises(SourceError, match=r"none of 1 tiles can be used; the first: .* holds 2"):
        tile_dataset(tiles, RasterLabels(two))
    far = write_outlines(tmp_path / "far.gpkg", square)
    with pytest.raises(TableError, match="all 20 labels are 0; training needs both classes"):
        tile_dataset(tiles, PolygonLabels(far))
    outside = write_tiff(tmp_path / "outside.tif", slide_mask(), transform=moved(5000, 0))
    with pytest.raises(TableError, match="no patch has a label"):
        tile_dataset(tiles, RasterLabels(outside))
    with pytest.raises(SourceError, match="does not exist"):
        tile_dataset(tmp_path / "nowhere", RasterLabels(place / "mask.tif"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no tile can be used; the first: .* holds no GeoTIFF"):
        tile_dataset(tmp_path / "empty", RasterLabels(place / "mask.tif"))


def test_polygons_without_a_crs_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="crs"):
        path = write_outlines(tmp_path / "bare.gpkg", [shapely.box(0, 0, 1, 1)], crs=None)
    with pytest.raises(TableError, match="has no CRS"):
        PolygonLabels(path)
