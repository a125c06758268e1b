"""A round with a memo finds what a round without one finds, whatever changed, and opens only what did."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safe import write_safe
from stac_items import write_optical_item
from tiles import L2A_NEW, optical, radar, truncate, write_band_folder, write_metadata, write_tiff

from lsd.runtime.ingest.times import utc_of
from lsd.runtime.sources import Memo, SourceOptions, TileFailure, memo, opening, safe, tiles_of
from lsd.runtime.tiles import Tile

COLOURS = ("red", "green", "blue", "nir")
BANDS = ("B02", "B03", "B04", "B08")
STACK, PRODUCT, ARCHIVE = f"{L2A_NEW}.tif", L2A_NEW.replace("T33NZA", "T33NZB"), L2A_NEW.replace("T33NZA", "T33NZC")
SETTINGS = settings(max_examples=12)


def write_stack(folder: Path, seed: int = 0, **options) -> Path:
    (folder / STACK).unlink(missing_ok=True)  # rasterio opens what is there, which may be cut short
    return write_tiff(folder / STACK, optical(64, 64, seed), COLOURS, **options)


def write_folder(folder: Path, names=BANDS, seed: int = 0) -> Path:
    return write_band_folder(folder / PRODUCT, dict(zip(names, optical(64, 64, seed), strict=False)))


def told(found: list[Tile | TileFailure]) -> list[object]:
    """What can be compared: errors by their text."""
    return [one if isinstance(one, Tile) else (one.id, type(one.error), str(one.error)) for one in found]


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """Every raster that is opened from here on."""
    paths: list[Path] = []
    for module in (memo, opening):
        real = module.open_raster
        monkeypatch.setattr(module, "open_raster", lambda path, real=real: (paths.append(path), real(path))[1])
    return paths


def rounds(folder: Path, options: SourceOptions | None = None) -> Callable[[], list[Tile | TileFailure]]:
    """A callable: one more round, which has to find what a round without memo finds."""
    kept = Memo()

    def look() -> list[Tile | TileFailure]:
        found = list(tiles_of([folder], options, memo=kept))
        assert told(found) == told(list(tiles_of([folder], options)))
        return found

    look()
    return look


def write_everything(folder: Path) -> None:
    """A stack, a band folder, a zip, an item, a tile file, and a stack whose unit nobody can prove."""
    write_stack(folder / "stack")
    write_folder(folder / "bands")
    with zipfile.ZipFile(folder / f"{ARCHIVE}.zip", "w") as archive:
        for path in sorted(write_folder(folder.parent / "packed").iterdir()):
            archive.write(path, path.name)
    write_optical_item(folder / "item", "S2_item", "2022-07-06T08:56:11Z")
    write_stack(folder / "named")
    keys = {"schema_version": 1, "id": "named", "optical": STACK}
    (folder / "named" / "x.tile.json").write_text(json.dumps(keys), encoding="utf-8")
    write_tiff(folder / "unproven.tif", optical(64, 64, low=2000, high=2800), COLOURS)


def test_what_did_not_change_is_not_opened_and_is_the_very_same_tile(tmp_path, opened):
    write_everything(tmp_path / "in")
    kept = Memo()
    first = list(tiles_of([tmp_path / "in"], memo=kept))
    assert len(first) == 6 and sum(isinstance(one, TileFailure) for one in first) == 1
    assert opened
    opened.clear()
    again = list(tiles_of([tmp_path / "in"], memo=kept))
    assert opened == []
    assert all(one is other for one, other in zip(first, again, strict=True))


def test_one_that_changed_is_opened_alone(tmp_path, opened):
    write_everything(tmp_path / "in")
    kept = Memo()
    first = list(tiles_of([tmp_path / "in"], memo=kept))
    changed = write_stack(tmp_path / "in" / "stack", seed=1)
    opened.clear()
    again = list(tiles_of([tmp_path / "in"], memo=kept))
    assert set(opened) == {changed}
    assert sum(one is not other for one, other in zip(first, again, strict=True)) == 1


def test_a_file_of_the_same_size_and_time_is_another_one(tmp_path):
    place = write_stack(tmp_path / "in")
    before = place.stat()
    look = rounds(tmp_path / "in")
    (first,) = look()
    other = write_tiff(tmp_path / "other.tif", optical(64, 64, low=200, high=900), COLOURS)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(place)
    assert (place.stat().st_size, place.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    (again,) = look()
    assert again is not first


def test_bands_come_and_go(tmp_path):
    write_folder(tmp_path / "in", BANDS[:3])
    look = rounds(tmp_path / "in")
    write_band_folder(tmp_path / "in" / PRODUCT, {"B08": optical(64, 64)[3]})
    (tile,) = look()
    assert isinstance(tile, Tile) and "nir" in tile.bands
    (tmp_path / "in" / PRODUCT / "B03.tif").unlink()
    (tile,) = look()
    assert isinstance(tile, Tile) and "green" not in tile.bands
    write_metadata(tmp_path / "in" / PRODUCT, **{"system:time_start": "2020-01-01T00:00:00Z", "level": "L1C"})
    look()
    shutil.rmtree(tmp_path / "in" / PRODUCT)
    (nothing,) = look()
    assert isinstance(nothing, TileFailure)
    write_folder(tmp_path / "in")
    assert isinstance(look()[0], Tile)


def test_side_files_are_a_part_of_a_file(tmp_path):
    """GDAL reads a nodata value, names and a place from files beside the raster."""
    path = write_stack(tmp_path / "in")
    look = rounds(tmp_path / "in")
    pam = "<PAMDataset>{}</PAMDataset>".format(
        "".join(f'<PAMRasterBand band="{i}"><NoDataValue>1234</NoDataValue></PAMRasterBand>' for i in (1, 2, 3, 4))
    )
    side = path.with_name(f"{path.name}.aux.xml")
    side.write_text(pam, encoding="utf-8")
    (tile,) = look()
    assert isinstance(tile, Tile) and tile.bands["red"].nodata == 1234
    side.write_text(pam.replace("1234", "1235"), encoding="utf-8")
    (tile,) = look()
    assert isinstance(tile, Tile) and tile.bands["red"].nodata == 1235
    side.unlink()
    (tile,) = look()
    assert isinstance(tile, Tile) and tile.bands["red"].nodata is None


def test_an_item_and_its_files_elsewhere_are_watched(tmp_path):
    item = write_optical_item(tmp_path / "in" / "a", "S2_item", "2022-07-06T08:56:11Z")
    content = json.loads(item.read_text())
    away = tmp_path / "away"
    away.mkdir()
    for asset in content["assets"].values():
        name = Path(asset["href"]).name
        (item.parent / asset["href"]).rename(away / name)
        asset["href"] = f"../../away/{name}"
    item.write_text(json.dumps(content))
    look = rounds(tmp_path / "in")
    (first,) = look()
    assert isinstance(first, Tile)
    content["properties"]["datetime"] = "2022-07-07T08:56:11Z"
    item.write_text(json.dumps(content))
    (second,) = look()
    assert isinstance(second, Tile) and second.acquired != first.acquired
    file = second.bands["red"].path
    moved = file.rename(file.with_suffix(".gone"))
    (failure,) = look()
    assert isinstance(failure, TileFailure) and "missing" in str(failure.error)
    moved.rename(file)
    assert told(look()) == told([second])
    write_tiff(file, optical(80, 96)[0], crs="EPSG:32634")
    assert told(look()) != told([second])


def test_the_metadata_of_a_safe_are_parsed_again_only_when_they_changed(tmp_path, monkeypatch):
    one = write_safe(tmp_path / "in")
    write_safe(tmp_path / "in", L2A_NEW.replace("T33NZA", "T33NZB"))
    texts: list[bytes] = []
    parse = safe.ElementTree.fromstring

    def counted(text: bytes) -> object:
        texts.append(text)
        return parse(text)

    monkeypatch.setattr(safe.ElementTree, "fromstring", counted)
    kept = Memo()
    first = list(tiles_of([tmp_path / "in"], memo=kept))
    assert len(texts) == 2
    again = list(tiles_of([tmp_path / "in"], memo=kept))
    assert len(texts) == 2 and all(tile is same for tile, same in zip(again, first, strict=True))
    xml = one / "MTD_MSIL2A.xml"
    xml.write_text(xml.read_text("utf-8").replace("04.00", "02.14"), encoding="utf-8")
    changed, same = tiles_of([tmp_path / "in"], memo=kept)
    assert isinstance(changed, TileFailure) and same is first[1] and len(texts) == 3


def test_archives_and_tile_files_are_read_again(tmp_path):
    write_everything(tmp_path / "in")
    look = rounds(tmp_path / "in")

    def found(name: str) -> Tile:
        (one,) = (one for one in look() if one.id == name)
        assert isinstance(one, Tile)
        return one

    assert "desc_vv" not in found(ARCHIVE).bands
    write_band_folder(tmp_path / "more", {"desc_vv": radar(64, 64)[0]})
    with zipfile.ZipFile(tmp_path / "in" / f"{ARCHIVE}.zip", "a") as archive:
        archive.write(tmp_path / "more" / "desc_vv.tif", "desc_vv.tif")
    assert "desc_vv" in found(ARCHIVE).bands
    keys = {"schema_version": 1, "id": "renamed", "optical": STACK}
    (tmp_path / "in" / "named" / "x.tile.json").write_text(json.dumps(keys), encoding="utf-8")
    assert found("renamed").event_time is None


def test_other_options_make_other_tiles(tmp_path):
    write_tiff(tmp_path / "unproven.tif", optical(64, 64, low=2000, high=2800), COLOURS)
    kept = Memo()
    (failure,) = tiles_of([tmp_path], memo=kept)
    (tile,) = tiles_of([tmp_path], SourceOptions(s2_offset="present"), memo=kept)
    assert isinstance(failure, TileFailure) and isinstance(tile, Tile)


def test_radar_that_arrives_joins_a_scene_that_is_known(tmp_path, opened):
    options = SourceOptions(event_time=utc_of("2022-07-01T00:00Z", "event"))
    write_stack(tmp_path / "in" / "optical")
    look = rounds(tmp_path / "in", options)
    (alone,) = look()
    assert isinstance(alone, Tile) and "desc_vv" not in alone.bands
    folder = tmp_path / "in" / "S1A_IW_GRDH_1SDV_20220707T050800_20220707T050825_032904_03CFBA_D457"
    write_band_folder(folder, dict(zip(("VV", "VH"), radar(64, 64), strict=True)))
    write_metadata(folder, **{"sat:orbit_state": "descending"})
    (tile,) = look()
    assert isinstance(tile, Tile) and "desc_vv" in tile.bands and len(tile.scenes) == 2


def test_a_failure_to_read_is_tried_again_though_nothing_changed(tmp_path, monkeypatch):
    """A disk that fails once is no reason to leave a tile out until somebody touches it."""
    path = write_folder(tmp_path / "in") / "B02.tif"
    whole = path.read_bytes()
    truncate(path)  # its header opens
    state = memo._state([path])
    monkeypatch.setattr(memo, "_state", lambda paths: state)
    kept = Memo()
    (failure,) = tiles_of([tmp_path / "in"], memo=kept)
    assert isinstance(failure, TileFailure) and "is the file complete" in str(failure.error)
    path.write_bytes(whole)
    (tile,) = tiles_of([tmp_path / "in"], memo=kept)
    assert isinstance(tile, Tile)


def test_a_change_while_a_file_is_read_is_seen_the_next_time(tmp_path, monkeypatch):
    path = write_stack(tmp_path / "in")
    real = opening.open_raster

    def changes_after(where: Path):
        dataset = real(where)
        write_stack(tmp_path / "in", seed=5, nodata=7.0)
        monkeypatch.setattr(opening, "open_raster", real)
        return dataset

    monkeypatch.setattr(opening, "open_raster", changes_after)
    kept = Memo()
    (first,) = tiles_of([tmp_path / "in"], memo=kept)
    (second,) = tiles_of([tmp_path / "in"], memo=kept)
    assert isinstance(first, Tile) and isinstance(second, Tile) and path.exists()
    assert (first.bands["red"].nodata, second.bands["red"].nodata) == (None, 7.0)


def test_what_is_gone_is_forgotten_and_what_failed_holds_nothing_that_was_read(tmp_path):
    write_everything(tmp_path / "in")
    kept = Memo()
    found = list(tiles_of([tmp_path / "in"], memo=kept))
    (failure,) = (one for one in found if isinstance(one, TileFailure))
    assert failure.error.__traceback__ is failure.error.__cause__ is failure.error.__context__ is None
    full = len(kept)
    for path in (tmp_path / "in").iterdir():
        if path.name != "stack":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for _ in range(2):  # the first round does not ask for it any more
        list(tiles_of([tmp_path / "in"], memo=kept))
    assert 0 < len(kept) < full


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


ACTIONS: dict[str, Callable[[Path, int], object]] = {
    "stack": lambda folder, seed: write_stack(folder / "s", seed, nodata=None if seed % 2 else 1200.0),
    "no stack": lambda folder, seed: _remove(folder / "s" / STACK),
    "band": lambda folder, seed: write_folder(folder / "f", BANDS[: 1 + seed % 4], seed),
    "no band": lambda folder, seed: _remove(folder / "f" / PRODUCT / f"{BANDS[seed % 4]}.tif"),
    "metadata": lambda folder, seed: write_metadata(folder / "f" / PRODUCT, date=f"2022-07-0{1 + seed % 9}"),
    "item": lambda folder, seed: write_optical_item(
        folder / "i", f"S2_{seed % 2}", f"2022-07-0{1 + seed % 9}T08:56:11Z"
    ),
    "no item": lambda folder, seed: _remove(folder / "i" / f"S2_{seed % 2}.json"),
    "no folder": lambda folder, seed: _remove(folder / "sfi"[seed % 3]) if (folder / "sfi"[seed % 3]).exists() else 0,
    "cut": lambda folder, seed: truncate(folder / "s" / STACK) if (folder / "s" / STACK).exists() else 0,
    "nothing": lambda folder, seed: None,
}


@SETTINGS
@given(actions=st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 9)), min_size=3, max_size=8))
def test_whatever_happens_a_memo_changes_no_answer(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("in")
    write_stack(folder / "s")
    write_folder(folder / "f")
    write_optical_item(folder / "i", "S2_0", "2022-07-06T08:56:11Z")
    look = rounds(folder)
    for name, seed in actions:
        ACTIONS[name](folder, seed)
        look()
