"""STAC items: which assets are which bands, where their files are, and what else folders of radar hold."""

from __future__ import annotations

import json

import pytest
from safe import write_safe
from stac_items import COG, write_item, write_optical_item, write_radar_item
from tiles import L2A_NEW, optical, radar, write_band_folder, write_metadata, write_tiff

from lsd.runtime.errors import BandError, SourceError, TileError
from lsd.runtime.ingest.times import acquired, iso, utc_of
from lsd.runtime.sources import TileFailure, tiles_of
from lsd.runtime.sources.folder import is_side_file, product_from_folder
from lsd.runtime.sources.product import SourceOptions
from lsd.runtime.sources.stac_item import is_stac_item, product_from_stac_item, read_item
from lsd.runtime.tiles import Tile

NOTHING = SourceOptions()
ONE = optical()[0]


def chosen(path, options=NOTHING):
    """Band as ingest sees it -> name of its file."""
    return {file.name: file.path.name for file in product_from_stac_item(path, options).files}


def item_of(folder, assets, properties=None, **members):
    """An item whose relative asset files exist."""
    for asset in assets.values():
        if "://" not in asset["href"]:
            write_tiff(folder / asset["href"], ONE)
    return write_item(folder / "item.json", "one", assets, properties, **members)


def test_bands_by_key_time_and_declared_raster(tmp_path):
    assets = {
        "red": {"href": "B04.tif", "type": COG, "raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]},
        "scl": {"href": "SCL.tif", "type": COG},
        "aot": {"href": "AOT.tif", "type": COG},
        "nir08": {"href": "B8A.tif", "type": COG, "eo:bands": [{"name": "B8A", "common_name": "nir08"}]},
        "visual": {"href": "TCI.tif", "type": COG, "eo:bands": [{"name": "red"}, {"name": "green"}, {"name": "blue"}]},
        "granule_metadata": {"href": "metadata.xml", "type": "application/xml"},
    }
    path = item_of(tmp_path, assets, {"datetime": "2022-07-06T08:56:11.5Z", "x": 1}, collection="sentinel-2-c1-l2a")
    assert is_stac_item(path)
    product = product_from_stac_item(path, NOTHING)
    assert {file.name: file.path for file in product.files} == {
        "red": tmp_path / "B04.tif",
        "SCL": tmp_path / "SCL.tif",
    }
    assert product.name == "one" and product.path == path
    assert product.metadata["stac:collection"] == "sentinel-2-c1-l2a" and product.metadata["stac:id"] == "one"
    assert product.metadata["stac:raster"] == {"red": {"scale": 0.0001, "offset": -0.1, "nodata": 0}}
    assert product.metadata["stac:assets"] == {"red": "red", "SCL": "scl"}
    assert product.metadata["x"] == 1
    assert iso(acquired(product.metadata, product.names)) == "2022-07-06T08:56:11Z"


@pytest.mark.parametrize(
    "described",
    [
        {"eo:bands": [{"name": "B04", "common_name": "red"}]},
        {"eo:bands": [{"name": "band 4", "common_name": "red"}]},
        {"bands": [{"name": "B04", "eo:common_name": "red"}]},
        {"bands": [{"eo:common_name": "red"}], "raster:scale": 0.0001},
    ],
    ids=["name", "common name", "1.1 name", "1.1 common name"],
)
def test_bands_by_what_the_asset_declares(tmp_path, described):
    path = item_of(tmp_path, {"data-4": {"href": "x.tif", **described}})
    (file,) = product_from_stac_item(path, NOTHING).files
    assert file.name in ("b04", "red") and file.is_optical


def test_a_file_of_several_bands_gives_each_its_index(tmp_path):
    bands = [{"name": "B04"}, {"name": "B05"}, {"name": "B02"}]
    path = item_of(tmp_path, {"data": {"href": "x.tif", "bands": bands}})
    assert [(file.name, file.index) for file in product_from_stac_item(path, NOTHING).files] == [("b02", 3), ("b04", 1)]


def test_the_finest_asset_of_a_band_is_taken_then_the_local_one_then_geotiff(tmp_path):
    red = {"B04_60m": {"href": "r60.jp2"}, "B04_10m": {"href": "r10.jp2"}, "B04_20m": {"href": "r20.jp2"}}
    assert chosen(item_of(tmp_path, red)) == {"b04": "r10.jp2"}
    declared = [{"name": "red"}]
    red = {
        "red-jp2": {"href": "a.jp2", "eo:bands": declared, "gsd": 10},
        "red": {"href": "b.tif", "eo:bands": declared, "gsd": 10},
    }
    assert chosen(item_of(tmp_path, red)) == {"red": "b.tif"}
    red["red"]["href"] = "https://example.com/b.tif"
    assert chosen(item_of(tmp_path, red)) == {"red": "a.jp2"}


def test_radar_assets_and_coarse_orbit_metadata(tmp_path):
    path = write_radar_item(tmp_path, "S1A_x_rtc", "2022-07-08T05:08:00Z")
    product = product_from_stac_item(path, NOTHING)
    assert [file.name for file in product.files] == ["vh", "vv"]
    assert all(file.needs_orbit for file in product.files)
    assert product.metadata["sat:relative_orbit"] == 107


def test_level_1c_becomes_a_product_that_shows_its_b10(tmp_path):
    assets = {"B04": {"href": "B04.jp2"}, "B10": {"href": "s3://bucket/B10.jp2", "type": "image/jp2"}}
    product = product_from_stac_item(item_of(tmp_path, assets, collection="sentinel-2-l1c"), NOTHING)
    assert [file.name for file in product.files] == ["B10", "b04"]
    assert product.files[0].is_ignored


def test_hrefs_relative_absolute_and_as_uri(tmp_path):
    far = write_tiff(tmp_path / "far away" / "g.tif", ONE)
    write_tiff(tmp_path / "in" / "per cent.tif", ONE)
    assets = {
        "red": {"href": "./per%20cent.tif"},
        "green": {"href": str(far)},
        "blue": {"href": far.as_uri()},
    }
    path = write_item(tmp_path / "in" / "item.json", "one", assets)
    assert set(chosen(path).values()) == {"per cent.tif", "g.tif"}


def test_remote_assets_are_refused_unless_asked_for(tmp_path):
    path = item_of(tmp_path, {"red": {"href": "https://example.com/a/B04.tif?sig=1", "type": COG}})
    with pytest.raises(SourceError, match=r"asset red of item one is remote \(https://example.com.*--remote"):
        product_from_stac_item(path, NOTHING)
    (file,) = product_from_stac_item(path, SourceOptions(remote=True)).files
    assert "vsicurl" in str(file.path) and "example.com/a/B04.tif?sig=1" in str(file.path)
    path = item_of(tmp_path, {"red": {"href": "s3://bucket/B04.tif"}})
    with pytest.raises(SourceError, match="http and https only"):
        product_from_stac_item(path, SourceOptions(remote=True))


def test_a_missing_asset_is_named_with_item_asset_and_path(tmp_path):
    path = write_optical_item(tmp_path, "S2_one", "2022-07-06T08:56:11Z")
    (tmp_path / "S2_one" / "nir.tif").unlink()
    with pytest.raises(SourceError, match=r"asset nir of item S2_one is missing: .*S2_one/nir\.tif; fetch it"):
        product_from_stac_item(path, NOTHING)


@pytest.mark.parametrize(
    ("assets", "properties", "error", "text"),
    [
        ({"thumbnail": {"href": "t.tif"}, "B05": {"href": "b.tif"}}, {}, BandError, "its assets: thumbnail, B05"),
        ({}, {}, BandError, "its assets: none"),
        ({"red": {"href": "r.tif"}}, {"platform": "landsat-9"}, TileError, "is of landsat-9; the models know Sentinel"),
    ],
)
def test_items_of_no_use_say_why(tmp_path, assets, properties, error, text):
    with pytest.raises(error, match=text):
        product_from_stac_item(item_of(tmp_path, assets, properties), NOTHING)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"id": 5}, "'id' should be a string, is 5"),
        ({"properties": None}, "'properties' should be an object"),
        ({"assets": {"red": "B04.tif"}}, "asset 'red' should be an object with an href"),
        ({"bbox": [1, 2, "3", 4]}, "bbox should be 4 or 6 numbers"),
    ],
)
def test_malformed_items(tmp_path, members, text):
    path = write_item(tmp_path / "item.json", "one", {})
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    with pytest.raises(TileError, match=text):
        read_item(path)


