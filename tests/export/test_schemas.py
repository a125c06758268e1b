"""Keys of the documents that other programs read, against golden files.

A key that comes, goes or moves fails here: raise the schema version, or write the golden file anew where the change is
one that a reader of the old schema does not see.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import invoke
from tiles import L2A_NEW, optical, write_tiff

from lsd.runtime.cli.run import main as lsd_run

GOLDEN = Path(__file__).parent / "data"
# objects whose keys are names that a bundle, a run or a machine chooses
FREE = frozenset({
    "configurations[].metrics", "configurations[].metrics.*", "configurations[].metrics.*.*",
    "files", "members", "encoders", "encoders.*.graphs", "encoders.*.external", "encoders.*.plans", "feature_sets",
    "training", "training.*.versions", "training.*.recipe.members[].parameters",
    "training.*.band_ranges.bands",
    "versions", "inputs.training_rows", "bundle.configurations",
    "bundle.assumed_prevalence", "tiles[].configurations", "tiles[].seconds",
    "totals.seconds",
    "tiles[].quality",
    "tiles[].quality.*",
})  # fmt: skip


def keys_of(value: object, path: str = "") -> set[str]:
    """Dotted paths of all keys of a JSON document; `*` stands for a free name, `[]` for the items of a list."""
    if isinstance(value, dict):
        names = {key: "*" if path in FREE else key for key in value}
        return {path}.union(*(keys_of(value[key], f"{path}.{names[key]}".lstrip(".")) for key in value))
    if isinstance(value, list):
        return {path}.union(*(keys_of(one, f"{path}[]") for one in value))
    return {path}


@pytest.fixture(scope="module")
def documents(bundle, tmp_path_factory):
    place = tmp_path_factory.mktemp("summary")
    write_tiff(place / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    write_tiff(place / "in" / "bad.tif", optical(), ["red", "green", "blue", "purple"])
    summary = invoke(lsd_run, bundle, place / "in", "-o", place / "out", "--json").out
    collection = (place / "out" / L2A_NEW / "detections.geojson").read_text()
    return {
        "summary": json.loads(summary),
        "manifest": json.loads((bundle / "manifest.json").read_text()),
        "certificate": json.loads((bundle / "certificate.json").read_text()),
        "detections": {**json.loads(collection), "features": []},
    }


@pytest.mark.parametrize("name", ["summary", "manifest", "certificate", "detections"])
def test_keys(documents, name):
    assert sorted(keys_of(documents[name]) - {""}) == (GOLDEN / f"{name}_keys.txt").read_text().splitlines()
