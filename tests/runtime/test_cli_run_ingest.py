"""lsd-run and inputs as archives deliver them: right, or refused in one clear line while the tile beside is done."""

from __future__ import annotations

import http.server
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import safe
from affine import Affine
from commands import files, invoke
from stac_items import write_item, write_optical_item, write_radar_item
from tiles import L2A_NEW, L2A_OLD, optical, radar, truncate, write_band_folder, write_tiff

from bundles import random_bundle, write
from lsd.runtime.cli.run import main
from lsd.runtime.scores import CLOUD, SCORED

NAMES = ["red", "green", "blue", "nir"]
GOOD = "S2A_MSIL2A_20240706T085611_N0510_R007_T33NZB_20240706T153419"  # after every event
FAR = Affine(10, 0, 600_000, 0, -10, 4_600_000)
UNKNOWN = L2A_NEW.replace("N0400", "N9999")
EVENT = "2024-04-02T23:58:00Z"
BEFORE, AFTER, LATER = "2024-03-25T05:00:00Z", "2024-04-06T05:00:00Z", "2024-04-18T05:00:00Z"
CLEAR_DAY = "2024-04-10T02:25:29Z"


def tile_file(folder: Path, **keys) -> Path:
    path = folder / "slope.tile.json"
    path.write_text(json.dumps({"schema_version": 1, **keys}), encoding="utf-8")
    return path


def all_before_the_event(folder: Path) -> Path:
    radar_tile()(folder)
    parts = ["S1A_pre.json", "S1A_post.json"]
    return tile_file(folder, optical="S2_a.json", radar=parts, event_time="2024-04-09T00:00:00Z")


def radar_tile(pre: str = BEFORE, post: str = AFTER, tracks: tuple[int, int] = (107, 107), **keys):
    """A tile file of an optical item and of two radar items with a role."""

    def write_it(folder: Path) -> Path:
        write_optical_item(folder, "S2_a", CLEAR_DAY)
        write_radar_item(folder, "S1A_pre", pre, tracks[0])
        write_radar_item(folder, "S1A_post", post, tracks[1])
        parts = {"radar_pre": ["S1A_pre.json"], "radar_post": ["S1A_post.json"]}
        return tile_file(folder, optical="S2_a.json", **{**parts, **keys})

    return write_it


def stack(name: str, pixels: np.ndarray | None = None, names=NAMES, **options) -> Callable[[Path], Path]:
    return lambda folder: write_tiff(folder / f"{name}.tif", optical() if pixels is None else pixels, names, **options)


def optical_item(properties: Mapping[str, object], low: int = 1100) -> Callable[[Path], Path]:
    """An item of Element84 with its own statement about the offset."""

    def write_it(folder: Path) -> Path:
        path = write_optical_item(folder, "S2A_33NZA", CLEAR_DAY)
        for key, pixels in zip(("red", "green", "blue", "nir"), optical(low=low), strict=True):
            write_tiff(folder / "S2A_33NZA" / f"{key}.tif", pixels)
        item = json.loads(path.read_text())
        item["properties"] = {"platform": "sentinel-2a", "datetime": CLEAR_DAY, **properties}
        path.write_text(json.dumps(item))
        return path

    return write_it


def missing_asset(folder: Path) -> Path:
    path = write_optical_item(folder, "S2_a", CLEAR_DAY)
    (folder / "S2_a" / "nir.tif").unlink()
    return path


def remote_asset(address: str) -> Callable[[Path], Path]:
    def write_it(folder: Path) -> Path:
        assets = {key: {"href": f"{address}/{key}.tif", "type": "image/tiff"} for key in NAMES}
        properties = {"platform": "sentinel-2a", "datetime": CLEAR_DAY, "s2:processing_baseline": "05.09"}
        return write_item(folder / "S2_a.json", "S2_a", assets, properties)

    return write_it


def closed_port() -> str:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as closed:
        return f"http://127.0.0.1:{closed.server_port}"


def half_a_safe(folder: Path) -> Path:
    path = safe.write_safe(folder, bands=("B04", "B03"))
    (path / "MTD_MSIL2A.xml").unlink()
    return path


def cut_zip(folder: Path) -> Path:
    return truncate(safe.zipped(safe.write_safe(folder / "whole"), folder / f"{L2A_NEW}.zip"))


