"""Networks and ensembles become bundles, and lsd-run asks them: every command as its user gives it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from commands import invoke
from encoder_runs import CONV_RECIPE, spread_run, write_encoder_run
from patch_sets import write_patch_set, write_tiny_recipe
from tiles import L2A_NEW, optical, write_tiff

from lsd.export import encoder_gate, target_check
from lsd.export.cli.main import main as lsd_export
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.cli.run import main as lsd_run
from lsd.train.cli.main import main as lsd_train
from lsd.train.predictors import predictor_from_run

FEW = 64
GRAPHS = {f"encoders/net.{fold}{precision}.onnx" for fold in (0, 1) for precision in ("", ".fp16")}


@pytest.fixture(scope="module")
def few():
    """The gate on few patches: what it finds on 3,000 is another test's business."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(encoder_gate, "CHECKED_PATCHES", FEW)
        yield


@pytest.fixture(scope="module")
def networks(tmp_path_factory, few):
    """A bundle of one network of two folds that serves all bands, optical and radar."""
    place = tmp_path_factory.mktemp("networks")
    write_encoder_run(place / "net", CONV_RECIPE, folds=2)
    done = invoke(lsd_export, "build", place / "net", "-o", place / "bundle", "--threads", 1, "-q")
    assert done.code == 0, done.err
    return place


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tile") / "in"
    write_tiff(folder / f"{L2A_NEW}.tif", optical(192, 192), ["red", "green", "blue", "nir"])
    return folder


def test_a_network_is_whole_graphs_at_every_precision(networks):
    bundle = networks / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {name for name in manifest["files"] if name.endswith(".onnx")} == GRAPHS
    encoder = manifest["encoders"]["net"]
    assert encoder["bands"] == list(BAND_NAMES) and [len(bands) for bands in encoder["served"]] == [12, 4, 8]
    (plan, _) = json.loads((bundle / "encoders" / "net.fp16.json").read_text())
    assert plan["low_share"] > 0.5 and all(node["reason"] for node in plan["kept"])
    certificate = json.loads((bundle / "certificate.json").read_text())
    assert certificate["passed"] and certificate["inputs"]["checked_patches"] == FEW
    assert {"torch", "onnxruntime"} <= certificate["versions"].keys()
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "Network `net`: resnet10t" in card and "synthetic" in card and "Never judged on labelled patches" in card
    seen = invoke(lsd_export, "inspect", bundle)
    assert "net: weight 1, resnet10t, 14,117 parameters, 2 graph(s), at fp32, fp16" in seen.out


@pytest.mark.parametrize(
    "how", [(), ("--precision", "fp16"), ("--encoders", "openvino"), ("--encoder-batch", 3, "--threads", 1)]
)
def test_verify_with_what_is_installed(networks, how):
    if "openvino" in how:
        pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    done = invoke(lsd_export, "verify", networks / "bundle", *how)
    assert done.code == 0, done.err
    assert f"encoder net: probability at {'fp16' if 'fp16' in how else 'fp32'}" in done.out


@pytest.mark.parametrize(("encoders", "precision"), [("onnxruntime", "fp16"), ("openvino", "fp32")])
def test_verify_on_many_patches(networks, monkeypatch, encoders, precision):
    if encoders == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    monkeypatch.setattr(target_check, "CHECKED_PATCHES", FEW)
    how = ("--encoders", encoders, "--precision", precision, "--progress", "off", "--thorough")
    done = invoke(lsd_export, "verify", networks / "bundle", *how, "--json")
    assert done.code == 0, done.err
    many = [stage for stage in json.loads(done.out) if f"{FEW} patches" in stage["stage"]]
    assert [stage["configuration"] for stage in many] == ["imported"] * 2 + ["optical"] * 2 + ["sar"] * 2
    assert all(stage["values"] == FEW and stage["passed"] for stage in many)


def test_verify_fails_where_a_backend_answers_otherwise(networks, monkeypatch):
    """A backend that is right on the golden patches and wrong elsewhere."""
    from lsd.runtime.encoders import Encoder

    monkeypatch.setattr(target_check, "CHECKED_PATCHES", FEW)
    original = Encoder.probabilities

    def wrong(self, patches, bands):
        found = original(self, patches, bands)
        return 1 - found if len(patches) == FEW and self._sessions[0].describe()["precision"] == "fp16" else found

    monkeypatch.setattr(Encoder, "probabilities", wrong)
    done = invoke(lsd_export, "verify", networks / "bundle", "--precision", "fp16", "--thorough", "--progress", "off")
    assert done.code == 3 and "against fp32 on onnxruntime" in done.error


