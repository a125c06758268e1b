"""Tiles with rasters or polygons: the same labels either way, ground that folds must not split, pixels as lsd-run's."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from rasterio.crs import CRS
from rasterio.warp import transform
from tiles import L2A_NEW, ORIGIN, UTM, optical, radar, truncate, write_band_folder, write_metadata, write_tiff

from lsd.runtime.errors import PatchFileError, SourceError, TableError, TileError, UsageError
from lsd.runtime.tiles import Grid
from lsd.train.cli.main import main
from lsd.train.datasets.label_rule import LabelRule
from lsd.train.datasets.polygon_labels import PolygonLabels
from lsd.train.datasets.raster_labels import RasterLabels
from lsd.train.datasets.shared_ground import groups_of_tiles
from lsd.train.datasets.tiles import OPEN_TILES, tile_dataset

ROWS, COLUMNS = 4, 5
HEIGHT, WIDTH = ROWS * 64 + 30, COLUMNS * 64 + 7  # what is left at the edges is no patch of the grid
NAME = L2A_NEW


def moved(columns, rows):
    return Affine(10, 0, ORIGIN.c + 10 * columns, 0, -10, ORIGIN.f - 10 * rows)


def write_tile(folder, name=NAME, seed=0, at=(0, 0), height=HEIGHT, width=WIDTH, crs=UTM):
    """An optical tile in canonical units and its pixels (4, y, x), blue first."""
    pixels = optical(height, width, seed)
    write_tiff(folder / f"{name}.tif", pixels, ["blue", "green", "red", "nir"], crs, moved(*at))
    return pixels


def slide_mask():
    """uint8 (y, x): slides of 60, 10 and 9 pixels, the first across two patches."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:16, 60:70] = 1  # 24 px in patch (0, 0), 36 in (0, 1)
    mask[100:102, 200:205] = 1  # 10 px in (1, 3)
    mask[210:213, 80:83] = 1  # 9 px in (3, 1)
    mask[ROWS * 64 + 5 :, :64] = 1  # outside of the grid of patches
    return mask


EXPECTED = {(0, 0): 1, (0, 1): 1, (1, 3): 1, (3, 1): None}


def outlines(mask, crs=UTM):
    """One square a pixel would be many: one polygon a run of pixels of a row, in a CRS."""
    found = []
    for row, column in zip(*np.nonzero(mask), strict=True):
        east, north = ORIGIN.c + 10 * column, ORIGIN.f - 10 * row
        found.append(shapely.box(east, north - 10, east + 10, north))
    whole = shapely.get_parts(shapely.union_all(found))

    def to(places):
        return np.column_stack(transform(CRS.from_string(UTM), CRS.from_string(crs), places[:, 0], places[:, 1]))

    return shapely.transform(whole, to)


