from __future__ import annotations

import json

import pytest

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import RecipeError
from lsd.train.encoders.channel_names import CHANNEL_GROUPS, CHANNEL_NAMES, channels_of
from lsd.train.encoders.recipe import encoder_recipe_of, known_encoder_recipes, read_encoder_recipe

OPTICAL, SAR, SAR_DIFF = (of_modality(one) for one in ("optical", "sar", "sar_diff"))
PWEE = "vit_pwee_patch16_reg1_gap_256.sbb_in1k"
CAFORMER = "caformer_s18.sail_in22k_ft_in1k"
# METHOD, the nine members: backbone, channel numbers of each encoder, head, scaling, indices, rate, epochs, batch
PAPER = {
    "paper-v10": ("maxvit_rmlp_tiny_rw_256.sw_in1k", ["0-3"], "single", "robust", "stored", 1e-4, 20, 8),
    "paper-v20": (
        "vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k", ["4-17"], "single", "robust", "scaled", 1e-5, 20, 32,
    ),
    "paper-v31": (PWEE, ["0-3", "6,7,10,11"], "two", "standard", "stored", 1e-5, 20, 32),
    "paper-v33": (PWEE, ["0-3", "6,7,10,11"], "two", "robust", "stored", 1e-5, 20, 32),
    "paper-v37": (PWEE, ["0-3", "6,7,10,11", "12-17"], "three-a", "standard", "scaled", 1e-5, 15, 32),
    "paper-v39": (CAFORMER, ["0-3", "6,7,10,11", "12-17"], "three-a", "standard", "scaled", 1e-5, 10, 24),
    "paper-v46": (
        "vit_medium_patch16_rope_reg1_gap_256.sbb_in1k", ["0-3", "4,5,8,9", "6,7,10,11"], "three-c", "standard",
        "stored", 1e-5, 20, 32,
    ),
}  # fmt: skip


def numbered(text: str) -> tuple[str, ...]:
    if "-" in text:
        first, last = map(int, text.split("-"))
        return CHANNEL_NAMES[first : last + 1]
    return tuple(CHANNEL_NAMES[int(number)] for number in text.split(","))


def mine(**changes):
    base = {
        "name": "mine",
        "description": "d",
        "network": {"encoders": [{"backbone": "resnet18", "channels": ["optical"]}], "head": "single", "input_px": 64},
        "scaling": {"kind": "standard", "constants": "data"},
    }
    return {**base, **changes}


def network(**changes):
    return {**mine()["network"], **changes}


def test_there_are_eighteen_channels_in_the_papers_order():
    assert CHANNEL_NAMES[:12] == BAND_NAMES
    assert CHANNEL_NAMES[12:] == ("nir_blue", "nir_green", "nir_red", "red_green", "red_blue", "green_blue")
    assert channels_of(["indices", "green_blue", "sar"], "x") == (*SAR, *CHANNEL_GROUPS["indices"])


@pytest.mark.parametrize("name", known_encoder_recipes())
def test_recipes_that_come_with_the_package_are_read_and_written_again(name):
    recipe = read_encoder_recipe(name)
    assert recipe.name == name and recipe.description
    assert encoder_recipe_of(json.loads(json.dumps(recipe.to_json())), "again") == recipe


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_are_those_of_the_table(name):
    backbone, channels, head, scaling, indices, rate, epochs, batch = PAPER[name]
    recipe = read_encoder_recipe(name)
    assert [one.backbone for one in recipe.network.encoders] == [backbone] * len(channels)
    assert [one.channels for one in recipe.network.encoders] == [numbered(text) for text in channels]
    assert (recipe.network.head, recipe.network.features, recipe.network.input_px) == (head, 256, 256)
    assert (recipe.scaling.kind, recipe.scaling.constants) == (scaling, "paper")
    assert recipe.indices == indices or not set(CHANNEL_GROUPS["indices"]) & set(recipe.channels)
    fitting = recipe.fitting
    assert (fitting.learning_rate, fitting.epochs, fitting.batch_size) == (rate, epochs, batch)
    assert (fitting.schedule, fitting.soft_f1_weight, fitting.sampling) == ("epoch", 1.0, "plain")
    assert fitting.flips and fitting.quarter_turns and not fitting.modality_dropout and fitting.weight_decay == 0.01


def test_bands_are_those_that_the_channels_need():
    assert read_encoder_recipe("paper-v37").bands == (*OPTICAL, *SAR_DIFF)
    assert read_encoder_recipe("paper-v20").bands == BAND_NAMES
    stored = network(encoders=[{"backbone": "resnet18", "channels": ["nir_red"]}])
    assert encoder_recipe_of(mine(network=stored), "x").bands == ("red", "nir")


