"""lsd-train encoder through the whole command: what it leaves, what it refuses, and that a kill costs nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from patch_sets import write_patch_set, write_tiny_recipe

from lsd.runtime.errors import RunFolderError, UsageError
from lsd.train.cli.main import main
from lsd.train.datasets.npy import npy_dataset
from lsd.train.encoder_run import load_encoder_run
from lsd.train.predictions import read_out_of_fold
from lsd.train.run import load_run

PATCHES = 36


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_patch_set(folder / "patches", PATCHES)
    write_tiny_recipe(folder / "tiny.json", epochs=1)
    return folder


@pytest.fixture(scope="module")
def run(place):
    done = lsd_train(place, "run")
    assert done.exit_code == 0, done.output
    return place / "run"


def words(place: Path, name: str, *more) -> list[str]:
    given = ["encoder", "--patches", place / "patches", "--recipe", place / "tiny.json", "-o", place / name]
    return [*map(str, given), "--folds", "3", "--threads", "1", "--progress", "off", *map(str, more)]


def lsd_train(place: Path, name: str, *more):
    return CliRunner().invoke(main, words(place, name, *more))


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_run_folder_explains_itself_and_leaves_nothing_else(place, run):
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names == {
        *("run.json", "report.json", "oof.csv", "curves.csv", "plots.png", "environment.json", "CARD.md"),
        "band_statistics.json",
        *(f"folds/{number}/weights.safetensors" for number in range(3)),
    }
    assert not (place / "run.training").exists()
    document = json.loads((run / "run.json").read_text())
    assert document["data"]["synthetic"] is True  # the folder of patches says so, no flag was needed
    assert [one["name"] for one in document["configurations"]] == ["all", "optical", "sar"]
    assert "SYNTHETIC" in (run / "CARD.md").read_text()
    for row in rows(run / "curves.csv"):
        assert 0 < float(row["loss"]) < 5


def test_out_of_fold_probabilities_are_those_of_the_fold_that_did_not_see_the_patch(place, run):
    loaded, dataset = load_encoder_run(run), npy_dataset(place / "patches")
    table = rows(run / "oof.csv")
    assert [row["ID"] for row in table] == list(dataset.ids)
    from lsd.train.fitting.machine import Machine, machine_of
    from lsd.train.fitting.predict import probabilities

    machine: Machine = machine_of("cpu", "fp32", 1, 1)
    for configuration in loaded.configurations:
        for number, network in enumerate(loaded.networks):
            held_out = np.array([i for i, row in enumerate(table) if int(row["fold"]) == number])
            found = probabilities(network, dataset, held_out, machine, configuration.bands)
            np.testing.assert_allclose(found, [float(table[i][configuration.column]) for i in held_out], atol=1e-9)


def test_the_member_is_the_mean_of_its_folds(place, run):
    loaded, dataset = load_encoder_run(run), npy_dataset(place / "patches")
    from lsd.train.fitting.machine import machine_of
    from lsd.train.fitting.predict import probabilities

    machine = machine_of("cpu", "fp32", 1, 1)
    each = [probabilities(one, dataset, np.arange(PATCHES), machine) for one in loaded.networks]
    np.testing.assert_allclose(loaded.probabilities(dataset), np.mean(each, axis=0), rtol=1e-12)


def test_weights_that_were_changed_are_not_loaded(place, run, tmp_path):
    import shutil

    copy = shutil.copytree(run, tmp_path / "copy")
    file = copy / "folds" / "1" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunFolderError, match="SHA-256"):
        load_encoder_run(copy).probabilities(npy_dataset(place / "patches"))


def test_a_network_refuses_patches_without_its_bands(place, run):
    optical = npy_dataset(place / "patches").arranged(("blue", "green", "red", "nir"))
    loaded = load_encoder_run(run)
    with pytest.raises(UsageError, match="desc_vv"):
        loaded.probabilities(optical)
    assert len(loaded.probabilities(optical, optical.bands)) == PATCHES


def test_a_run_of_a_network_is_no_run_of_forests(run):
    with pytest.raises(RunFolderError, match="encoder"):
        load_run(run)


def test_the_same_command_gives_the_same_bytes(place, run):
    again = lsd_train(place, "again")
    assert again.exit_code == 0
    for name in (
        "oof.csv",
        "curves.csv",
        "report.json",
        "run.json",
        *(f"folds/{i}/weights.safetensors" for i in range(3)),
    ):
        assert (place / "again" / name).read_bytes() == (run / name).read_bytes(), name


def test_an_output_that_is_there_is_refused_and_replaced_only_when_asked(place, run):
    assert lsd_train(place, "run").exit_code == 2
    before = (run / "oof.csv").read_bytes()
    assert lsd_train(place, "run", "--overwrite", "--seed", 7).exit_code == 0
    assert (run / "oof.csv").read_bytes() != before
    assert lsd_train(place, "run", "--overwrite").exit_code == 0
    assert (run / "oof.csv").read_bytes() == before


def test_folds_by_group_keep_ground_together(place):
    assert lsd_train(place, "grouped", "--folds-by", "group").exit_code == 0
    ground = npy_dataset(place / "patches").groups
    folds = {}
    for name, row in zip(ground, rows(place / "grouped" / "oof.csv"), strict=True):
        folds.setdefault(name, set()).add(row["fold"])
    assert all(len(found) == 1 for found in folds.values())
    assert len(set.union(*folds.values())) == 3


def test_fewer_bands_make_another_network(place):
    done = lsd_train(place, "optical", "--bands", "optical")
    assert done.exit_code == 0
    loaded = load_encoder_run(place / "optical")
    assert loaded.bands == ("blue", "green", "red", "nir")
    assert [one.name for one in loaded.configurations] == ["optical"]


def test_a_student_learns_the_teachers_probabilities_and_says_so(place, run):
    from lsd.train.distillation import read_teacher
    from lsd.train.encoder_training import targets_of

    done = lsd_train(place, "student", "--teacher", run, "--teacher-weight", 0.75)
    assert done.exit_code == 0
    assert "Distilled: 0.75" in (place / "student" / "CARD.md").read_text()
    dataset = npy_dataset(place / "patches")
    teacher = read_out_of_fold(run)
    expected = 0.25 * dataset.labels + 0.75 * teacher.probability
    np.testing.assert_allclose(targets_of(dataset, read_teacher(run), 0.75), expected, atol=1e-6)


def test_samples_that_cannot_be_used_are_listed_or_stop_the_run(place, tmp_path):
    write_patch_set(tmp_path / "patches", PATCHES)
    write_tiny_recipe(tmp_path / "tiny.json", epochs=1)
    (tmp_path / "patches" / "P003.npy").unlink()
    np.save(tmp_path / "patches" / "P005.npy", np.zeros((64, 64, 3)))
    done = lsd_train(tmp_path, "run")
    assert done.exit_code == 0
    assert "2 samples skipped" in done.stderr
    assert [row["ID"] for row in rows(tmp_path / "run" / "skipped.csv")] == ["P003", "P005"]
    assert len(rows(tmp_path / "run" / "oof.csv")) == PATCHES - 2
    strict = lsd_train(tmp_path, "strict", "--strict")
    assert strict.exit_code == 2
    assert "P003" in strict.stderr
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--folds", "2"), ("--epochs", "0"), ("--recipe", "small-convnets"), ("--device", "cuda"), ("--bands", "none"),
        ("--pretrained", "absent.safetensors"), ("--teacher", "absent"), ("--teacher-weight", "2"), ("--name", "a/b"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_no_run(place, wrong):
    done = lsd_train(place, "wrong", *wrong)
    assert done.exit_code == 2, done.output
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert not (place / "wrong").exists()
    import shutil

    shutil.rmtree(place / "wrong.training", ignore_errors=True)


def digests(run: Path) -> dict[str, str]:
    files = [*sorted(run.glob("folds/*/*")), run / "oof.csv", run / "curves.csv", run / "run.json"]
    return {file.name + str(file.parent): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_the_same(place, tmp_path):
    """Killed for real, three times, at moments that depend on the machine; benchmarks/kills.py does it 20 times."""
    write_tiny_recipe(place / "tiny.json", epochs=6)
    try:
        command = [sys.executable, "-m", "lsd.train.cli.main"]
        options = ("--save-every-s", 0.05)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for _ in range(3):
            process = subprocess.Popen(
                [*command, *words(place, "killed", *options)], env=environment, stderr=subprocess.PIPE
            )
            states = place / "killed.training" / "folds"
            before = {file: file.stat().st_mtime_ns for file in states.glob("*/*.pt")}
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.1)
                now = {file: file.stat().st_mtime_ns for file in states.glob("*/*.pt") if file.exists()}
                if now and now != before:
                    break
            assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGKILL)
            process.communicate()
        other = lsd_train(place, "killed", *options, "--seed", 1)
        assert other.exit_code == 2
        assert "seed" in other.stderr
        assert lsd_train(place, "killed", *options).exit_code == 0
        assert lsd_train(place, "undisturbed", *options).exit_code == 0
        ours, theirs = digests(place / "killed"), digests(place / "undisturbed")
        assert list(ours.values()) == list(theirs.values())
    finally:
        write_tiny_recipe(place / "tiny.json", epochs=1)