def write_outlines(path, geometries, crs=UTM, layer=None, kind="Polygon"):
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.asarray(geometries, object)),
        [np.arange(len(geometries))],
        ["number"],
        geometry_type=kind,
        crs=crs,
        layer=layer,
        append=path.exists(),
    )
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder `tiles` with one tile, its labels as raster, in a folder of rasters, and as polygons in two CRS."""
    folder = tmp_path_factory.mktemp("place")
    np.save(folder / "pixels.npy", write_tile(folder / "tiles"))
    write_tiff(folder / "mask.tif", slide_mask())
    write_tiff(folder / "masks" / f"{NAME}.tif", slide_mask() * 7.0)
    write_outlines(folder / "utm.gpkg", outlines(slide_mask()))
    write_outlines(folder / "degrees.geojson", outlines(slide_mask(), "EPSG:4326"), "EPSG:4326")
    return folder


@pytest.fixture(scope="module")
def dataset(place):
    return tile_dataset(place / "tiles", RasterLabels(place / "mask.tif"))


def labels_of(dataset):
    return dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))


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


def test_a_patch_is_the_tile_there(dataset, place):
    pixels = np.load(place / "pixels.npy")
    for position, name in enumerate(dataset.ids):
        row, column = int(name[-8:-5]), int(name[-3:])
        found = dataset.read(position)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(
            found, pixels[:, row * 64 : row * 64 + 64, column * 64 : column * 64 + 64], err_msg=name
        )


def test_units_become_canonical_and_nodata_becomes_invalid(place, tmp_path):
    pixels = optical(128, 128).astype(np.int16) - 1000
    pixels[:, :64, :64] = 0  # a patch of nodata
    pixels[:, 64:70, 64:] = 0  # a tenth less .4 % of another
    write_tiff(tmp_path / "tiles" / f"{L2A_NEW.replace('N0400', 'N0214')}.tif", pixels, ["blue", "green", "red", "nir"])
    mask = np.zeros((128, 128), np.uint8)
    mask[80:100, 80:100] = 1
    found = tile_dataset(tmp_path / "tiles", RasterLabels(write_tiff(tmp_path / "m.tif", mask)))
    assert [name[-9:] for name in found.ids] == ["r000_c001", "r001_c000", "r001_c001"]
    last = found.read(2)
    assert np.isnan(last[:, :6]).all() and not np.isnan(last[:, 6:]).any()
    np.testing.assert_array_equal(last[:, 6:], pixels[:, 70:, 64:] + 1000)


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


def test_tiles_on_common_ground_are_one_group(tmp_path):
    names = ["a_west", "b_middle", "c_east", "d_apart", "e_zone"]
    mask = np.zeros((128, 1000), np.uint8)
    mask[5:25, 5:25] = mask[5:25, 350:380] = mask[5:25, 600:640] = 1
    folder = tmp_path / "tiles"
    for name, at in zip(names, [0, 120, 248, 400, 600], strict=False):  # the third begins where the second ends
        write_tile(folder / name, f"{L2A_NEW}_{name}", at=(at, 0), height=128, width=128)
    found = tile_dataset(folder, RasterLabels(write_tiff(tmp_path / "m.tif", mask)))
    group_of = {name[len(L2A_NEW) + 1 : -10]: group for name, group in zip(found.ids, found.groups, strict=True)}
    first = f"{L2A_NEW}_a_west"
    assert group_of["a_west"] == group_of["b_middle"] == first
    assert group_of["c_east"] == f"{L2A_NEW}_c_east" and group_of["d_apart"] == f"{L2A_NEW}_d_apart"


def grid(west, north, width=100, height=100, crs=UTM):
    return Grid(CRS.from_string(crs), Affine(10, 0, west, 0, -10, north), width, height)


def test_overlap_is_found_through_others_in_other_crs_and_across_the_antimeridian():
    chain = [grid(500_000, 4_600_000), grid(501_800, 4_600_000), grid(500_900, 4_600_000), grid(505_000, 4_600_000)]
    assert groups_of_tiles("abcd", chain) == ("a", "a", "a", "d")
    edge = [grid(500_000, 4_600_000), grid(501_000, 4_600_000), grid(500_000, 4_599_000), grid(499_010, 4_600_990)]
    assert groups_of_tiles("abcd", edge) == ("a", "b", "c", "d")  # edges, and one pixel of a corner
    (east,), (north,) = transform(CRS.from_string(UTM), CRS.from_string("EPSG:32632"), [500_500], [4_599_500])
    zones = [grid(500_000, 4_600_000), grid(east, north, crs="EPSG:32632"), grid(east + 5000, north, crs="EPSG:32632")]
    assert groups_of_tiles("abc", zones) == ("a", "a", "c")
    (east,), (north,) = transform(CRS.from_epsg(4326), CRS.from_string("EPSG:32701"), [-179.999], [-17.0])
    (far,), (same,) = transform(CRS.from_epsg(4326), CRS.from_string("EPSG:32760"), [179.999], [-17.0])
    fiji = [grid(east - 600, north, crs="EPSG:32701"), grid(far, same, crs="EPSG:32760"), grid(far - 9000, same)]
    assert groups_of_tiles("ab", fiji[:2]) == ("a", "a")


def test_bands_are_those_of_all_tiles(tmp_path, caplog):
    both = {**dict(zip(("B02", "B03", "B04", "B08"), optical(64, 128), strict=True))}
    both |= {f"desc_{name}": band for name, band in zip(("vv", "vh"), radar(64, 128), strict=True)}
    write_metadata(write_band_folder(tmp_path / "tiles" / NAME, both))
    write_tile(tmp_path / "tiles", "S2B" + NAME[3:], at=(500, 0), height=64, width=128)
    mask = np.zeros((64, 800), np.uint8)
    mask[:30, :30] = 1
    with caplog.at_level(logging.WARNING, "lsd"):
        found = tile_dataset(tmp_path / "tiles", RasterLabels(write_tiff(tmp_path / "m.tif", mask)))
    assert found.bands == ("blue", "green", "red", "nir") and len(found) == 4
    assert "bands desc_vv, desc_vh left out: not all 2 tiles have them" in caplog.messages
    np.testing.assert_array_equal(found.read(0)[2], both["B04"][:, :64])


def test_event_times_of_tile_files_are_events(tmp_path):
    mask = np.zeros((64, 800), np.uint8)
    mask[:30, :30] = 1
    for i, name in enumerate(("one", "two")):
        write_tile(tmp_path / "tiles" / name, at=(400 * i, 0), height=64, width=128)
        keys = {"id": name, "event_time": f"2022-06-0{i + 2}T23:58:00Z", "optical": f"{NAME}.tif"}
        (tmp_path / "tiles" / name / "x.tile.json").write_text(json.dumps({"schema_version": 1, **keys}))
    found = tile_dataset(tmp_path / "tiles", RasterLabels(write_tiff(tmp_path / "m.tif", mask)))
    assert found.ids == ("one_r000_c000", "one_r000_c001", "two_r000_c000", "two_r000_c001")
    assert len(set(found.events)) == 2 and found.events[0].startswith("2022-06-02")


def read_all(dataset):
    return np.stack([dataset.read(position) for position in range(len(dataset))])


def test_threads_and_forked_processes_read_the_same(place, dataset):
    whole = read_all(dataset)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: read_all(dataset), range(8)):
            np.testing.assert_array_equal(found, whole)
    with multiprocessing.get_context("fork").Pool(2, _share, (dataset,)) as pool:
        sums = pool.map(_sum_in_child, range(6))
    np.testing.assert_array_equal(sums, [whole.sum(dtype=np.float64)] * 6)


def _share(dataset):
    global _shared
    _shared = dataset


def _sum_in_child(_):
    return read_all(_shared).sum(dtype=np.float64)


def test_few_tiles_are_open_and_none_is_in_memory(tmp_path):
    n = OPEN_TILES + 3
    for i in range(n):
        write_tile(tmp_path / "tiles", f"{NAME}_{i}", seed=i, at=(0, 1000 * i), height=64, width=2048)
    mask = np.zeros((1000 * n, 2048), np.uint8)
    mask[0:20, 0:20] = 1
    found = tile_dataset(tmp_path / "tiles", RasterLabels(write_tiff(tmp_path / "m.tif", mask)))
    assert len(found) == 32 * n and len(set(found.groups)) == n
    order = np.random.default_rng(0).permutation(len(found))
    found.read(0)
    tracemalloc.start()
    for position in order:
        found.read(int(position))
        assert len(found.reader._opened._readers) <= OPEN_TILES
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * found.read(0).nbytes  # a tile is 32 patches


def test_a_tile_that_cannot_be_used_is_told_or_stops(place, tmp_path, caplog):
    write_tile(tmp_path / "tiles", at=(0, 0))
    write_tile(tmp_path / "tiles", "cut_" + NAME, at=(5000, 0))
    truncate(tmp_path / "tiles" / f"cut_{NAME}.tif")
    write_tile(tmp_path / "tiles", "unlabelled_" + NAME, at=(9000, 0))
    (tmp_path / "tiles" / "text.tif").write_text("none")
    write_tiff(tmp_path / "masks" / f"{NAME}.tif", slide_mask())
    write_tiff(tmp_path / "masks" / f"cut_{NAME}.tif", slide_mask(), transform=moved(5000, 0))
    with caplog.at_level(logging.WARNING, "lsd"):
        found = tile_dataset(tmp_path / "tiles", RasterLabels(tmp_path / "masks"))
    assert set(found.groups) == {NAME}
    told = "\n".join(caplog.messages)
    assert f"unlabelled_{NAME} left out" in told and "expected a label raster named as its tile" in told
    assert "tile text left out" in told and f"cut_{NAME} left out" in told
    with pytest.raises(TileError):
        tile_dataset(tmp_path / "tiles", RasterLabels(tmp_path / "masks"), strict=True)


def test_a_tile_that_vanishes_is_an_error_of_its_patch(tmp_path, place):
    write_tile(tmp_path / "tiles")
    found = tile_dataset(tmp_path / "tiles", RasterLabels(place / "mask.tif"))
    (tmp_path / "tiles" / f"{NAME}.tif").unlink()
    with pytest.raises(PatchFileError, match=f"{NAME} row 0 column 1: .*{NAME}"):
        found.read(1)


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


def test_forests_are_trained_on_tiles_with_ground_kept_together(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = write_tile(tmp_path / "tiles", f"{NAME}_{i}", seed=i, at=(0, 400 * i), height=256, width=256)
        mask = np.zeros((256, 256), np.uint8)
        for cell in rng.choice(16, 6, replace=False):
            row, column = divmod(int(cell), 4)
            mask[row * 64 : row * 64 + 20, column * 64 : column * 64 + 20] = 1
        pixels[2][mask == 1] += 900
        write_tiff(tmp_path / "tiles" / f"{NAME}_{i}.tif", pixels, ["blue", "green", "red", "nir"],
                   transform=moved(0, 400 * i))  # fmt: skip
        write_tiff(tmp_path / "masks" / f"{NAME}_{i}.tif", mask, transform=moved(0, 400 * i))
    member = {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 9, "parameters": {"num_leaves": 4}}
    (tmp_path / "r.json").write_text(json.dumps({"name": "r", "description": "", "members": [member]}))
    words = ["forest", "--tiles", tmp_path / "tiles", "--label-rasters", tmp_path / "masks", "--folds-by", "group"]
    words += ["--recipe", tmp_path / "r.json", "--folds", 3, "-o", tmp_path / "run"]
    done = CliRunner().invoke(main, [*map(str, words), "--bands", "optical"])
    assert done.exit_code == 0, done.output
    with (tmp_path / "run" / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80 and sum(int(row["label"]) for row in rows) == 30
    folds = {row["ID"].rsplit("_", 2)[0]: row["fold"] for row in rows}
    assert all(folds[row["ID"].rsplit("_", 2)[0]] == row["fold"] for row in rows) and len(folds) == 5
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["kfold"]["all"]["auc"]["value"] > 0.9
    done = CliRunner().invoke(main, [*map(str, words), "--overwrite", "-q"])
    assert done.exit_code == 2
    assert "the patches have the bands blue, green, red, nir, not desc_vv" in done.stderr
