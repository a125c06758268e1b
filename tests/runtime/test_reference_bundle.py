"""The bundle that comes with the repository."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.cli.run import main
from lsd.runtime.parity import check_golden, require
from lsd.train.groups import CONFIGURATIONS, bands_of_groups, name_of

PROJECT = Path(__file__).resolve().parents[2]
REFERENCE = PROJECT / "bundles" / "reference"


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(REFERENCE)


def test_it_gives_its_reference_results_here(bundle):
    require(check_golden(bundle, Chain(bundle)), "here")
    assert json.loads(bundle.contents["certificate.json"])["passed"] is True


def test_what_it_holds(bundle):
    manifest = bundle.manifest
    assert [(c.name, c.bands) for c in manifest.configurations] == [
        (name_of(bands), bands_of_groups(bands)) for bands in CONFIGURATIONS
    ]
    f1 = [c.metrics["nested"]["all"]["f1"]["value"] for c in manifest.configurations]
    assert all(after < before + 0.01 for before, after in pairwise(f1))  # the better one answers first
    assert all(0 < c.look_threshold < c.threshold < 1 for c in manifest.configurations)
    assert not manifest.synthetic
    assert sum(record.size_bytes for record in manifest.files.values()) < 17_000_000


def test_its_card_says_what_must_be_said(bundle):
    card = bundle.contents["MODEL_CARD.md"].decode()
    for words in ("CC-BY-SA 4.0", "7147 patches, 1255 with a slide", "What it must not be used for", "if 1 % do"):
        assert words in card
    f1 = bundle.manifest.configurations[0].metrics["nested"]["all"]["f1"]
    assert f"{f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})" in card


def test_real_tiles_without_known_slides_are_scored_with_their_one_orbit(shared_data, tmp_path):
    done = CliRunner().invoke(
        main, [str(REFERENCE), str(shared_data / "bigearthnet-pairs"), "-o", str(tmp_path / "out"), "--json"]
    )
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert [tile["configurations"] for tile in summary["tiles"]] == [{"optical+asc_post": 4}] + [
        {"optical+desc_post": 4}
    ] * 4 + [{}]  # the last one is snow
    assert summary["tiles"][5]["counts"]["looks_like_cloud"] == 4
    assert (
        summary["totals"]["slide"] <= 1
    )  # a false alarm among 20 patches; the rate in training is 2 to 3 in a hundred


def test_a_cloudy_scene_without_a_cloud_layer_is_never_called_free_of_slides(shared_data, tmp_path):
    scene = shared_data / "sentinel2-scene"
    done = CliRunner().invoke(main, [str(REFERENCE), str(scene), "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    totals = json.loads(done.stdout)["totals"]
    assert (totals["no_slide"], totals["looks_like_cloud"], totals["patches"]) == (0, 289, 289)


def test_the_real_training_patch_without_a_slide_is_not_called(bundle, shared_data):
    stored = np.load(shared_data / "zindi-landslide" / "patches" / "ID_005GY8.npy", allow_pickle=False)
    pixels = stored.transpose(2, 0, 1)[None].astype(np.float32)
    chain = Chain(bundle)
    for configuration in bundle.manifest.configurations:
        features = chain.features(configuration, pixels, BAND_NAMES)
        margins = {member: chain.forests[member].margins(rows) for member, rows in features.items()}
        assert chain.probabilities(configuration, margins)[0] < configuration.threshold, configuration.name
