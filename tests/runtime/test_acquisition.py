"""Faults that only the pixels tell; ordinary scenes stay without a word."""

from __future__ import annotations

import re

import numpy as np
import pytest
from faulty_scenes import N, land, swapped, water

from lsd.runtime.acquisition.finding import Finding, Unjudged, is_forced
from lsd.runtime.acquisition.gate import CHECK_NAMES, Verdict, decisions_of, judged, refuse_certain
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.acquisition.signal import piled_up
from lsd.runtime.errors import TileError

OPTICAL = ("red", "green", "blue", "nir")


def found(samples, has_cloud_layer=False) -> list[Finding]:
    return list(judged(SampledScene(samples, has_cloud_layer)).findings)


def only(samples) -> Finding:
    (one,) = found(samples)
    return one


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_ground(seed):
    verdict = judged(SampledScene(land(seed)))
    assert verdict == Verdict()


@pytest.mark.parametrize("short", ["desc", "asc"])
def test_swapped_channels_are_certain(short):
    (one,) = [one for one in found(swapped(land(), f"{short}_vv", f"{short}_vh")) if one.certainty == "certain"]
    orbit = {"desc": "descending", "asc": "ascending"}[short]
    assert one.check == "vv-and-vh"
    assert re.fullmatch(rf"{orbit}: VH exceeds VV by [67]\.\d dB .*correct the names of the bands", one.text)


@pytest.mark.parametrize("level", [0.0, 1.3, -20.0])
def test_a_difference_that_is_the_same_everywhere_is_certain(level):
    (one,) = [one for one in found(land(desc_dvv=np.full(N, level))) if one.certainty == "certain"]
    assert one.check == "constant-band" and re.match(r"desc_dvv is .* dB everywhere", one.text)


@pytest.mark.parametrize(
    ("band", "value", "certainty"),
    [("red", 1500.0, "certain"), ("nir", 1001.0, "likely"), ("asc_vv", -10.0, "certain")],
)
def test_a_band_of_one_value(band, value, certainty):
    samples = land()
    samples[band] = np.full(N, value)
    samples[band][:20] += 300.0 * (band in OPTICAL)  # a few stray pixels do not hide it
    assert ("constant-band", certainty) in {(one.check, one.certainty) for one in found(samples)}


def test_an_empty_band_beside_others_is_told():
    one = only(land(desc_dvh=np.full(N, np.nan)))
    assert one.check == "empty-band" and "desc_dvh is 0 or nodata throughout" in one.text
    one = only(land(green=np.full(N, np.nan)))
    assert one.check == "empty-band" and "saturated beyond 30000 DN" in one.text


def test_a_direction_or_sensor_that_is_empty_altogether_is_no_fault():
    samples = land()
    nothing = np.full(N, np.nan)
    assert found({name: nothing if name.startswith("asc") else x for name, x in samples.items()}) == []
    assert found({name: nothing if name in OPTICAL else x for name, x in samples.items()}) == []


@pytest.mark.parametrize(
    ("band", "share", "expected"),
    [("red", 0.1, ["likely"]), ("red", 0.005, []), ("desc_vv", 0.1, ["likely"]), ("desc_vv", 0.4, ["certain"])],
)
def test_values_cut_off_at_the_top(band, share, expected):
    samples = land()
    samples[band] = np.minimum(samples[band], np.quantile(samples[band], 1 - share))
    assert [one.certainty for one in found(samples) if one.check == "cut-off"] == expected


def test_radar_cut_off_below_is_told_and_dark_water_is_not():
    samples = land()
    samples["asc_vh"] = np.maximum(samples["asc_vh"], np.quantile(samples["asc_vh"], 0.05))
    samples["nir"] = np.maximum(samples["nir"], np.quantile(samples["nir"], 0.05))
    (one,) = [one for one in found(samples) if one.check == "cut-off"]
    assert one.certainty == "likely" and "of asc_vh is its lowest value" in one.text


def test_a_pile_stands_out_from_its_neighbours():
    rng = np.random.default_rng(3)
    assert piled_up(rng.integers(1100, 1130, N).astype(float))[1] == 0
    assert piled_up(rng.normal(0, 1, N))[1] == 0
    assert piled_up(np.minimum(rng.normal(0, 1, N), 1.0)) == (1.0, pytest.approx(0.16, abs=0.02))
    assert piled_up(np.full(N, 3.0)) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("bands", "change", "check", "expected"),
    [
        (OPTICAL, lambda x: x + 1000, "offset", "added twice"),
        (OPTICAL, lambda x: x - 1000, "offset", "offset of 1,000 is missing"),
        (("desc_vv", "desc_vh"), lambda x: 0.5 * x, "vv-and-vh", "descending: VV exceeds VH by 3"),
        (("desc_vv", "desc_vh"), lambda x: 2 * x, "vv-and-vh", "on land"),
        (("desc_vv", "desc_vh"), lambda x: x + 25, "level", "outside of -36..5 dB"),
        (("desc_dvv",), lambda x: x + 3, "difference-median", r"median \+[23]\.\d dB over the scene"),
        (("desc_dvv",), lambda x: x / 4, "difference-spread", "varies by 0.5. dB only"),
    ],
)
def test_a_fault_is_told(bands, change, check, expected):
    samples = land()
    said = found(samples | {band: change(samples[band]) for band in bands})
    assert any(one.check == check and re.search(expected, one.text) for one in said), said


