"""Forest and network, ensemble, exits, bundle, products: by the commands alone, each step checked against the next."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from cascade_runs import between, build_cascade, patches_of, write_cascade, write_tile
from commands import files, invoke
from single_run import fixed, products, run_once
from tiles import L2A_NEW

from lsd.benchmarks.whole_tile_cascade import notebook_way
from lsd.benchmarks.whole_tile_input import Content
from lsd.export import encoder_gate
from lsd.export.cli.main import main as lsd_export
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import GOLDEN_NAME, open_bundle
from lsd.runtime.calibration import Calibration
from lsd.runtime.chain import Chain
from lsd.runtime.cli.run import main as lsd_run
from lsd.runtime.errors import GateError
from lsd.runtime.npz import npz_bytes
from lsd.runtime.parity import HIGH, LOW, check_golden, require
from lsd.runtime.run import RunPlan
from lsd.runtime.scores import LEFT_AT_FOREST, WHOLE_ENSEMBLE
from lsd.runtime.scoring import ScoringOptions

pytestmark = pytest.mark.slow
pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="asks the networks")

ROWS, COLUMNS = 4, 7
EVERY_CHECK = ("--force", "all")  # of the acquisition: noise is no ground
PIXELS = between(ROWS, COLUMNS)


@pytest.fixture(scope="module")
def few():
    """The gate of networks on few patches, and the network exported once for all builds: it takes seconds."""
    from lsd.export import bundle_from_runs

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(encoder_gate, "CHECKED_PATCHES", 64)
        monkeypatch.setattr(bundle_from_runs, "converted_encoder", _once(bundle_from_runs.converted_encoder))
        yield


def _once(original):
    kept = []

    def convert(*arguments):
        if not kept:
            kept.append(original(*arguments))
        return kept[0]

    return convert


@pytest.fixture(scope="module")
def place(tmp_path_factory, few):
    """Runs, `bundle` and `tile`."""
    place = tmp_path_factory.mktemp("cascade")
    run = write_cascade(place)
    done = build_cascade(run, place / "bundle")
    assert done.code == 0, done.err
    write_tile(place / L2A_NEW, PIXELS)
    return place


@pytest.fixture(scope="module")
def opened(place):
    return open_bundle(place / "bundle")


def scored(place, out, *words):
    """Probability and stage of every patch, (n,), and the summary."""
    done = invoke(lsd_run, place / "bundle", place / L2A_NEW, "-o", out, "--threads", 1, *EVERY_CHECK, *words)
    assert done.code == 0, done.err
    (path,) = out.rglob("scores.tif")
    with rasterio.open(path) as dataset:
        bands = {name: dataset.read(at).ravel() for at, name in enumerate(dataset.descriptions, start=1)}
    return bands["probability"], bands["stage"], json.loads((out / "summary.json").read_text())


def expected(chain):
    """First and whole probability of the tile's patches, (n,) each, by the chain's own parts."""
    (configuration,), patches = chain.manifest.configurations, patches_of(PIXELS)
    rows = chain.features(configuration, patches, BAND_NAMES)
    margins = {member: chain.forests[member].margins(values) for member, values in rows.items()}
    whole = chain.probabilities(configuration, margins, chain.encoded(configuration, patches, BAND_NAMES))
    return chain.first_probability(configuration, configuration.exit, margins), whole


def test_products_say_what_the_forest_says_first_and_the_whole_ensemble_then(place, opened, tmp_path):
    probability, stage, summary = scored(place, tmp_path / "out")
    (configuration,), chain = opened.manifest.configurations, Chain(opened)
    exit, (first, whole) = configuration.exit, expected(chain)
    left = (first < exit.low) | (first > exit.high)
    assert left.any() and not left.all()  # or the tile would show nothing
    np.testing.assert_array_equal(stage, np.where(left, LEFT_AT_FOREST, WHOLE_ENSEMBLE))
    (tile,) = summary["tiles"]
    assert tile["counts"]["exited"] == left.sum() and tile["counts"]["patches"] == left.size
    np.testing.assert_array_equal(probability[~left], whole[~left].astype(np.float32))
    np.testing.assert_array_equal(probability[left], exit.calibration.apply(first[left]).astype(np.float32))


def test_without_exits_every_patch_gets_the_whole_ensemble(place, opened, tmp_path):
    probability, stage, summary = scored(place, tmp_path / "out", "--exit", "off")
    _, whole = expected(Chain(opened))
    assert (stage == WHOLE_ENSEMBLE).all() and summary["tiles"][0]["counts"]["exited"] == 0
    np.testing.assert_array_equal(probability, whole.astype(np.float32))


def test_exits_by_hand(place, opened, tmp_path):
    _, stage, _ = scored(place, tmp_path / "out", "--exit", "0.3,0.6")
    first, _ = expected(Chain(opened))
    np.testing.assert_array_equal(stage == LEFT_AT_FOREST, (first < 0.3) | (first > 0.6))


def test_certified_exits_are_not_claimed(place, tmp_path):
    """90 patches cannot prove a bound of .3 %: the policy was another one."""
    done = invoke(lsd_run, place / "bundle", place / L2A_NEW, "-o", tmp_path / "out", "--exit", "certified")
    assert done.code == 2 and "all by policy exit-75" in done.error


def test_how_patches_are_gathered_does_not_change_a_byte(place, opened, tmp_path):
    scored(place, tmp_path / "cli")
    scored(place, tmp_path / "windows", "--window-rows", 3, "--window-columns", 2, "--batch-size", 5)
    plain, windows = (files(tmp_path / name) for name in ("cli", "windows"))
    kept = {name for name in plain if name.startswith(f"{L2A_NEW}/")}
    assert kept and all(plain[name] == windows[name] for name in kept)
    found = []
    for at, changed in enumerate(({}, {"waiting": 1}, {"window_rows": 4, "waiting": 3})):
        plan = RunPlan(scoring=replace(ScoringOptions(), **changed), force=frozenset({"all"}))
        run_once([place / L2A_NEW], tmp_path / str(at), fixed(opened), plan)
        found.append(products(tmp_path / str(at)))
    assert any(name.endswith("scores.tif") for name in found[0])
    assert found[0] == found[1] == found[2]


# --- the certificate -------------------------------------------------------------------------------------------------


def exit_stages(document):
    return {one["stage"]: one for one in document["stages"] if one["stage"].startswith("exit")}


def test_the_certificate_says_who_leaves(place, opened):
    document = json.loads((place / "bundle" / "certificate.json").read_text())
    patches, rows, limits = exit_stages(document).values()
    golden, (configuration,) = opened.golden(), opened.manifest.configurations
    margins = {member: golden[f"all/{member}/margins"] for member in opened.manifest.members}
    exit, first = configuration.exit, Chain(opened).first_probability(configuration, configuration.exit, margins)
    names = [str(name) for name in golden["names"]]
    sides = {name: "low" if p < exit.low else "high" for name, p in zip(names, first, strict=True)
             if p < exit.low or p > exit.high}  # fmt: skip
    assert sides and patches["leave"]["patches"] == patches["leave_by_reference"]["patches"] == sides
    assert patches["values"] == len(names) and patches["flips"] == patches["nan_mismatches"] == 0
    assert rows["values"] == 90 + 3_000 and rows["leave"]["low"] and rows["leave"]["high"] and not rows["max_error"]
    assert limits["passed"] and "flips" in limits
    stored = golden["all/exit/side"]
    assert [names[at] for at in np.flatnonzero(stored)] == list(sides)
    assert not [one for one in document["stages"] if "leave" in one and not one["stage"].startswith("exit")]


def test_an_exit_that_changes_between_run_and_bundle_is_refused(place, tmp_path, monkeypatch):
    from lsd.export import bundle_from_runs as module

    original = module._manifest

    def moved(*arguments):
        manifest = original(*arguments)
        (one,) = manifest.configurations
        exit = replace(one.exit, low=one.exit.low + 0.1)
        return replace(manifest, configurations=(replace(one, exit=exit),))

    monkeypatch.setattr(module, "_manifest", moved)
    monkeypatch.setattr(module, "certify_encoders", lambda *arguments: [])
    done = build_cascade(place / "both", tmp_path / "b")
    assert done.code == 3 and "exit: " in done.error and not (tmp_path / "b").exists()


def test_the_target_is_held_to_what_was_certified(place, opened, tmp_path):
    """`lsd-export verify` and the self-test of lsd-run compare with the stored sides, not with their own rule."""
    chain = Chain(opened)
    (stage,) = [one for one in check_golden(opened, chain) if one.stage == "exit"]
    assert stage.passed and stage.leave == stage.leave_by_reference and stage.leave.low + stage.leave.high > 0
    golden = dict(opened.golden())
    at = int(np.flatnonzero(golden["all/exit/side"])[0])
    side = golden["all/exit/side"].copy()
    side[at] = LOW if side[at] == HIGH else HIGH
    changed = replace(opened, contents={**opened.contents, GOLDEN_NAME: npz_bytes({**golden, "all/exit/side": side})})
    (stage,) = [one for one in check_golden(changed, chain) if one.stage == "exit"]
    assert not stage.passed and stage.flips == 1
    with pytest.raises(GateError, match=f"exits differ for '{golden['names'][at]}'"):
        require([stage], "here")
    verified = invoke(lsd_export, "verify", place / "bundle", "--threads", 1)
    assert verified.code == 0 and " leave low, " in verified.out


def test_a_bundle_made_before_sides_were_stored_is_still_proven(opened):
    golden = {name: value for name, value in opened.golden().items() if "/exit/" not in name}
    old = replace(opened, contents={**opened.contents, GOLDEN_NAME: npz_bytes(golden)})
    (stage,) = [one for one in check_golden(old, Chain(opened)) if one.stage == "exit"]
    assert stage.passed and stage.leave.low + stage.leave.high > 0


def test_an_ensemble_made_again_drops_its_exits(place, tmp_path):
    """The bundle says why it has none."""
    for name in ("both", "forest", "net", "patches"):
        shutil.copytree(place / name, tmp_path / name)
    run = tmp_path / "both" / "run.json"
    document = json.loads(run.read_text())
    run.write_text(json.dumps({**document, "threshold": document["threshold"] / 2}))
    from lsd.export.sources import sources_of

    (source,) = sources_of(tmp_path / "both")
    assert source.exit is None and "lsd-train cascade again" in source.exit_dropped


def test_the_notebook_way_gives_the_answers_of_the_bundle(place, opened):
    """The benchmark's other way (`lsd.benchmarks.notebook_way`): the same models by their own libraries."""
    found = notebook_way(place / "both", opened, Content(place / "patches"), 8, 1000)
    assert found["largest_difference_without_flips"] < 1e-5 and found["turns"] == 1
    stages = found["microseconds_a_patch"]
    assert set(stages) == {"statistics", "forests", "networks_one_view", "networks_three_flips"}
    assert all(0 < one["least"] <= one["mean"] <= one["greatest"] for one in stages.values())
    all_us, seconds = found["microseconds_a_patch_all"]["mean"], found["extrapolated_seconds"]["mean"]
    assert seconds == pytest.approx(1000 * all_us / 1e6, abs=0.06)


def test_another_ensemble_is_no_comparison(place, opened):
    """A bundle whose forest says something else is not measured beside these runs."""
    (one,) = opened.manifest.configurations
    other = replace(one, calibration=Calibration("platt", (0.5, 0.3)))
    changed = replace(opened, manifest=replace(opened.manifest, configurations=(other,)))
    with pytest.raises(GateError, match="give the ensemble that the bundle was made of"):
        notebook_way(place / "both", changed, Content(place / "patches"), 8, 1000)
