from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from bundles import random_bundle, write
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import BackendError, BundleError, BundleHashError, GateError
from lsd.runtime.parity import check_golden, require


@pytest.fixture(scope="module")
def whole():
    return random_bundle()


@pytest.fixture
def folder(whole, tmp_path):
    return write(whole, tmp_path / "bundle")


def edit(folder, change):
    """Apply `change` to the manifest's document."""
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    (folder / "manifest.json").write_text(json.dumps(document))


def test_opens_and_passes_its_own_golden_patches(folder, whole):
    bundle = open_bundle(folder)
    assert bundle.sha256 == whole.sha256
    results = check_golden(bundle, Chain(bundle))
    require(results, "here")
    assert len(results) == 2 * (2 * 2 + 1)
    assert all(result.max_error == 0 for result in results)


def test_a_zip_is_the_same_bundle(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    assert open_bundle(tmp_path / "bundle.zip").sha256 == open_bundle(folder).sha256


@pytest.mark.parametrize("name", ["golden.npz", "forests/all-lightgbm.forest"])
@pytest.mark.parametrize("position", [0, 500, -1])
def test_a_changed_byte_is_found_before_anything_is_loaded(folder, name, position, monkeypatch):
    data = bytearray((folder / name).read_bytes())
    data[position] ^= 1
    (folder / name).write_bytes(data)
    monkeypatch.setattr("lsd.runtime.bundle.forest_from_bytes", lambda *_: pytest.fail("was loaded"))
    with pytest.raises(BundleHashError, match=f"{name} was changed since export"):
        open_bundle(folder)


def test_missing_file(folder):
    (folder / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"golden\.npz is missing"):
        open_bundle(folder)


def test_no_bundle_and_no_manifest(folder, tmp_path):
    with pytest.raises(BundleError, match="there is no bundle here"):
        open_bundle(tmp_path / "nowhere")
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"manifest.json is missing"):
        open_bundle(folder)
    (tmp_path / "text").write_text("x")
    with pytest.raises(BundleError, match="cannot be read as a bundle"):
        open_bundle(tmp_path / "text")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "c:\\x", ""])
def test_a_path_that_leaves_the_bundle_is_refused(folder, name):
    edit(folder, lambda document: document["files"].update({name: {"sha256": "0", "size_bytes": 0}}))
    with pytest.raises(BundleError, match="a path that leaves the bundle"):
        open_bundle(folder)


def test_a_link_that_leaves_the_bundle_is_refused(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes((folder / "golden.npz").read_bytes())
    (folder / "golden.npz").unlink()
    (folder / "golden.npz").symlink_to(outside)
    with pytest.raises(BundleError, match="a link that leaves the bundle"):
        open_bundle(folder)


def part(document):
    return document["configurations"][0]["parts"][0]


def encoder(**changes):
    """As a manifest has it; its one graph is not among the files."""
    graphs = {"fp32": ["encoders/net.onnx"]}
    known = {"bands": ["red"], "served": [["red"]], "backbones": ["vit"], "parameters": 1, "plans": {}, "external": {}}
    return {**known, "graphs": graphs, **changes}


def test_unknown_schema_version(folder):
    edit(folder, lambda document: document.update(schema_version=99))
    with pytest.raises(BundleError, match="schema version is 99, this lsd-edge reads 3"):
        open_bundle(folder)


def test_not_json(folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json is not JSON"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(membres={}), "unknown key 'membres', did you mean 'members'"),
        (lambda d: d.pop("licence"), "manifest is malformed"),
        (lambda d: part(d)["members"].append("ghost"), "weights and members of 'forest' differ"),
        (lambda d: part(d)["members"].__setitem__(0, "ghost"), "names the member 'ghost'"),
        (lambda d: d["configurations"][0]["parts"].append(part(d)), "weights and parts differ in number"),
        (lambda d: d["configurations"][0]["combination"].update(method="magic"), "combination 'magic'"),
        (lambda d: d["configurations"][0]["bands"].__setitem__(0, "purple"), "unknown band 'purple'"),
        (lambda d: d["configurations"][0]["bands"].remove("nir"), "lacks bands that its member"),
        (lambda d: d["members"]["all-lightgbm"].update(table="x"), "names the file 'x', which is not listed"),
        (lambda d: d["members"]["all-lightgbm"].update(feature_set="x"), "the feature set 'x', which is not there"),
        (lambda d: d["bands"][0].update(unit="reflectance"), "is not a band of this version"),
        (lambda d: d["patch"].update(size_px=128), "patches are 128 px"),
        (lambda d: d.update(configurations=[]), "holds no configuration"),
        (lambda d: part(d).update(weights=[0.5, 0.4]), "weights of 'forest' sum to 0.9"),
        (lambda d: d["encoders"].update(net=encoder()), "names the file 'encoders/net.onnx', which is not listed"),
        (lambda d: d["encoders"].update(net=encoder(graphs={})), "'net' has no graph"),
        (lambda d: d["encoders"].update(net=encoder(graphs={"fp8": ["x"]})), "precision 'fp8' is none of fp32"),
        (lambda d: d["encoders"].update({"all-lightgbm": encoder()}), "is a forest and an encoder"),
        (
            lambda d: d["configurations"][0].update(threshold=50),
            "0 <= look_threshold <= threshold <= 1, found 0.5 and 50",
        ),
        (lambda d: d["patch"].update(min_valid_fraction=0), "min_valid_fraction is 0"),
        (lambda d: d["feature_sets"]["all"]["features"].pop(), "its list has"),
        (lambda d: d["configurations"][0].update(calibration={"method": "magic", "parameters": []}), "magic"),
    ],
)
def test_a_manifest_that_does_not_fit_together_is_one_clear_line(folder, change, message):
    edit(folder, change)
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value)


def test_a_forest_with_other_columns_than_its_features_is_refused(whole):
    record = whole.manifest.members["all-lightgbm"]
    swapped = {**whole.contents, record.table: whole.contents["forests/optical-lightgbm.forest"]}
    bundle = type(whole)(whole.path, whole.manifest, whole.sha256, swapped)
    with pytest.raises(BundleError, match="takes 37 features, its feature set has 85"):
        Chain(bundle)


def test_compiled_backend_that_is_not_there(whole):
    with pytest.raises(BackendError, match="holds no compiled forest of 'all-lightgbm'"):
        Chain(whole, "compiled")


def test_the_self_test_sees_a_wrong_leaf(whole):
    chain = Chain(whole)
    walk = chain.forests["optical-xgboost"]
    wrong = walk.forest.leaf_value.copy()
    wrong[: len(wrong) // 2] += np.float32(1e-4)
    object.__setattr__(walk.forest, "leaf_value", wrong)
    results = check_golden(whole, chain)
    assert [result.stage for result in results if not result.passed] == ["margins optical-xgboost"]
    with pytest.raises(GateError, match="optical margins optical-xgboost: error"):
        require(results, "here")


def test_the_self_test_sees_swapped_bands(whole, monkeypatch):
    chain = Chain(whole)
    original = chain.features
    monkeypatch.setattr(chain, "features", lambda c, pixels, bands: original(c, pixels[:, ::-1].copy(), bands))
    assert not all(result.passed for result in check_golden(whole, chain))