def test_red_and_blue_swapped():
    (one,) = [one for one in found(swapped(land(), "red", "blue")) if one.check == "red-and-blue"]
    assert one.certainty == "likely" and "red and blue are not swapped" in one.text


def test_a_difference_of_the_other_sign_is_told_and_the_scenes_exchanged_are_not():
    samples = land()
    one = only(samples | {"asc_dvh": -samples["asc_dvh"]})
    assert one.check == "difference-pairing" and one.text.startswith("asc_dvh falls where asc_vh rises")
    exchanged = dict(samples)
    for short in ("desc", "asc"):
        for channel in ("vv", "vh"):
            exchanged[f"{short}_{channel}"] = samples[f"{short}_{channel}"] - samples[f"{short}_d{channel}"]
            exchanged[f"{short}_d{channel}"] = -samples[f"{short}_d{channel}"]
    assert found(exchanged) == []  # no data can tell


@pytest.mark.parametrize(("a", "b"), [("desc_dvv", "desc_dvh"), ("desc_dvv", "asc_dvv")])
def test_a_difference_under_the_name_of_another_is_told(a, b):
    said = found(swapped(land(), a, b))
    assert {one.check for one in said} == {"difference-pairing"} and len(said) == 2
    assert all("check the names of the bands" in one.text for one in said)


def test_one_decibel_is_no_fault():
    assert found({name: x + (1 if name.endswith(("_vv", "_vh")) else 0) for name, x in land().items()}) == []


def test_bright_ground():
    samples = land()
    cloud = np.arange(N) < N // 4
    for band in OPTICAL:
        samples[band] = np.where(cloud, 6000.0 + np.arange(N) % 97, samples[band])
    (one,) = [one for one in found(samples) if one.check == "bright-scene"]
    assert one.text.startswith("25% of the scene is bright as cloud")
    (one,) = [one for one in found(samples, has_cloud_layer=True) if one.check == "bright-scene"]
    assert one.text.startswith("25% of what its cloud layer calls clear is bright as cloud")


def test_too_few_pixels_or_bands_are_not_judged():
    wild = {name: -x[:500] for name, x in land().items()}
    verdict = judged(SampledScene(wild))
    assert verdict.findings == ()
    assert {one.check for one in verdict.unjudged} == {
        "constant-band", "cut-off", "vv-and-vh", "difference-pairing", "offset", "red-and-blue",
    }  # fmt: skip
    assert judged(SampledScene({})) == Verdict()


def test_under_cloud_offset_and_colours_are_not_judged_and_it_says_so():
    samples = land()
    cloud = np.arange(N) % 5 > 0
    for band in OPTICAL:
        samples[band] = np.where(cloud, 8000.0, samples[band] + 1000)
    verdict = judged(SampledScene(samples))
    assert not any(one.check == "offset" for one in verdict.findings)
    assert {one.check for one in verdict.unjudged} == {"offset", "red-and-blue"}
    (decision,) = [one for one in decisions_of(verdict) if one.subject == "acquisition check offset"]
    assert decision.choice == "not judged" and "quarter" in decision.reason


def test_open_sea_has_no_colours_of_land():
    verdict = judged(SampledScene(water()))
    assert verdict.findings == ()
    assert [one.check for one in verdict.unjudged] == ["red-and-blue"]


CERTAIN = Finding("vv-and-vh", "certain", "VH exceeds VV")
ALSO = Finding("constant-band", "certain", "red is 1500 DN everywhere")
LIKELY = Finding("offset", "likely", "dark")


def test_certain_faults_refuse_and_name_their_checks():
    refuse_certain(Verdict((LIKELY,)), "tile T")
    with pytest.raises(TileError) as raised:
        refuse_certain(Verdict((CERTAIN, LIKELY, ALSO)), "tile T")
    assert str(raised.value) == (
        "tile T: VH exceeds VV; red is 1500 DN everywhere "
        "(use it all the same: --force vv-and-vh --force constant-band)"
    )
    with pytest.raises(TileError, match=r"tile T: red is .*: --force constant-band\)"):
        refuse_certain(Verdict((CERTAIN, ALSO)), "tile T", {"vv-and-vh"})
    for force in (True, {"all"}, ["vv-and-vh", "constant-band"]):
        refuse_certain(Verdict((CERTAIN, ALSO)), "tile T", force)


def test_what_was_overruled_is_kept():
    verdict = Verdict((CERTAIN, LIKELY), (Unjudged("offset", "a"), Unjudged("offset", "b"), Unjudged("offset", "a")))
    overruled, unjudged = decisions_of(verdict, True)
    assert (overruled.subject, overruled.choice, overruled.reason) == (
        "acquisition check vv-and-vh", "overruled by --force", "VH exceeds VV",
    )  # fmt: skip
    assert (unjudged.choice, unjudged.reason) == ("not judged", "a; b")
    assert verdict.warnings == ("VH exceeds VV", "dark")
    assert decisions_of(Verdict((CERTAIN,))) == ()


def test_force_of_nothing_one_and_all():
    assert not is_forced("offset", False) and not is_forced("offset", ())
    assert is_forced("offset", True) and is_forced("offset", {"all"}) and is_forced("offset", ["offset"])
    assert not is_forced("offset", ["level"])
    assert len(set(CHECK_NAMES)) == len(CHECK_NAMES)
