"""`tiles_of` with `left_alone`: what is still being written is not opened, and what needs it is no tile yet."""

from __future__ import annotations

import json

import pytest
from growing_folder import ids
from safe import write_safe, zipped
from stac_items import write_catalog, write_optical_item, write_radar_item
from tiles import L2A_NEW, L2A_OLD, optical, write_band_folder, write_tiff

from lsd.runtime.feeds.base import Round, Unsettled
from lsd.runtime.ingest.times import utc_of
from lsd.runtime.sources import SourceOptions, tiles_of

BEFORE, AFTER = "2022-06-26T05:08:00Z", "2022-07-08T05:08:00Z"
EVENT = SourceOptions(event_time=utc_of("2022-07-01T00:00:00Z", "test"))
OPTICAL = ("B04", "B03", "B02", "B08")


def found(folder, *left, options=None):
    return ids(Round((folder,), frozenset(path.resolve() for path in left)), options)


def test_files_zips_and_folders_are_left_alone(tmp_path):
    write_tiff(tmp_path / "a.tif", optical(), ["red", "green", "blue", "nir"])
    (tmp_path / "a.tif").rename(tmp_path / f"{L2A_NEW}_a.tif")
    safe = write_safe(tmp_path)
    (tmp_path / "zips").mkdir()
    archive = zipped(write_safe(tmp_path / "outside", L2A_OLD, baseline="02.14"), tmp_path / "zips" / f"{L2A_OLD}.zip")
    every = {tmp_path / f"{L2A_NEW}_a.tif": f"{L2A_NEW}_a", safe: L2A_NEW, archive: L2A_OLD}
    outside = tmp_path / "outside"
    assert found(tmp_path, outside) == sorted(every.values())
    for path, name in every.items():
        assert found(tmp_path, outside, path) == sorted(set(every.values()) - {name})
    assert found(tmp_path, outside, tmp_path / "zips") == sorted([f"{L2A_NEW}_a", L2A_NEW])
    assert found(tmp_path, tmp_path) == []
    assert list(tiles_of([archive], left_alone=[archive.resolve()])) == []


def test_a_half_written_file_is_not_even_opened(tmp_path):
    safe = write_safe(tmp_path)
    (tmp_path / "half.tif").write_bytes(b"II*\0")
    (tmp_path / "half.zip").write_bytes(b"PK")
    (tmp_path / "half.json").write_text('{"type": "Fea')
    left = [tmp_path / f"half.{suffix}" for suffix in ("tif", "zip", "json")]
    assert found(tmp_path, *left) == [safe.name.removesuffix(".SAFE")]


def test_single_bands_wait_for_each_other(tmp_path):
    folder = write_band_folder(
        tmp_path / L2A_NEW, {f"x_{band}": pixels for band, pixels in zip(OPTICAL, optical(), strict=True)}
    )
    assert found(folder) == [L2A_NEW]
    for band in OPTICAL:
        assert found(folder, folder / f"x_{band}.tif") == []


def test_a_tile_file_waits_for_its_parts_and_its_parts_are_no_tiles_while_it_does(tmp_path):
    safe = write_safe(tmp_path)
    tile = tmp_path / "slope.tile.json"
    tile.write_text(json.dumps({"schema_version": 1, "optical": safe.name}))
    assert found(tmp_path) == ["slope"]
    assert found(tmp_path, safe) == []
    assert found(tmp_path, tile) == []
    assert found(tmp_path, tmp_path / "other") == ["slope"]
    assert found(tmp_path, tmp_path / safe.name[:-5]) == ["slope"]  # a name that only begins like the part's
    (safe / "MTD_MSIL2A.xml").unlink()
    assert found(tmp_path, safe) == []  # half a product is no failure while it is being written


def test_items_wait_for_their_assets_and_the_others_of_the_folder_do_not(tmp_path):
    for name in ("S2_a", "S2_b", "S2_c"):
        write_optical_item(tmp_path, name, AFTER)
    assert found(tmp_path) == ["S2_a", "S2_b", "S2_c"]
    assert found(tmp_path, tmp_path / "S2_b.json") == ["S2_a", "S2_c"]
    (tmp_path / "S2_b" / "red.tif").unlink()
    assert found(tmp_path, tmp_path / "S2_b") == ["S2_a", "S2_c"]
    assert found(tmp_path, tmp_path / "S2_b.json") == ["S2_a", "S2_c"]
    with pytest.raises(AssertionError, match=r"S2_b: .*red\.tif"):
        found(tmp_path)  # nobody writes: then it is a failure


def test_a_catalog_gives_what_is_whole(tmp_path):
    for name in ("S2_a", "S2_b"):
        write_optical_item(tmp_path / "items", name, AFTER)
    write_catalog(tmp_path / "catalog.json", item=["./items/S2_a.json", "./items/S2_b.json"])
    (tmp_path / "items" / "S2_b" / "red.tif").unlink()
    assert found(tmp_path, tmp_path / "items" / "S2_b") == ["S2_a"]
    assert found(tmp_path, tmp_path / "items") == []


def test_an_optical_scene_waits_for_the_radar_that_it_is_joined_to(tmp_path):
    write_optical_item(tmp_path, "S2", AFTER)
    write_radar_item(tmp_path, "S1_pre", BEFORE)
    write_radar_item(tmp_path, "S1_post", AFTER)
    assert found(tmp_path, options=EVENT) == ["S2"]
    assert found(tmp_path, tmp_path / "S1_post", options=EVENT) == []


def test_unsettled_covers_what_was_not_there_at_the_look(tmp_path):
    safe = write_safe(tmp_path)
    left = Unsettled([tmp_path.resolve()], [safe.resolve()], [])
    write_safe(tmp_path, L2A_OLD, baseline="02.14")
    assert len(left) == 0 and not list(left) and left
    assert ids(Round((tmp_path,), left)) == [L2A_NEW]


def test_a_folder_without_a_tile_fails_only_if_nothing_is_being_written(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "half.tif").touch()
    assert found(tmp_path, tmp_path / "half.tif") == []
    (tmp_path / "half.tif").unlink()
    with pytest.raises(AssertionError, match="holds no GeoTIFF"):
        found(tmp_path)
