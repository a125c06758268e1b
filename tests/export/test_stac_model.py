"""The bundle as a STAC Item: valid by MLM 1.5.2, and saying of bands, answers and files what the manifest says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from stac_schemas import validate

from bundles import random_bundle
from lsd.export.stac_model import FILE, MLM, STAC_NAME, model_item, stac_bytes
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import open_bundle
from lsd.runtime.manifest import FileRecord

MODEL_ROLES = {"mlm:model", "mlm:weights", "mlm:compiled"}


@pytest.fixture(scope="module")
def manifest():
    return random_bundle().manifest


@pytest.fixture(scope="module")
def built(bundle):
    """The bundle that lsd-export built, opened, and its item."""
    opened = open_bundle(bundle)
    return opened, json.loads(opened.contents[STAC_NAME])


def with_compiled(manifest):
    """The same with a compiled form of each forest."""
    members = {
        key: replace(member, compiled={"x86_64": f"forests/{key}.x86_64.so"})
        for key, member in manifest.members.items()
    }
    files = {path: FileRecord("cd" * 32, 10) for member in members.values() for path in member.compiled.values()}
    return replace(manifest, members=members, files={**manifest.files, **files})


def test_the_item_is_valid(manifest, built, shared_schemas):
    for item in (model_item(manifest), built[1], model_item(with_compiled(manifest))):
        assert {MLM, FILE} < set(validate(item, shared_schemas))


def test_the_validation_sees_faults(manifest, shared_schemas):
    item = model_item(manifest)
    errors = pytest.importorskip("pystac.errors", reason="pystac is not installed (extra dev)")
    assets = item["assets"]
    for fault in (
        {"properties": {key: value for key, value in item["properties"].items() if key != "mlm:input"}},
        {"properties": {key: value for key, value in item["properties"].items() if key != "bands"}},
        {"properties": {**item["properties"], "mlm:name": "7 x"}},
        {"properties": {**item["properties"], "license": "CC-BY-SA 4.0"}},
        {"assets": {"manifest": {key: assets["manifest"][key] for key in ("href", "roles")}}},
        {"assets": {key: asset for key, asset in assets.items() if not MODEL_ROLES & set(asset["roles"])}},
        {"bbox": [-180, -90, 180, 90]},
    ):
        with pytest.raises(errors.STACValidationError):
            validate({**item, **fault}, shared_schemas)


def test_every_asset_is_a_file_of_the_bundle_with_its_hash(bundle, built):
    opened, item = built
    named = {asset["href"].removeprefix("./"): asset for asset in item["assets"].values()}
    assert set(named) == {*opened.manifest.files, "manifest.json"} - {STAC_NAME}
    for name, asset in named.items():
        data = (bundle / name).read_bytes()
        if name != "manifest.json":  # it holds the hash of this item
            assert asset["file:size"] == len(data)
            assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    assert named["manifest.json"].keys().isdisjoint({"file:size", "file:checksum"})
    assert item["assets"]["card"]["type"] == "text/markdown"
    assert opened.sha256 not in opened.contents[STAC_NAME].decode()


def test_the_item_in_the_bundle_is_that_of_its_manifest(built):
    opened, _ = built
    files = {name: record for name, record in opened.manifest.files.items() if name != STAC_NAME}
    assert opened.contents[STAC_NAME] == stac_bytes(replace(opened.manifest, files=files))


def test_bands_answers_and_configurations(manifest):
    item = model_item(manifest)
    properties = item["properties"]
    (taken,) = properties["mlm:input"]
    assert taken["bands"] == list(BAND_NAMES) == [band["name"] for band in properties["bands"]]
    assert taken["input"] == {
        "shape": [-1, 12, 64, 64], "dim_order": ["batch", "bands", "height", "width"], "data_type": "float32",
    }  # fmt: skip
    units = {band["name"]: band["unit"] for band in properties["bands"]}
    assert "10,000 + 1,000" in units["red"] and units["asc_dvh"] == "dB"
    described = {band["name"]: band["description"] for band in properties["bands"]}
    assert described["desc_dvv"] == "sentinel-1 VV, descending: level after the event minus level before"
    probability, decision = properties["mlm:output"]
    assert probability["result"]["data_type"] == "float32" and "NaN where not scored" in probability["description"]
    classes = {one["value"]: one["name"] for one in decision["classification:classes"]}
    assert classes == {0: "no_slide", 1: "slide", 2: "look", 255: "not_scored"}
    seen = {key: [band["name"] for band in asset.get("bands", ())] for key, asset in item["assets"].items()}
    assert seen["forest-all-xgboost"] == list(BAND_NAMES) and seen["manifest"] == []
    assert seen["forest-optical-lightgbm"] == ["blue", "green", "red", "nir"]
    names = [one["name"] for one in properties["lsd:configurations"]]
    assert names == ["all", "optical"]
    assert properties["lsd:configurations"][1]["bands"] == ["blue", "green", "red", "nir"]
    (part,) = properties["lsd:configurations"][0]["parts"]
    assert part == {"name": "forest", "members": {"all-lightgbm": 0.5, "all-xgboost": 0.5}}
    optical = model_item(replace(manifest, configurations=manifest.configurations[1:]))["properties"]
    assert optical["mlm:input"][0]["input"]["shape"] == [-1, 4, 64, 64] and len(optical["bands"]) == 4


def test_framework_and_version_are_told_where_there_is_one(manifest):
    assert model_item(manifest)["properties"]["mlm:framework"] == "LightGBM and XGBoost"
    members = {key: replace(member, library="lightgbm") for key, member in manifest.members.items()}
    trained = {"all": {"versions": {"lightgbm": "4.7.0", "xgboost-cpu": "3.2.0"}}}
    one = replace(manifest, members=members, training=trained)
    properties = model_item(one)["properties"]
    assert (properties["mlm:framework"], properties["mlm:framework_version"]) == ("LightGBM", "4.7.0")
    for versions in ({"all": trained["all"], "optical": {"versions": {"lightgbm": "4.6.0"}}}, {}):
        assert "mlm:framework_version" not in model_item(replace(one, training=versions))["properties"]
    assert "mlm:framework_version" not in model_item(replace(manifest, training=trained))["properties"]


@pytest.mark.parametrize(
    ("words", "identifier"),
    [("CC-BY-SA 4.0", "CC-BY-SA-4.0"), ("Apache-2.0", "Apache-2.0"), ("ask the owner", "other")],
)
def test_a_licence_is_an_identifier_or_other(manifest, words, identifier, shared_schemas):
    item = model_item(replace(manifest, licence=words))
    assert (item["properties"]["license"], item["properties"]["lsd:licence"]) == (identifier, words)
    validate(item, shared_schemas)


@pytest.mark.parametrize("name", ["reference", "7 hills", "été (2024)", "-", "a/b\n"])
def test_any_name_of_a_bundle_makes_a_valid_item(manifest, name, shared_schemas):
    item = model_item(replace(manifest, name=name))
    validate(item, shared_schemas)
    assert item["properties"]["title"] == name and item["properties"]["mlm:name"].startswith("lsd-edge")


def test_place_and_time_of_the_training_data_are_not_made_up(manifest):
    item = model_item(manifest)
    assert item["geometry"] is None and "bbox" not in item
    assert item["properties"]["datetime"] is None and item["properties"]["start_datetime"] == "1900-01-01T00:00:00Z"
    assert stac_bytes(manifest) == stac_bytes(manifest)
