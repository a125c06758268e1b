"""The whole tile: its content, exits by share, and results that are taken up again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from cascades import cascade_bundle
from click.testing import CliRunner
from patch_sets import write_patch_set

from bundles import random_bundle, write
from lsd.benchmarks import whole_tile_cascade
from lsd.benchmarks.notebook_way import Timed
from lsd.benchmarks.whole_tile_cascade import Results, by_stage, exit_words
from lsd.benchmarks.whole_tile_input import Content, inputs
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import Chain
from lsd.runtime.errors import UsageError
from lsd.runtime.exits import exits_of_text
from lsd.runtime.haze import is_hazy

pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="asks the encoders")


@pytest.fixture(scope="module")
def bundle():
    return cascade_bundle()


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio 1.4 writing windows with affine 3
def test_a_tile_holds_the_patches_of_a_folder(tmp_path):
    content = Content(write_patch_set(tmp_path / "made_up", 10))  # 3 x 3 of them
    tile, bands = inputs(tmp_path / "500", "folder", False, 500, content)
    assert bands == 12 and tile.parent.name == "500-made_up" and content.name == "SYNTHETIC: patches of made_up"
    red, blue = (content.patches[:, BAND_NAMES.index(name)] for name in ("red", "blue"))
    assert not is_hazy(red, blue).any()
    for at, band in enumerate(BAND_NAMES):
        with rasterio.open(tile / f"{band}.tif") as dataset:
            pixels = dataset.read(1)
        assert pixels.shape == (500, 500) and pixels.dtype == ("uint16" if at < 4 else "float32")
        np.testing.assert_array_equal(pixels[64:128, 128:192], content.patches[5, at])
        np.testing.assert_array_equal(pixels[256:320, 192:256], content.patches[3, at])  # repeated after 192 px


def test_real_patches_are_refused(tmp_path):
    folder = write_patch_set(tmp_path / "p", 10)
    (folder / "dataset.json").write_text(json.dumps({"name": "real", "licence": "none", "synthetic": False}))
    with pytest.raises(UsageError, match="expected made-up patches"):
        _ = Content(folder).patches


@pytest.mark.parametrize("share", [25, 85])
def test_an_exit_by_share_lets_so_many_leave(bundle, share):
    content = Content()
    low, high = exits_of_text(exit_words(bundle, f"{share}%", content))
    chain = Chain(bundle, exits=(low, high), opened={})
    one = chain.manifest.configurations[0]
    rows = chain.features(one, content.patches, BAND_NAMES)
    margins = {member: chain.forests[member].margins(values) for member, values in rows.items()}
    left = chain.exits["all"].leaves(chain.first_probability(one, chain.exits["all"], margins))
    assert abs(100 * left.mean() - share) <= 100 / 64  # of 64 patches


def test_other_exits_are_given_on_and_shares_need_exits(bundle):
    assert [exit_words(bundle, one, Content()) for one in ("off", "0.1,0.9")] == ["off", "0.1,0.9"]
    for asked, which in (("0%", bundle), ("x%", bundle), ("85%", random_bundle())):
        with pytest.raises(UsageError, match=f"exit '{asked}': expected a share"):
            exit_words(which, asked, Content())


def test_microseconds_and_stages_are_shares_of_one_tile(bundle):
    counts = {"patches": 200, "patches_left_early": 120, "patches_not_scored": 30, "configurations": {"all": 170}}
    found = by_stage(bundle, {**counts, "seconds": {"score": 0.5}, "wall_s": 2.0})
    stages = {"left_at_the_forest": 120, "networks_asked": 50, "forests_alone": 0, "not_scored": 30}
    assert found["patches_by_stage"] == stages
    assert found["microseconds_a_patch"] == {"score": 2500.0, "wall": 10_000.0}
    counts["patches_left_early"] = 0
    alone = by_stage(random_bundle(), {**counts, "seconds": {}, "wall_s": 2.0})["patches_by_stage"]
    assert (alone["networks_asked"], alone["forests_alone"]) == (0, 170)


def test_a_tile_is_extrapolated_from_the_mean_and_its_spread():
    found = Timed({"a": [1.0, 3.0], "b": [10.0, 10.0]}, np.zeros(0)).to_json(1_000_000)
    assert found["microseconds_a_patch"]["a"] == {"mean": 2.0, "std": 1.0, "least": 1.0, "greatest": 3.0}
    assert found["extrapolated_seconds"] == {"mean": 12.0, "least": 11.0, "greatest": 13.0}


def test_results_of_the_same_conditions_are_kept(tmp_path):
    file = tmp_path / "r.json"
    Results(file, {"conditions": {"commit": "a"}}).add("exit off", {"patches": 1})
    assert not Results(file, {"conditions": {"commit": "a"}}).lacks("exit off")
    assert Results(file, {"conditions": {"commit": "b"}}).lacks("exit off")
    assert "SYNTHETIC" in json.loads(file.read_text())["note"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio 1.4 writing windows with affine 3
def test_the_command_measures_every_way_once(bundle, tmp_path, monkeypatch):
    write(bundle, tmp_path / "bundle")
    write(random_bundle(), tmp_path / "forests")
    words = [str(tmp_path / "bundle"), "--forests", str(tmp_path / "forests"), "--exit", "50%"]
    words += ["--size", "256", "--folder", str(tmp_path / "t"), "-o", str(tmp_path / "r.json")]
    done = CliRunner().invoke(whole_tile_cascade.main, words)
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["tile"]["content"].startswith("SYNTHETIC") and len(done.stdout.splitlines()) == 3
    ways = document["ways"]
    assert list(ways) == ["forests alone", "exit 50%"]
    assert all(sum(one["patches_by_stage"].values()) == one["patches"] == 16 for one in ways.values())
    assert ways["forests alone"]["patches_by_stage"]["left_at_the_forest"] == 0
    assert ways["exit 50%"]["patches_by_stage"]["left_at_the_forest"] > 0
    monkeypatch.setattr(whole_tile_cascade, "measured", None)  # everything is there: nothing is measured again
    again = CliRunner().invoke(whole_tile_cascade.main, words)
    assert again.exit_code == 0 and again.stdout == done.stdout


def test_a_sample_that_does_not_fill_its_turns_is_refused(bundle, tmp_path):
    words = [str(tmp_path), "--sample", "12", "--folder", str(tmp_path), "-o", str(tmp_path / "r.json")]
    done = CliRunner().invoke(whole_tile_cascade.main, words)
    assert done.exit_code == 2 and "--sample must be a multiple of 8, is 12" in done.output