def test_bbox_with_heights_or_from_the_geometry(tmp_path):
    path = write_item(tmp_path / "a.json", "one", {}, bbox=(1, 2, -5, 3, 4, 900))
    assert read_item(path).bbox == (1, 2, 3, 4)
    ring = [[1, 2], [3, 2, 7], [3, 4], [1, 2]]
    path = write_item(tmp_path / "b.json", "one", {}, bbox=None, geometry={"type": "Polygon", "coordinates": [ring]})
    assert read_item(path).bbox == (1, 2, 3, 4)
    assert read_item(write_item(tmp_path / "c.json", "one", {}, bbox=None)).bbox is None


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"type": "Feature"}', '{"type": "Catalog", "stac_version": "1.0.0"}']
)
def test_other_json_is_no_item(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert not is_stac_item(path)
    assert not is_stac_item(tmp_path)


HYP3 = "S1A_IW_20220708T050800_DVP_RTC10_G_gpuned_1A2B"
GRANULE = "S1A_IW_GRDH_1SDV_20220708T050800_20220708T050825_044007_0540C5_1A2B"
SIDE = ("dem", "inc_map", "ls_map", "area")


def test_a_hyp3_folder_skips_its_side_files_and_finds_its_granule(tmp_path):
    folder = tmp_path / HYP3
    for name, pixels in zip(("VV", "VH"), radar(), strict=True):
        write_tiff(folder / f"{HYP3}_{name}.tif", pixels)
    for name in SIDE:
        write_tiff(folder / f"{HYP3}_{name}.tif", ONE)
    write_tiff(folder / f"{HYP3}_rgb.tif", optical()[:3])
    (folder / f"{HYP3}.README.md.txt").write_text(f"This folder is {HYP3}.\nSource: {GRANULE}, {GRANULE}.\n")
    product = product_from_folder(folder)
    assert [file.name for file in product.files] == ["VH", "VV"]
    assert product.metadata["skipped"] == sorted(f"{HYP3}_{name}.tif" for name in (*SIDE, "rgb"))
    assert product.metadata["text:granules"] == [GRANULE]


def test_an_opera_folder_takes_its_mask_but_no_mask_of_others(tmp_path):
    name = "OPERA_L2_RTC-S1_T144-308029-IW1_20220708T050800Z_20220709T000000Z_S1A_30_v1.0"
    for band in ("VV", "VH", "mask"):
        write_tiff(tmp_path / name / f"{name}_{band}.tif", ONE)
    product = product_from_folder(tmp_path / name)
    assert [file.name for file in product.files] == ["VH", "VV"]
    assert product.metadata["opera:mask"] == str(tmp_path / name / f"{name}_mask.tif")
    write_tiff(tmp_path / "other" / "VV.tif", ONE)
    write_tiff(tmp_path / "other" / "x_mask.tif", ONE)
    with pytest.raises(BandError, match=r"x_mask\.tif: the file name ends in no known band"):
        product_from_folder(tmp_path / "other")


def test_a_known_band_is_no_side_file(tmp_path):
    assert not is_side_file(tmp_path / "cloud_mask.tif")
    assert not is_side_file(tmp_path / "x_area_vv.tif")
    assert is_side_file(tmp_path / "x_DEM.tif")


BASELINE = {"datetime": "2022-07-06T08:56:11Z", "s2:processing_baseline": "04.00"}


def item_beside(folder, hrefs, **properties):
    """An item, and in the same folder its bands, a picture of them and a class layer that the item does not name."""
    for key, pixels in zip(("red", "green", "blue", "nir"), optical(), strict=True):
        write_tiff(folder / hrefs[key], pixels)
    write_tiff(folder / "visual.tif", optical()[:3])
    assets = {key: {"href": href, "type": COG} for key, href in {**hrefs, "visual": "visual.tif"}.items()}
    return write_item(folder / "item.json", "S2_item", assets, {**BASELINE, **properties})


IN_ONE_FOLDER = {"red": "B04.tif", "green": "./B03.tif", "blue": "B02.tif", "nir": "B08.tif"}
BELOW = {key: f"bands/{name}" for key, name in IN_ONE_FOLDER.items()}


@pytest.mark.parametrize("hrefs", [IN_ONE_FOLDER, BELOW], ids=["beside", "below"])
def test_an_item_and_the_files_that_it_names_are_one_tile(tmp_path, hrefs):
    item_beside(tmp_path / "in", hrefs)
    (tile,) = tiles_of([tmp_path])
    assert isinstance(tile, Tile) and tile.id == "S2_item" and set(tile.bands) == {"red", "green", "blue", "nir"}


ELSEWHERE = {key: f"../data/{name}" for key, name in IN_ONE_FOLDER.items()}


def one_tile(paths):
    """Bands of the one tile of some paths, which is the item's."""
    (tile,) = tiles_of(paths)
    assert isinstance(tile, Tile) and tile.id == "S2_item", tile
    return set(tile.bands)


@pytest.mark.parametrize("folder", ["a", "z"])
def test_what_an_item_names_in_a_folder_that_comes_before_or_after_is_its_own(tmp_path, folder):
    """As one source, and as two, whichever is given first; a folder and a text that it names are nothing to take."""
    item = item_beside(tmp_path / folder, ELSEWHERE)
    described = json.loads(item.read_text("utf-8"))
    described["assets"] |= {"all": {"href": "../data"}, "text": {"href": item.name}}
    item.write_text(json.dumps(described), encoding="utf-8")
    both = [tmp_path / "data", tmp_path / folder]
    for paths in ([tmp_path], both, both[::-1], [tmp_path / "data" / "B02.tif", item], [item, tmp_path / "data"]):
        assert one_tile(paths) == {"red", "green", "blue", "nir"}


def test_an_item_of_a_catalog_owns_what_it_names_elsewhere(tmp_path):
    item = item_beside(tmp_path / "items", ELSEWHERE)
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": []}
    catalog["links"] = [{"rel": "item", "href": f"./{item.name}"}]
    (item.parent / "catalog.json").write_text(json.dumps(catalog), encoding="utf-8")
    for paths in ([tmp_path], [tmp_path / "data", item.parent / "catalog.json"]):
        assert one_tile(paths) == {"red", "green", "blue", "nir"}


def test_files_beside_those_that_an_item_elsewhere_names_stay_a_tile(tmp_path):
    item_beside(tmp_path / "items", ELSEWHERE)
    write_tiff(tmp_path / "data" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    assert {tile.id for tile in tiles_of([tmp_path])} == {"S2_item", L2A_NEW}


def test_files_that_an_item_does_not_name_stay_a_tile(tmp_path):
    item_beside(tmp_path / "in", IN_ONE_FOLDER)
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    assert {tile.id for tile in tiles_of([tmp_path])} == {"S2_item", L2A_NEW}


def test_an_item_that_waits_for_a_file_keeps_the_others(tmp_path):
    """What has arrived of it is no tile meanwhile."""
    item_beside(tmp_path / "in", IN_ONE_FOLDER)
    late = tmp_path / "in" / "B08.tif"
    assert list(tiles_of([tmp_path], left_alone={late.resolve()})) == []
    late.unlink()
    (failure,) = tiles_of([tmp_path])
    assert isinstance(failure, TileFailure) and "B08.tif" in str(failure.error)


@pytest.mark.parametrize("place", ["", "items/"], ids=["beside", "elsewhere"])
def test_an_item_of_a_safe_folder_is_one_tile(tmp_path, place):
    safe = write_safe(tmp_path)
    images = {path.name.split("_")[2]: path for path in safe.rglob("*_10m.jp2")}
    assets = {name: {"href": "../" * bool(place) + str(path.relative_to(tmp_path))} for name, path in images.items()}
    write_item(tmp_path / f"{place}item.json", "S2_item", assets, BASELINE)
    (tile,) = tiles_of([tmp_path])
    assert isinstance(tile, Tile) and tile.id == "S2_item"


def test_radar_joins_an_item_as_it_joins_a_folder(tmp_path):
    item_beside(tmp_path / "optical", IN_ONE_FOLDER)
    folder = tmp_path / "S1A_IW_GRDH_1SDV_20220707T050800_20220707T050825_032904_03CFBA_D457"
    write_band_folder(folder, dict(zip(("VV", "VH"), radar(), strict=True)))
    write_metadata(folder, **{"sat:orbit_state": "descending"})
    (tile,) = tiles_of([tmp_path], SourceOptions(event_time=utc_of("2022-07-01T00:00Z", "event")))
    assert isinstance(tile, Tile) and tile.id == "S2_item" and "desc_vv" in tile.bands
