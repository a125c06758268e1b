"""Which files become which tiles: stacks, band folders, the BigEarthNet and SSL4EO layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiles import (
    L2A_NEW,
    L2A_OLD,
    ORIGIN,
    S1_DESCENDING,
    optical,
    radar,
    write_band_folder,
    write_metadata,
    write_tiff,
)

from lsd.runtime.errors import BandError, SourceError, TileError
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.sources.product import band_name_of
from lsd.runtime.tiles import Tile

OPTICAL = ("B04", "B03", "B02", "B08")


def only_tile(*paths: Path, options: SourceOptions | None = None) -> Tile:
    (tile,) = tiles_of(paths, options)
    assert isinstance(tile, Tile), tile
    return tile


def s2_folder(folder: Path, **options) -> Path:
    return write_band_folder(folder, dict(zip(OPTICAL, optical(), strict=True)), **options)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("S2A_MSIL2A_20170613T101031_87_48_B8A", "B8A"),
        ("desc_vv", "desc_vv"),
        ("x_descending_vv", "descending_vv"),
        ("B4", "B4"),
        ("cloud_mask", "cloud_mask"),
        ("LabelHand", None),
        ("infrared", None),
    ],
)
def test_band_name_is_the_longest_known_end_of_the_stem(stem, name):
    assert band_name_of(stem) == name


def test_stack_with_named_bands(tmp_path):
    names = ["blue", "B04", "desc_vv", "desc_dvv", "SCL"]
    pixels = np.concatenate([optical()[:2], radar(), np.ones((1, 80, 96))]).astype(np.float32)
    path = write_tiff(tmp_path / f"{L2A_NEW}.tif", pixels, names)
    tile = only_tile(path)
    assert tile.id == L2A_NEW
    assert {name: source.index for name, source in tile.bands.items()} == {
        "red": 2,
        "blue": 1,
        "desc_vv": 3,
        "desc_dvv": 4,
    }
    assert (tile.grid.width_px, tile.grid.height_px, tile.grid.transform) == (96, 80, ORIGIN)
    assert any("SCL" in decision.choice for decision in tile.decisions)
    assert tile.clouds is not None and tile.clouds.kind == "scl"
    assert [warning.split(" rest ")[0] for warning in tile.warnings] == [
        "direction of flight and order in time of desc_vv, desc_dvv"
    ]


def test_folder_of_bands_and_folder_above(tmp_path):
    s2_folder(tmp_path / "b" / L2A_OLD)
    s2_folder(tmp_path / "a" / L2A_NEW)
    write_tiff(tmp_path / "a" / "stack.tif", optical(), ["red", "green", "blue", "nir"])
    found = list(tiles_of([tmp_path], SourceOptions()))
    assert [one.id for one in found] == ["stack", L2A_NEW, L2A_OLD]
    assert isinstance(found[0], TileFailure)  # nothing proves its offset; the others are there all the same
    conversions = [{source.conversion for source in tile.bands.values()} for tile in found[1:]]
    assert conversions == [{"none"}, {"add_1000"}]
    assert [tile.acquired["sentinel-2"] for tile in found[1:]] == ["2022-07-06T08:56:11Z", "2020-07-06T08:56:11Z"]


def test_same_file_twice_is_one_tile_and_same_name_twice_two_ids(tmp_path):
    one, two = s2_folder(tmp_path / "one" / L2A_NEW), s2_folder(tmp_path / "two" / L2A_NEW)
    assert [tile.id for tile in tiles_of([one, tmp_path / "one", one])] == [L2A_NEW]
    assert [tile.id for tile in tiles_of([one, two])] == [f"one_{L2A_NEW}", f"two_{L2A_NEW}"]


def test_radar_direction_by_time_and_by_option(tmp_path):
    # 05:08 UTC at 15 E is 6.1 h local: descending
    tile = only_tile(write_tiff(tmp_path / f"{S1_DESCENDING}.tif", radar(), ["VV", "VH"]))
    assert list(tile.bands) == ["desc_vv", "desc_vh"]
    assert tile.acquired == {"sentinel-1 descending": "2020-06-07T05:08:00Z"}
    unnamed = write_tiff(tmp_path / "unnamed.tif", radar(), ["VV", "VH"])
    (failure,) = tiles_of([unnamed])
    assert isinstance(failure, TileFailure)
    assert isinstance(failure.error, BandError)
    assert list(only_tile(unnamed, options=SourceOptions(orbit="ascending")).bands) == ["asc_vv", "asc_vh"]


def bigearthnet(root: Path) -> tuple[Path, Path]:
    s2, s1 = root / "S2" / "S2A_MSIL2A_20170613T101031_87_48", root / "S1" / "S1A_20170613T165043_33UUP_87_48"
    write_band_folder(s2, {f"{s2.name}_{b}": p for b, p in zip(OPTICAL, optical(), strict=True)})
    source = "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"
    write_metadata(s2, f"{s2.name}_labels_metadata.json", tile_source=source, acquisition_date="2017-06-13 10:10:31")
    write_band_folder(s1, {f"{s1.name}_{b}": p for b, p in zip(("VV", "VH"), radar(), strict=True)})
    write_metadata(
        s1,
        f"{s1.name}_labels_metadata.json",
        corresponding_s2_patch=s2.name,
        acquisition_time="2017-06-13T16:50:43",
    )
    return s1, s2


def test_bigearthnet_pair_is_one_tile_wherever_both_lie(tmp_path):
    s1, s2 = bigearthnet(tmp_path)
    for paths in ((tmp_path,), (s1, s2), (s2.parent, s1.parent)):
        tile = only_tile(*paths)
        assert tile.id == s2.name
        assert list(tile.bands) == ["blue", "green", "red", "nir", "asc_vv", "asc_vh"]
        assert {tile.bands[name].conversion for name in ("red", "nir")} == {"add_1000"}
        assert tile.acquired["sentinel-1 ascending"] == "2017-06-13T16:50:43Z"
    alone = only_tile(s1)
    assert list(alone.bands) == ["asc_vv", "asc_vh"]
    assert any("not among the sources" in decision.reason for decision in alone.decisions)


def test_ssl4eo_place_joins_the_nearest_radar_of_each_direction(tmp_path):
    place = tmp_path / "0000200"
    s2 = place / "s2a" / "20200604T054639_20200604T054831_T43RCP"
    s2_folder(s2)
    write_metadata(s2, PROCESSING_BASELINE="02.14")
    for day, orbit in ((7, "DESCENDING"), (19, "DESCENDING"), (9, "ASCENDING")):
        product = place / "s1" / f"S1A_202006{day:02d}T010800"
        write_band_folder(product, dict(zip(("VV", "VH"), radar(), strict=True)))
        write_metadata(product, orbitProperties_pass=orbit)
    s2_folder(place / "s2c" / "20200604T054639_x")
    write_metadata(place / "s2c" / "20200604T054639_x", PROCESSING_BASELINE="02.09")

    tile, failure = tiles_of([tmp_path])
    assert isinstance(tile, Tile)
    assert tile.id == f"0000200_{s2.name}"
    assert tile.bands["desc_vv"].path.parent.name == "S1A_20200607T010800"
    assert tile.bands["asc_vv"].path.parent.name == "S1A_20200609T010800"
    assert any("nearest of 2" in decision.reason for decision in tile.decisions)
    assert isinstance(failure, TileFailure)
    assert isinstance(failure.error, TileError)
    assert "Level-1C" in str(failure.error)


def test_nothing_to_read_is_told(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        list(tiles_of([tmp_path / "missing"]))
    (tmp_path / "h5").mkdir()
    (tmp_path / "h5" / "image.h5").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    found = list(tiles_of([tmp_path / "h5", tmp_path / "empty", tmp_path / "h5" / "image.h5"]))
    assert all(isinstance(one, TileFailure) and isinstance(one.error, SourceError) for one in found)
    assert ["holds .h5 files" in str(found[0].error), "empty" in str(found[1].error)] == [True, True]
    assert "no GeoTIFF (.h5)" in str(found[2].error)
