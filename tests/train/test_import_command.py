"""lsd-train import-checkpoints as a user meets it: a run folder that works, or one line and nothing left behind."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from lsd.train.cli.import_checkpoints import import_checkpoints
from lsd.train.encoder_run import load_encoder_run
from lsd.train.encoders.recipe import read_encoder_recipe
from lsd.train.encoders.torchvision import import_timm

torch.set_num_threads(1)
timm = import_timm()
ARGUMENTS = {"stem_width": 4, "channels": [8, 8, 8, 8]}
RECIPE = {
    "name": "mine",
    "description": "small",
    "network": {
        "encoders": [{"backbone": "resnet10t", "channels": ["optical"], "arguments": ARGUMENTS}],
        "head": "single",
        "input_px": 64,
    },
    "scaling": {"kind": "standard", "constants": "paper"},
}


@pytest.fixture
def folder(tmp_path):
    """A recipe of one's own and two folds of it as the author would save them."""
    place = tmp_path / "weights"
    place.mkdir()
    for fold in range(2):
        torch.manual_seed(fold)
        torch.save(author_network().state_dict(), place / f"v1_Fold{fold}_last.pt")
    (tmp_path / "mine.json").write_text(json.dumps(RECIPE))
    return place


def author_network():
    return timm.create_model("resnet10t", in_chans=4, num_classes=1, **ARGUMENTS)


def run(folder, *words):
    output = folder.parent / "run"
    recipe = () if "--recipe" in words else ("--recipe", folder.parent / "mine.json")
    given = [folder, "-o", output, *recipe, "--folds", 2, *words]
    return CliRunner().invoke(import_checkpoints, [str(one) for one in given]), output


def test_a_run_folder_is_made_that_gives_the_authors_logits(folder):
    result, output = run(folder, "--data-name", "7,147 patches", "--licence", "CC-BY-SA 4.0")
    assert result.exit_code == 0, result.output
    assert "recipe mine: 2 folds" in result.stdout and result.stderr.startswith("DONE | Runtime: ")
    made = load_encoder_run(output)
    assert made.recipe == read_encoder_recipe(str(folder.parent / "mine.json"))
    data = made.document["data"]
    assert (data["name"], data["licence"], data["synthetic"]) == ("7,147 patches", "CC-BY-SA 4.0", False)
    assert sorted(data["checkpoints"]) == ["v1_Fold0_last.pt", "v1_Fold1_last.pt"]
    raw = torch.randn(3, 4, 64, 64) * 1000 + 2000
    with torch.inference_mode():
        for fold, network in enumerate(made.networks):
            torch.manual_seed(fold)
            scaled = (raw - network.channels.location) / network.channels.spread
            assert torch.equal(network(raw), author_network().eval()(scaled)[:, 0])


def test_json_overwrite_and_what_is_in_the_way(folder):
    assert run(folder, "--synthetic")[0].exit_code == 0
    result, output = run(folder)
    assert result.exit_code == 2 and "give --overwrite" in result.stderr
    result, output = run(folder, "--overwrite", "--json", "--synthetic")
    told = json.loads(result.stdout)
    assert told["recipe"] == "mine" and told["synthetic"] is True and load_encoder_run(output).synthetic
    options = {"folds": 2, "data_name": "d", "overwrite": True}
    (folder.parent / "options.json").write_text(json.dumps(options))
    result, output = run(folder, "--config", folder.parent / "options.json")
    assert result.exit_code == 0 and load_encoder_run(output).document["data"]["name"] == "d"


def test_a_file_that_would_run_code_is_refused_and_nothing_is_made(folder):
    mark = folder.parent / "mark"
    evil = folder / "v1_Fold1_last.pt"
    evil.write_bytes(b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    result, output = run(folder)
    assert result.exit_code == 2
    assert result.stderr.strip() == (
        f"error: {evil}: holds more than tensors (posix.system) and would have to run code, which is refused; "
        "save model.state_dict() instead"
    )
    assert not mark.exists() and not output.exists()


def test_absent_libraries_are_named(folder, monkeypatch):
    monkeypatch.setattr("lsd.train.cli.encoder.LIBRARIES", ("torch", "absent_here"))
    result, _ = run(folder)
    assert result.exit_code == 2 and "needs absent_here: pip install 'lsd-edge[train]'" in result.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--folds", 5), "expected folds 0 to 4 (--folds), found 0, 1"),
        (("--folds", 0), "expected folds >= 1, found 0"),
        (("--prefix", "v2"), "expected files v2_Fold{k}_last.pt, found those of: v1"),
        (("--recipe", "paper-v3"), "unknown encoder recipe 'paper-v3'"),
        (("--recipe", "paper-v31"), "does not fit recipe 'paper-v31': missing: model1."),
        (("--recipe", "small-vit"), "scales by constants of its training data"),
    ],
)
def test_bad_input_is_one_line(folder, words, line):
    result, output = run(folder, *words)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert line in result.stderr and not output.exists()
    assert [entry.name for entry in folder.parent.iterdir() if entry.name.startswith(".")] == []