def test_lsd_run_asks_the_network(networks, tile, tmp_path):
    done = invoke(lsd_run, networks / "bundle", tile, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert "trained on synthetic data" in done.err
    (one,) = json.loads(done.out)["tiles"]
    assert one["configurations"] == {"optical": 9}
    half = invoke(lsd_run, networks / "bundle", tile, "-o", tmp_path / "half", "--precision", "fp16", "--json")
    assert half.code == 0, half.err


def test_the_answer_of_the_bundle_is_that_of_the_run(networks):
    bundle = open_bundle(networks / "bundle")
    chain = Chain(bundle)
    pixels = np.asarray(bundle.golden()["pixels"], np.float32)
    from lsd.train.encoder_run import load_encoder_run

    run = load_encoder_run(networks / "net")
    import torch

    with torch.inference_mode():
        folds = [torch.sigmoid(network(torch.from_numpy(pixels)).double()).numpy() for network in run.networks]
    (whole, *_) = chain.manifest.configurations
    ours = chain.probabilities(whole, {}, chain.encoded(whole, pixels, BAND_NAMES))
    np.testing.assert_allclose(ours, np.mean(folds, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (("--precision", "int8"), "holds 'net' in fp32, fp16, not in int8"),
        (("--encoders", "tensorrt", "--precision", "fp16"), ""),
        (("--provider", "cuda"), "cuda"),
        (("--encoder-batch", 0), "encoder_batch must be 1..4096, is 0"),
    ],
)
def test_what_cannot_be_had_is_one_line(networks, tile, tmp_path, how, says):
    done = invoke(lsd_run, networks / "bundle", tile, "-o", tmp_path / "out", *how)
    assert done.code == 2 and says.lower() in done.error.lower() and not (tmp_path / "out").exists()


def test_a_graph_that_was_changed_is_not_loaded(networks, tile, tmp_path):
    shutil.copytree(networks / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "encoders" / "net.1.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = invoke(lsd_run, tmp_path / "bundle", tile, "-o", tmp_path / "out")
    assert done.code == 2 and "encoders/net.1.onnx was changed since export" in done.error


def test_a_graph_that_is_changed_after_the_bundle_was_opened_is_not_loaded(networks, tmp_path):
    shutil.copytree(networks / "bundle", tmp_path / "bundle")
    opened = open_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "encoders" / "net.0.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"encoders/net\.0\.onnx was changed since export"):
        Chain(opened)


def test_a_zip_holds_networks_too(networks, tmp_path):
    shutil.make_archive(str(tmp_path / "bundle"), "zip", networks / "bundle")
    done = invoke(lsd_export, "verify", tmp_path / "bundle.zip")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_an_ensemble_of_forest_and_network(tmp_path, few, tile):
    """Trained for real on made-up patches; what the bundle answers is what the runs themselves answer."""
    patches = write_patch_set(tmp_path / "patches", 60)
    said = ["--patches", patches, "--folds", 4, "-qq", "--licence", "CC0-1.0"]
    recipe = {
        "name": "tiny", "description": "d",
        "members": [{"id": "boosted", "library": "lightgbm", "feature_set": "table-85", "rounds": 5,
                     "parameters": {"num_leaves": 4, "min_data_in_leaf": 4}}],
    }  # fmt: skip
    (tmp_path / "forest.json").write_text(json.dumps(recipe))
    write_tiny_recipe(tmp_path / "net.json", epochs=1, modality_dropout={})
    forest = invoke(lsd_train, "forest", *said, "--recipe", tmp_path / "forest.json", "-o", tmp_path / "forest")
    assert forest.code == 0, forest.err
    net = invoke(lsd_train, "encoder", *said, "--recipe", tmp_path / "net.json", "--threads", 1, "-o", tmp_path / "net")
    assert net.code == 0, net.err
    spread_run(tmp_path / "net")
    together = invoke(
        lsd_train,
        "ensemble",
        tmp_path / "forest",
        tmp_path / "net",
        "--method",
        "logit",
        "-o",
        tmp_path / "both",
        "-qq",
    )
    assert together.code == 0, together.err
    done = invoke(lsd_export, "build", tmp_path / "both", "-o", tmp_path / "bundle", "--threads", 1, "-q")
    assert done.code == 0, done.err
    bundle = open_bundle(tmp_path / "bundle")
    (one,) = bundle.manifest.configurations
    assert one.combination.method == "logit" and one.combination.weights and bundle.manifest.synthetic
    run = predictor_from_run(tmp_path / "both")
    assert one.threshold == run.configurations[0].threshold
    assert {part.name for part in one.parts} <= {"forest", "net"}
    assert invoke(lsd_run, tmp_path / "bundle", tile, "-o", tmp_path / "out").code == 0


def test_an_ensemble_with_predictions_made_elsewhere_cannot_be_exported(tmp_path, runs):
    rows = (runs / "all" / "oof.csv").read_text().splitlines()
    ids = [row.split(",")[0] for row in rows[1:]]
    (tmp_path / "theirs.csv").write_text("ID,p\n" + "".join(f"{name},{i % 10 / 10}\n" for i, name in enumerate(ids)))
    made = invoke(
        lsd_train, "ensemble", runs / "all", "--external", f"theirs={tmp_path / 'theirs.csv'}:p", "--folds", 4,
        "--method", "mean", "--synthetic", "-o", tmp_path / "both", "-qq",
    )  # fmt: skip
    assert made.code == 0, made.err
    done = invoke(lsd_export, "build", tmp_path / "both", "-o", tmp_path / "bundle")
    assert done.code == 2 and "known by out-of-fold probabilities of a file only" in done.error
