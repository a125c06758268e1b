"""Networks as predictors: imported weights, configurations with their out-of-fold columns, pixels that are needed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tables import write_patches

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import UsageError
from lsd.train.datasets.npy import npy_dataset
from lsd.train.encoder_save import write_imported_run
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.evaluation.configurations import judge_all
from lsd.train.evaluation.judged import NEW, OUT_OF_FOLD
from lsd.train.evaluation.report import report_of
from lsd.train.evaluation.subject import subject_of_patches
from lsd.train.predictors import predictor_from_run

RECIPE = {
    "name": "tiny",
    "description": "",
    "network": {
        "encoders": [
            {
                "backbone": "resnet18d",
                "channels": ["optical", "sar", "sar_diff"],
                "arguments": {"stem_width": 4, "channels": [4, 4, 8, 8]},
            }
        ],
        "head": "single",
        "input_px": 64,
        "stem": "resize",
    },
    "scaling": {"kind": "standard", "constants": "paper"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def networks():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = encoder_recipe_of(RECIPE, "tiny")
    return [network_from_recipe(recipe, paper_scaling("standard")).eval() for _ in range(2)]


@pytest.fixture(scope="module")
def run(place, networks):
    folder = place / "imported"
    folder.mkdir()
    recipe = encoder_recipe_of(RECIPE, "tiny")
    data = {"name": "none", "licence": "none", "synthetic": False, "source": "none"}
    states = {number: network.state_dict() for number, network in enumerate(networks)}
    write_imported_run(folder, recipe, paper_scaling("standard"), states, data)
    return folder


@pytest.fixture(scope="module")
def dataset(place):
    return npy_dataset(*write_patches(place / "data", 20))


def test_an_imported_network_is_asked_and_what_it_saw_is_not_known(run, networks, dataset):
    predictor = predictor_from_run(run, threads=1)
    subject = subject_of_patches(dataset, predictor.statistics)
    done = []
    found = predictor.probabilities(subject, advance=done.append)
    pixels = torch.from_numpy(np.stack([dataset.read(i) for i in range(20)]))
    with torch.inference_mode():
        theirs = np.mean([torch.sigmoid(network(pixels).double()).numpy() for network in networks], axis=0)
    np.testing.assert_allclose(found, theirs, rtol=1e-5)
    assert sum(done) == 20 and found.dtype == np.float64
    size = sum(value.numel() for network in networks for value in network.parameters())
    assert predictor.size == f"{size:,} parameters" and predictor.trained_ids is None
    columns = judge_all([predictor], subject, lambda n: None)
    assert [one.title for one in columns] == ["imported"] and (columns[0].origin == NEW).all()
    report = report_of(subject, columns)
    assert report["honesty"][0].startswith("imported: what it was trained on is not recorded;")


@pytest.fixture(scope="module")
def dropout_run(run, place, dataset):
    """The same network as if it had been trained with modality dropout on the first 12 samples."""
    import shutil

    folder = shutil.copytree(run, place / "dropout")
    document = json.loads((folder / "run.json").read_text())
    decision = {"calibration": Calibration().to_json(), "threshold": 0.5, "look_threshold": 0.1}
    names = {"all": BAND_NAMES, "optical": BAND_NAMES[:4], "sar": BAND_NAMES[4:]}
    document["configurations"] = [
        {"name": name, "bands": bands, "column": "mean" if name == "all" else f"mean:{name}", **decision}
        for name, bands in names.items()
    ]
    (folder / "run.json").write_text(json.dumps(document))
    rng = np.random.default_rng(0)
    with (folder / "oof.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "label", "fold", "mean", "calibrated", "mean:optical", "mean:sar"])
        for i in range(12):
            writer.writerow([dataset.ids[i], dataset.labels[i], i // 3 % 3, *rng.random(4)])
    return folder


def test_each_configuration_has_its_own_bands_and_out_of_fold_column(dropout_run, networks, dataset):
    predictor = predictor_from_run(dropout_run, threads=1)
    subject = subject_of_patches(dataset, ())
    columns = judge_all([predictor], subject, lambda n: None)
    assert [one.title for one in columns] == ["dropout: all", "dropout: optical", "dropout: sar"]
    with (dropout_run / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    pixels = torch.from_numpy(np.stack([dataset.read(i) for i in range(12, 20)]))
    for one, column in zip(columns, ("mean", "mean:optical", "mean:sar"), strict=True):
        assert (one.origin[:12] == OUT_OF_FOLD).all() and (one.origin[12:] == NEW).all()
        assert one.probability[:12].tolist() == [float(row[column]) for row in rows]
        shown = pixels.clone()
        shown[:, [i for i, name in enumerate(BAND_NAMES) if name not in one.configuration.bands]] = torch.nan
        with torch.inference_mode():
            theirs = np.mean([torch.sigmoid(network(shown).double()).numpy() for network in networks], axis=0)
        np.testing.assert_allclose(one.probability[12:], theirs, rtol=1e-5)
    only_optical = subject_of_patches(dataset.arranged(BAND_NAMES[:4]), ())
    columns = judge_all([predictor], only_optical, lambda n: None)
    assert [one.title for one in columns] == ["dropout: optical"]
    assert report_of(only_optical, columns)["honesty"] == [
        "dropout: trained on 12 of the 20 samples, judged there by its out-of-fold probabilities."
    ]


def test_a_table_is_enough_where_the_network_has_out_of_fold_answers(dropout_run, dataset):
    predictor = predictor_from_run(dropout_run, threads=1)
    table = replace(subject_of_patches(dataset, ()), dataset=None)
    columns = judge_all([predictor], table.subset(range(12)), lambda n: None)
    assert all((one.origin == OUT_OF_FOLD).all() for one in columns)
    with pytest.raises(UsageError, match="a network needs the pixels of the 8 samples that it was not trained on"):
        judge_all([predictor], table, lambda n: None)