def small_scl(folder: Path) -> Path:
    return safe.write_safe(folder, scl=np.full((32, 48), 4, np.uint8))


def other_scl_in_tile_file(folder: Path) -> Path:
    stack(L2A_NEW)(folder)
    write_tiff(folder / "other_SCL.tif", np.full((60, 96), 4, np.uint8))
    return tile_file(folder, optical=f"{L2A_NEW}.tif", clouds="other_SCL.tif")


def optical_before_the_event(folder: Path) -> Path:
    write_optical_item(folder, "S2_a", BEFORE)
    return tile_file(folder, optical="S2_a.json", event_time=EVENT)


@dataclass(frozen=True)
class Bad:
    """A bad input: how it is written (the path to give is returned), what its line says, with which options.

    fits_no_other: the options would be wrong for a good tile too.
    """

    write: Callable[[Path], Path]
    says: str
    options: tuple[str, ...] = ()
    fits_no_other: bool = False


SIGMA0 = 10 ** (radar() / 10)
BAD = {
    "reflectance that nobody declares": Bad(
        stack(L2A_NEW, optical().astype(np.float32) / 10_000),
        r"holds values of 0\.\.1 .*say --s2-offset reflectance, which makes DN = reflectance x 10,000 \+ 1,000",
    ),
    "reflectance declared of DN": Bad(
        stack(L2A_NEW),
        r"--s2-offset reflectance contradicts the data .* not 0\.\.1",
        ("--s2-offset", "reflectance"),
        True,
    ),
    "a picture of 8 bits": Bad(
        stack(L2A_OLD, (optical() // 10).astype(np.uint8)), r"neither DN .* nor reflectance 0\.\.1: a picture of 8 bits"
    ),
    "another quantification": Bad(
        lambda folder: safe.write_safe(folder, quantification=1000), r"BOA_QUANTIFICATION_VALUE is 1000, expected 10000"
    ),
    "radar of unknown unit": Bad(
        stack("x", SIGMA0.astype(np.float32), ["desc_vv", "desc_vh"]),
        r"desc_vv does not look like dB .*say --radar-unit power \(it is converted by 10 log10\)",
    ),
    "radar declared against its values": Bad(
        stack("x", radar(), ["desc_vv", "desc_vh"]), r"desc_vv is .*, but its values lie in", ("--radar-unit", "power")
    ),
    "unknown baseline in the name": Bad(stack(UNKNOWN), r"baseline 99\.99 in name .*_N9999_.* is no baseline"),
    "unknown baseline in a SAFE": Bad(
        lambda folder: safe.write_safe(folder, UNKNOWN, baseline="99.99"),
        r"baseline 99\.99 in metadata PROCESSING_BASELINE .*say --s2-offset present or --s2-offset absent",
    ),
    "no baseline at all": Bad(
        stack("scene"), r"nothing tells whether its DN hold the offset of 1,000 .*say --s2-offset"
    ),
    "flag against the data": Bad(
        optical_item({"earthsearch:boa_offset_applied": True}),
        r"boa_offset_applied is true.* as if it were still there; that flag errs .*say --s2-offset present",
    ),
    "flag against the baseline": Bad(
        optical_item({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}),
        r"sources disagree \(processing baseline 05\.09 .*; earthsearch:boa_offset_applied is true.*say --s2-offset",
    ),
    "baseline against the data": Bad(
        stack(L2A_NEW, optical(low=100)), r"baseline 04\.00 .*but .* have DN below 500.* say --s2-offset absent"
    ),
    "different tracks": Bad(
        radar_tile(tracks=(107, 173)),
        r"makes no pair: S1A_pre: track 107, not 173 as S1A_post; give scenes of one track",
    ),
    "pre not before post": Bad(radar_tile(pre=LATER), r"pre not before post: S1A_pre .* is stated as pre, S1A_post"),
    "role against the event": Bad(
        radar_tile(event_time="2024-04-08T00:00:00Z"),
        r"S1A_post is stated as post, but 2024-04-06.* is not after the event",
    ),
    "event time outside, radar": Bad(
        all_before_the_event,
        r"event time outside: every radar scene was taken before the event .*add one after the event, or correct",
    ),
    "event time outside, optical": Bad(
        lambda folder: safe.write_safe(folder),
        r"event time 2024-04-02T23:58:00Z is after every optical scene of this place; add a later scene, or correct",
        ("--event-time", EVENT),
    ),
    "optical before the event of a tile file": Bad(
        optical_before_the_event, r"was taken at 2024-03-25T05:00:00Z, not after the event \(2024-04-02T23:58:00Z\)"
    ),
    "half a SAFE": Bad(half_a_safe, r"is half a SAFE: it lacks MTD_MSIL2A\.xml, B02 at 10 m, B08 at 10 m; fetch"),
    "cut zip": Bad(cut_zip, r"cannot be read as zip \(.*\); is it complete\? Fetch it again"),
    "SCL of another size": Bad(
        small_scl,
        r"SCL_20m\.jp2: the scl layer covers .* \(48 x 32 px\), the optical bands .* \(192 x 128 px\): it belongs",
    ),
    "SCL of another size in a tile file": Bad(
        other_scl_in_tile_file, r"other_SCL\.tif: the scl layer covers .* \(96 x 60 px\), the optical bands"
    ),
    "missing asset": Bad(
        missing_asset, r"the file of asset nir of item S2_a is missing: .*nir\.tif; fetch it, or correct"
    ),
    "remote asset unasked": Bad(
        remote_asset("https://example.org"), r"asset blue of item S2_a is remote \(https://example\.org/.*give --remote"
    ),
    "remote asset without network": Bad(
        remote_asset(closed_port()), r"http://127\.0\.0\.1:\d+/\w+\.tif is remote and cannot be reached", ("--remote",)
    ),
    "unknown key": Bad(
        lambda folder: tile_file(folder, opticl="x"), r"opticl is no key of a tile file, did you mean 'optical'\?"
    ),
    "Level-1C SAFE": Bad(
        safe.write_level_1c, r"is Sentinel-2 Level-1C, top of atmosphere .*fetch the Level-2A product"
    ),
    "Level-1C zip": Bad(lambda folder: safe.zipped(safe.write_level_1c(folder / "x"), folder / "x.zip"), r"Level-1C"),
    "Sentinel-1 SAFE": Bad(
        safe.write_sentinel1, r"is a Sentinel-1 Level-1 product \(SAFE\): .*calibrate to sigma0 and geocode it first"
    ),
    "Sentinel-1 zip": Bad(
        lambda folder: safe.zipped(safe.write_sentinel1(folder / "x"), folder / f"{safe.SENTINEL_1}.zip"),
        r"is a Sentinel-1 Level-1 product \(SAFE\)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_input_is_one_line_and_the_tile_beside_it_is_done(bundle, tmp_path, what):
    bad = BAD[what]
    (tmp_path / "bad").mkdir()
    sources = [bad.write(tmp_path / "bad")]
    if not bad.fits_no_other:
        sources.append(write_tiff(tmp_path / "good" / f"{GOOD}.tif", optical(), NAMES, transform=FAR))
    ran = invoke(main, bundle, *sources, "-o", tmp_path / "out", *bad.options)
    assert ran.code == 1 and "Traceback" not in ran.err
    (line,) = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert re.search(bad.says, line), line
    done = {path.split("/")[0] for path in files(tmp_path / "out") if "/" in path}
    assert done == (set() if bad.fits_no_other else {GOOD})


def score_grid(out: Path) -> dict[str, np.ndarray]:
    (path,) = out.glob("*/scores.tif")
    with rasterio.open(path) as dataset:
        return dict(zip(dataset.descriptions, dataset.read(), strict=True))


@pytest.fixture
def clouded(tmp_path) -> Path:
    """A SAFE of 2 x 3 patches whose first patch is cloud by its SCL, though it does not look so."""
    scl = np.full((64, 96), safe.CLEAR, np.uint8)
    scl[:32, :32] = 9
    return safe.write_safe(tmp_path / "in", scl=scl)


def test_a_safe_zip_answers_as_its_folder(bundle, clouded, tmp_path):
    archive = safe.zipped(clouded, tmp_path / clouded.with_suffix(".zip").name)
    for source, out in ((clouded, "folder"), (archive, "zip")):
        ran = invoke(main, bundle, source, "-o", tmp_path / out, "--json")
        assert ran.code == 0, ran.err
        (tile,) = json.loads(ran.out)["tiles"]
        assert tile["id"] == L2A_NEW and tile["scenes"][0]["product"] == "Sentinel-2 L2A SAFE"
        reasons = {one["subject"]: one["reason"] for one in tile["decisions"]}
        assert reasons["Sentinel-2 offset"] == "metadata BOA_ADD_OFFSET -1000.0"
    one, other = score_grid(tmp_path / "folder"), score_grid(tmp_path / "zip")
    assert {name: band.tobytes() for name, band in one.items()} == {
        name: band.tobytes() for name, band in other.items()
    }
    assert np.isfinite(one["probability"]).sum() == 5


def test_cloud_by_the_layer_is_not_scored_with_its_reason(bundle, clouded, tmp_path):
    ran = invoke(main, bundle, clouded, "-o", tmp_path / "out", "--json")
    (tile,) = json.loads(ran.out)["tiles"]
    assert tile["counts"]["cloud"] == tile["counts"]["not_scored"] == 1 and tile["counts"]["patches"] == 6
    status = score_grid(tmp_path / "out")["status"]
    assert status[0, 0] == CLOUD and (np.delete(status.ravel(), 0) == SCORED).all()


def test_radar_answers_below_a_cloud(clouded, tmp_path):
    bundle = write(random_bundle(configurations=("optical", "desc_post")), tmp_path / "bundle")
    write_band_folder(tmp_path / "radar", dict(zip(("VV", "VH"), radar(128, 192), strict=True)))
    part = {"path": "radar", "orbit": "descending", "radar_unit": "db", "time": "2022-07-08T05:00:00Z"}
    source = tile_file(tmp_path, optical=str(clouded), radar=[part])
    ran = invoke(main, bundle, source, "-o", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    (tile,) = json.loads(ran.out)["tiles"]
    assert tile["configurations"] == {"optical": 5, "desc_post": 1} and tile["counts"]["not_scored"] == 0
    found = score_grid(tmp_path / "out")
    np.testing.assert_array_equal(found["configuration"], [[2, 1, 1], [1, 1, 1]])
    assert np.isfinite(found["probability"]).all()


def test_a_safe_without_offset_answers_as_one_with_it(bundle, tmp_path):
    """The same ground before and after baseline 04.00: DN without and with the offset, the same canonical values."""
    dn = optical(128, 192)
    safe.write_safe(tmp_path / "new", pixels=dn)
    safe.write_safe(tmp_path / "old", L2A_OLD, pixels=dn - 1000, baseline="02.14")
    for name in ("new", "old"):
        assert invoke(main, bundle, tmp_path / name, "-o", tmp_path / "out" / name).code == 0
    one, other = (score_grid(tmp_path / "out" / name) for name in ("new", "old"))
    assert {name: band.tobytes() for name, band in one.items()} == {
        name: band.tobytes() for name, band in other.items()
    }


def test_a_declaration_settles_what_is_refused_without_it(bundle, tmp_path):
    source = optical_item({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"})(tmp_path / "in")
    ran = invoke(main, bundle, source, "-o", tmp_path / "out", "--s2-offset", "present", "--json")
    assert ran.code == 0, ran.err
    (tile,) = json.loads(ran.out)["tiles"]
    (reason,) = [one["reason"] for one in tile["decisions"] if one["subject"] == "Sentinel-2 offset"]
    assert reason.startswith("sources disagree") and reason.endswith("declared by --s2-offset")


def test_a_folder_of_all_kinds_is_done_as_far_as_it_goes(bundle, clouded, tmp_path):
    """A SAFE, the zip of another one, Sentinel-1 Level-1 and half a SAFE beside each other."""
    folder = clouded.parent
    shutil.move(safe.zipped(safe.write_safe(tmp_path, GOOD)), folder)
    safe.write_sentinel1(folder)
    half_a_safe(folder / "broken")
    ran = invoke(main, bundle, folder, "-o", tmp_path / "out")
    assert ran.code == 1
    failures = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 2 and "2 OF 4 TILES FAILED" in ran.err
    assert {path.parent.name for path in (tmp_path / "out").glob("*/scores.tif")} == {L2A_NEW, GOOD}
