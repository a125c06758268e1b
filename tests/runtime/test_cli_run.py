"""lsd-run as its user meets it: what it says where, exit codes, wrong use."""

from __future__ import annotations

import json

import pytest
from commands import files, invoke
from tiles import L2A_NEW, L2A_OLD, optical, write_tiff

from lsd.runtime.cli.run import main

PRODUCTS = {
    f"{L2A_NEW}/{name}"
    for name in ("detections.geojson", "detections.gpkg", "scores.tif", "quicklook.png", "item.json")
}
OF_THE_RUN = {"summary.json", "index.html", "collection.json"}


def test_a_good_tile(bundle, good, tmp_path):
    ran = invoke(main, bundle, good, "-o", tmp_path / "out")
    assert ran.code == 0
    assert set(files(tmp_path / "out")) == PRODUCTS | OF_THE_RUN
    heading, row, totals, look, products, page = ran.out.splitlines()
    assert heading.split()[:2] == ["tile", "patches"] and row.split()[:2] == [L2A_NEW, "4"]
    assert totals.startswith("1 of 1 tiles done: ") and str(tmp_path / "out" / "summary.json") in products
    assert page == f"look at: {tmp_path / 'out' / 'index.html'}"
    talk = ran.err.splitlines()
    assert talk[0].startswith("warning: this bundle was trained on synthetic data")
    assert look == f"look: {L2A_NEW}: no cloud layer read: clouds are not masked"
    assert talk[-1].startswith("DONE | Runtime: ") and talk[-1].endswith("| 4 patches")


def test_json_is_all_that_stands_on_stdout(bundle, good, tmp_path):
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", "--json", "--progress", "json", "-v")
    summary = json.loads(ran.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["bundle"]["synthetic"] is True and summary["options"]["stride"] == 64
    assert summary["tiles"][0]["products"] == {
        "detections": f"{L2A_NEW}/detections.geojson",
        "geopackage": f"{L2A_NEW}/detections.gpkg",
        "item": f"{L2A_NEW}/item.json",
        "quicklook": f"{L2A_NEW}/quicklook.png",
        "scores": f"{L2A_NEW}/scores.tif",
    }
    events = [json.loads(line)["event"] for line in ran.err.splitlines() if line.startswith("{")]
    assert (events[0], events[-1]) == ("start", "end")


def test_quiet_says_less_and_twice_nothing_but_errors(bundle, good, tmp_path):
    write_tiff(good / f"{L2A_OLD}.tif", optical(40, 40), ["red", "green", "blue", "nir"])
    once = invoke(main, bundle, good, "-o", tmp_path / "1", "-q")
    assert once.code == 1 and "TILES FAILED" in once.err.splitlines()[-1]
    twice = invoke(main, bundle, good, "-o", tmp_path / "2", "-qq")
    (line,) = twice.err.splitlines()
    assert line.startswith(f"failed: {L2A_OLD}: tile is 40 x 40 px") and twice.out == once.out.replace("/1/", "/2/")


@pytest.mark.parametrize(("flag", "first"), [("--doctor", "lsd-run --doctor"), ("--show-versions", "lsd-edge ")])
def test_facts_need_no_arguments(flag, first):
    ran = invoke(main, flag)
    assert ran.code == 0 and ran.out.startswith(first) and ran.err == ""


def test_overwrite_does_every_tile_again_and_gives_the_same_bytes(bundle, good, tmp_path):
    out = tmp_path / "out"
    assert invoke(main, bundle, good, "-o", out).code == 0
    first = files(out)
    stamp = (out / L2A_NEW / "scores.tif").stat().st_mtime_ns
    assert invoke(main, bundle, good, "-o", out, "--overwrite").code == 0
    second = files(out)
    assert (out / L2A_NEW / "scores.tif").stat().st_mtime_ns > stamp
    assert {name: second[name] for name in PRODUCTS} == {name: first[name] for name in PRODUCTS}
    assert set(second) == set(first)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"strid": 32}', "unknown key 'strid', did you mean 'stride'?"),
        ('{"stride": "32"}', "stride must be int, is '32'"),
        ('{"orbit": "polar"}', "orbit must be one of None, ascending, descending, is 'polar'"),
        ("[32]", "expected a JSON object, found list"),
        ("{", "is not JSON"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_configuration_file(bundle, good, tmp_path, config, message):
    if config is not None:
        (tmp_path / "run.json").write_text(config)
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", "--config", tmp_path / "run.json")
    assert ran.code == 2 and message in ran.error and not (tmp_path / "out").exists()


def test_flags_win_over_the_configuration_file(bundle, good, tmp_path):
    (tmp_path / "run.json").write_text('{"stride": 32, "batch_size": 3}')
    ran = invoke(
        main, bundle, good, "-o", tmp_path / "out", "--config", tmp_path / "run.json", "--stride", 16, "--json"
    )
    options = json.loads(ran.out)["options"]
    assert (options["stride"], options["batch_size"]) == (16, 3)


@pytest.mark.parametrize(
    ("flag", "value"), [("--stride", 0), ("--stride", 65), ("--batch-size", 0), ("--window-rows", 0)]
)
def test_a_number_out_of_range(bundle, good, tmp_path, flag, value):
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", flag, value)
    assert ran.code == 2 and f"{flag[2:].replace('-', '_')} must be 1.." in ran.error and f"is {value}" in ran.error


def test_a_source_that_is_not_there(bundle, tmp_path):
    ran = invoke(main, bundle, tmp_path / "nowhere", "-o", tmp_path / "out")
    assert ran.code == 2 and "nowhere does not exist; check the path" in ran.error


@pytest.mark.parametrize("below", [".", "out", "a/b"])
def test_an_output_in_the_source_is_refused(bundle, good, below):
    """The next run would read its products as tiles."""
    before = files(good)
    ran = invoke(main, bundle, good, "-o", good / below)
    assert ran.code == 2 and "lies in the source" in ran.error and files(good) == before


def test_overwrite_never_deletes_the_input(bundle, tmp_path):
    """A tile given by its own folder has its name: beside it, its products would take its place."""
    tile = tmp_path / "in" / L2A_NEW
    for name, pixels in zip(("B04", "B03", "B02", "B08"), optical(), strict=True):
        write_tiff(tile / f"{name}.tif", pixels)
    before = files(tmp_path)
    ran = invoke(main, bundle, tile, "-o", tmp_path / "in", "--overwrite")
    assert ran.code == 2 and f"{tile} holds the input of this tile; choose another folder" in ran.error
    assert files(tmp_path) == before


def test_overwrite_never_deletes_what_is_none_of_ours(bundle, good, tmp_path):
    kept = tmp_path / "out" / L2A_NEW / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    ran = invoke(main, bundle, good, "-o", tmp_path / "out", "--overwrite")
    assert ran.code == 2 and "holds no scores.tif, so it is not replaced" in ran.error
    assert kept.read_text() == "years of work"


def test_the_same_file_twice_is_one_tile_and_one_name_twice_two(bundle, good, tmp_path):
    names = ["red", "green", "blue", "nir"]
    other = write_tiff(tmp_path / "elsewhere" / f"{L2A_NEW}.tif", optical(seed=5), names)
    ran = invoke(main, bundle, good, good / f"{L2A_NEW}.tif", other, "-o", tmp_path / "out", "--json")
    ids = [tile["id"] for tile in json.loads(ran.out)["tiles"]]
    assert ran.code == 0 and ids == [f"in_{L2A_NEW}", f"elsewhere_{L2A_NEW}"]
    assert {path.split("/")[0] for path in files(tmp_path / "out")} == {*ids, *OF_THE_RUN}
