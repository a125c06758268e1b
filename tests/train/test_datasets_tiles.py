"""Patches of tiles: pixels as lsd-run's, whoever reads them; bands, events, tiles that cannot be used."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner
from labelled_tiles import NAME, moved, slide_mask, write_place, write_tile
from patch_sets import write_tiny_recipe
from tiles import L2A_NEW, optical, radar, truncate, write_band_folder, write_metadata, write_tiff

from lsd.runtime.errors import PatchFileError, TileError
from lsd.train.cli.main import main
from lsd.train.datasets.raster_labels import RasterLabels
from lsd.train.datasets.tiles import OPEN_TILES, tile_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def dataset(place):
    return tile_dataset(place / "tiles", RasterLabels(place / "mask.tif"))


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


def test_a_network_shows_how_far_the_labelling_of_its_tiles_is(place, tmp_path):
    """Also where that ends in an error: here no patch has a slide. 20 patches, and 10 more at the edges."""
    write_tiff(tmp_path / "none.tif", slide_mask() * 0)
    write_tiny_recipe(tmp_path / "tiny.json", epochs=1)
    words = ["encoder", "--tiles", place / "tiles", "--label-rasters", tmp_path / "none.tif", "--bands", "optical"]
    words += ["--recipe", tmp_path / "tiny.json", "-o", tmp_path / "run", "--progress", "json"]
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 2, done.output
    start, *_, end, error = done.stderr.splitlines()
    assert json.loads(start)["event"] == "start" and "training needs both classes" in error
    assert {"event": "end", "done": 30, "note": "patches labelled"}.items() <= json.loads(end).items()