def test_fewer_bands_leave_the_channels_that_they_allow():
    recipe = read_encoder_recipe("small-convnet")
    assert recipe.for_bands(OPTICAL).channels == (*OPTICAL, *CHANNEL_GROUPS["indices"])
    assert recipe.for_bands((*SAR, *SAR_DIFF)).channels == tuple(name for name in BAND_NAMES if name not in OPTICAL)
    assert recipe.for_bands(("nir", "red")).channels == ("red", "nir", "nir_red")
    assert recipe.for_bands(BAND_NAMES) == recipe
    with pytest.raises(RecipeError, match=r"encoder of desc_dvv, .* has no channel left with the bands blue, green"):
        read_encoder_recipe("paper-v31").for_bands(OPTICAL)


def test_modality_dropout_keeps_subsets_that_are_still_a_choice():
    fitting = {"modality_dropout": {"optical": 0.2, "sar": 0.2, "optical,diffs": 0.1}}
    encoders = [{"backbone": "resnet18", "channels": ["optical", "sar", "sar_diff"]}]
    recipe = encoder_recipe_of(mine(network=network(encoders=encoders), fitting=fitting), "x")
    assert recipe.for_bands(BAND_NAMES).fitting == recipe.fitting
    assert recipe.for_bands(OPTICAL).fitting.modality_dropout == {}
    assert recipe.for_bands((*OPTICAL, *SAR_DIFF)).fitting.modality_dropout == {"optical": 0.2, "sar": 0.2}


ENCODER = {"backbone": "resnet18", "channels": ["optical"]}


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        ([], "expected a JSON object, found list"),
        (mine(nettwork={}), "unknown key 'nettwork', did you mean 'network'"),
        ({key: value for key, value in mine().items() if key != "scaling"}, "lacks the key 'scaling'"),
        (mine(name=3), "name must be text, is 3"),
        (mine(indices="raw"), "indices 'raw' is none of stored, scaled"),
        (mine(scaling={"kind": "minmax", "constants": "data"}), "kind 'minmax' is none of standard, robust"),
        (mine(scaling={"kind": "robust", "constants": "mine"}), "constants 'mine' is none of paper, data"),
        (mine(fitting=[]), "fitting must be an object"),
        (mine(fitting={"epoch": 3}), "unknown key 'epoch', did you mean 'epochs'"),
        (mine(fitting={"epochs": 0}), "epochs >= 1"),
        (mine(network=network(head="four")), "head 'four' is none of single, two, three-a, three-c"),
        (mine(network=network(head="two")), r"the head 'two' joins 2 encoder\(s\), found 1"),
        (mine(network=network(head=["two"])), "is none of single, two"),
        (mine(network=network(stem="fold")), "stem 'fold' is none of resize, folded"),
        (mine(network=network(stem="folded")), r"folded stem needs an input_px of 2, 3, ... x 64, is 64"),
        (mine(network=network(stem="folded", input_px=224)), "is 224"),
        (mine(network=network(input_px=16)), "input_px must be a whole number >= 32, is 16"),
        (mine(network=network(features=True)), "features must be a whole number >= 1, is True"),
        (mine(network=network(encoders={})), "encoders must be a list"),
        (mine(network=network(encoders=[{**ENCODER, "model": 1}])), "encoder 1: unknown key 'model'"),
        (mine(network=network(encoders=[{**ENCODER, "channels": []}])), "at least one name"),
        (mine(network=network(encoders=[{**ENCODER, "channels": "optical"}])), "must be a list"),
        (mine(network=network(encoders=[{**ENCODER, "channels": ["opticl"]}])), "'opticl', did you mean 'optical'"),
        (mine(network=network(encoders=[{**ENCODER, "channels": ["ndvi"]}])), "unknown channel 'ndvi'"),
        (mine(network=network(encoders=[{**ENCODER, "backbone": "hf-hub:a/b"}])), "backbone must be a name"),
        (mine(network=network(encoders=[{**ENCODER, "backbone": "local-dir:/x"}])), "backbone must be a name"),
        (mine(network=network(encoders=[{**ENCODER, "arguments": {"checkpoint_path": "x"}}])), "cannot be set"),
        (mine(network=network(encoders=[{**ENCODER, "arguments": []}])), "arguments must be an object"),
        (
            mine(network=network(input_px=256, encoders=[{**ENCODER, "backbone": "galileo-nano"}])),
            "takes the raw patch: input_px must be 64, is 256",
        ),
    ],
)
def test_malformed_recipes(tmp_path, stored, line):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(RecipeError, match=line) as caught:
        read_encoder_recipe(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_name_and_unreadable_files(tmp_path):
    with pytest.raises(RecipeError, match=r"unknown encoder recipe 'paper-v32'.*did you mean 'paper-v3"):
        read_encoder_recipe("paper-v32")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_encoder_recipe(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RecipeError, match="is not JSON"):
        read_encoder_recipe(str(tmp_path / "bad.json"))
