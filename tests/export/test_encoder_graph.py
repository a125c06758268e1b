from __future__ import annotations

import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lsd.benchmarks.encoder_graphs import patches_of, spread_logits
from lsd.export.adversarial import adversarial_patches
from lsd.export.encoders.graph import onnx_of_networks
from lsd.export.encoders.means import MeanOverFolds
from lsd.export.encoders.prepare import prepared, stem_of
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.chain import sigmoid
from lsd.runtime.errors import RecipeError, UsageError
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.fitting.machine import Machine
from lsd.train.fitting.predict import logits_of

torch.set_num_threads(1)
CPU = Machine(torch.device("cpu"), "fp32")
PROJECT = Path(__file__).resolve().parents[2]
VIT = {
    "backbone": "vit_tiny_patch16_224",
    "arguments": {
        "img_size": 256,
        "embed_dim": 32,
        "depth": 1,
        "num_heads": 2,
        "class_token": False,
        "global_pool": "avg",
    },
}
ROPE = {
    "backbone": "vit_medium_patch16_rope_reg1_gap_256.sbb_in1k",
    "arguments": {"embed_dim": 32, "depth": 1, "num_heads": 2},
}
CONVNET = {"backbone": "resnet10t", "arguments": {"stem_width": 8, "channels": [16, 32, 32, 64]}}
GROUPS = (["optical"], ["sar_diff"], ["indices"])


def tiny(head: str, *backbones: dict, **changes):
    encoders = [{**one, "channels": channels} for one, channels in zip(backbones, GROUPS, strict=False)]
    network = {"encoders": encoders, "head": head, "features": 8, **changes.pop("network", {})}
    stored = {"name": f"tiny-{head}", "description": "", "network": network, **changes}
    return encoder_recipe_of({"scaling": {"kind": "standard", "constants": "paper"}, **stored}, "tiny")


RECIPES = {
    "single": tiny("single", VIT),
    "two": tiny("two", ROPE, VIT),
    "three-a": tiny("three-a", VIT, VIT, VIT, indices="scaled", scaling={"kind": "robust", "constants": "paper"}),
    "three-c": tiny("three-c", CONVNET, CONVNET, CONVNET, network={"input_px": 96}),
    "small-convnet": read_encoder_recipe("small-convnet"),
    "small-vit": read_encoder_recipe("small-vit"),
}
FOLDABLE = ("single", "two", "three-a")


@cache
def patches(name: str):
    """Simulated and adversarial ones, one without a valid pixel; of the recipe's bands."""
    recipe = RECIPES[name]
    hard = adversarial_patches()[1][:, [BAND_NAMES.index(band) for band in recipe.bands]]
    return np.concatenate([patches_of(recipe, 6), hard, np.full_like(hard[:1], np.nan)])


@cache
def network(name: str, seed: int = 0):
    """Random weights, logits spread; not to be changed."""
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    built = network_from_recipe(recipe, paper_scaling(recipe.scaling.kind))
    spread_logits(built, patches(name)[:6])
    return built


@cache
def exported(name: str, fold_stem: bool | None = None):
    return onnx_of_networks([network(name)], RECIPES[name].name, fold_stem=fold_stem)


def run(content: bytes | str, raw):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, settings).run(["logit"], {"patches": raw})[0]


def logits(of, raw):
    with torch.inference_mode():
        return of(torch.from_numpy(raw)).numpy()


def error(found, reference) -> float:
    """Largest, in units of max(1, |logit|)."""
    assert np.isfinite(found).all() and np.isfinite(reference).all()
    return float((np.abs(found - reference) / np.maximum(1, np.abs(reference))).max())


def metadata(content: bytes):
    return {one.key: one.value for one in onnx.load_model_from_string(content).metadata_props}


@pytest.mark.parametrize("name", RECIPES)
def test_the_graph_gives_the_logits_of_the_network(name):
    content = exported(name).content
    raw = patches(name)
    reference = logits(network(name), raw)
    assert reference[:6].std() >= 1
    found = run(content, raw)
    assert found.dtype == np.float32 and found.shape == (len(raw),)
    assert error(found[:6], reference[:6]) <= 1e-5
    assert error(found, reference) <= 1e-4  # extreme patches reach logits of hundreds
    assert error(run(content, raw[2:3]), reference[2:3]) <= 1e-5


@pytest.mark.parametrize("name", RECIPES)
def test_the_graph_is_as_the_contract_says(name):
    model = onnx.load_model_from_string(exported(name).content)
    onnx.checker.check_model(model, full_check=True)
    patches_in, logit_out = model.graph.input[0], model.graph.output[0]
    assert (len(model.graph.input), len(model.graph.output), exported(name).external) == (1, 1, {})
    shapes = [
        [one.dim_param or one.dim_value for one in end.type.tensor_type.shape.dim] for end in (patches_in, logit_out)
    ]
    assert (patches_in.name, logit_out.name) == ("patches", "logit")
    assert shapes == [["n", len(RECIPES[name].bands), 64, 64], ["n"]]
    assert {end.type.tensor_type.elem_type for end in (patches_in, logit_out)} == {onnx.TensorProto.FLOAT}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)] and model.ir_version == 8
    operators = [node.op_type for node in model.graph.node]
    assert not {"BatchNormalization", "Gelu", "Identity"} & set(operators) and not model.functions
    assert {"IsNaN", "Where", "Clip"} <= set(operators)
    assert len({node.name for node in model.graph.node}) == len(operators)
    limits = {
        float(onnx.numpy_helper.to_array(one)) for one in model.graph.initializer if one.name in clip_inputs(model)
    }
    assert {60_000.0, -60_000.0} <= limits
    assert metadata(exported(name).content) == {
        "lsd_bands": ",".join(RECIPES[name].bands),
        "lsd_precision": "fp32",
        "lsd_recipe": RECIPES[name].name,
        "lsd_stem": {"three-c": "resize", "small-convnet": "native"}.get(name, "folded"),
        "lsd_flips": "1",
        "lsd_folds": "1",
    }


def clip_inputs(model):
    return {name for node in model.graph.node if node.op_type == "Clip" for name in node.input[1:]}


@pytest.mark.parametrize("name", FOLDABLE)
def test_folded_and_unfolded_graphs_agree(name):
    folded, unfolded = exported(name).content, exported(name, False).content
    assert (metadata(folded)["lsd_stem"], metadata(unfolded)["lsd_stem"]) == ("folded", "resize")
    operators = [{node.op_type for node in onnx.load_model_from_string(one).graph.node} for one in (folded, unfolded)]
    assert "Resize" not in operators[0] and "Resize" in operators[1]
    raw = patches(name)
    assert error(run(folded, raw), run(unfolded, raw)) <= 1e-4
    assert error(run(unfolded, raw), logits(network(name), raw)) <= 1e-4


def test_flips_are_averaged_in_logits_as_training_does():
    content = onnx_of_networks([network("small-convnet")], "x", flips=True).content
    raw = patches("small-convnet")
    reference = logits_of(network("small-convnet"), torch.from_numpy(raw), CPU, flips=True).numpy()
    assert error(run(content, raw), reference) <= 1e-4
    assert error(run(content, raw[:1]), reference[:1]) <= 1e-4
    assert error(logits(network("small-convnet"), raw), reference) > 1e-2
    assert metadata(content)["lsd_flips"] == "4"
    flipless = onnx.load_model_from_string(exported("small-convnet").content).graph.node
    assert len(onnx.load_model_from_string(content).graph.node) < len(flipless) + 12


def test_folds_are_averaged_in_probabilities():
    networks = [network("single", seed) for seed in (0, 1, 2)]
    content = onnx_of_networks(networks, "x", flips=True).content
    raw = patches("single")
    each = [logits_of(one, torch.from_numpy(raw), CPU, flips=True).numpy() for one in networks]
    mean = np.mean([sigmoid(one) for one in each], axis=0)
    assert error(run(content, raw), np.log(mean) - np.log1p(-mean)) <= 1e-4
    assert error(np.mean(each, axis=0), np.log(mean) - np.log1p(-mean)) > 1e-2
    assert (metadata(content)["lsd_folds"], metadata(content)["lsd_flips"]) == ("3", "4")


class Given(nn.Module):
    """A network whose logits are the first pixel times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, raw):
        return self.factor * raw[:, 0, 0, 0]


def test_the_mean_of_certain_folds_keeps_its_digits():
    of = MeanOverFolds([Given(1.0), Given(0.5)])
    raw = torch.tensor([-200.0, -70.0, -30.0, -1.0, 0.0, 2.0, 30.0, 70.0, 200.0]).reshape(-1, 1, 1, 1)
    one = raw.double().flatten().clamp(-80, 80)
    two = (raw.double().flatten() / 2).clamp(-80, 80)
    expected = torch.logaddexp(-torch.log1p((-one).exp()), -torch.log1p((-two).exp())) - torch.logaddexp(
        -torch.log1p(one.exp()), -torch.log1p(two.exp())
    )
    torch.testing.assert_close(of(raw).double(), expected, rtol=1e-6, atol=1e-6)
    assert of(raw).diff().min() > 0


def test_the_network_itself_stays_as_it_is():
    own = deepcopy(network("two")).train()
    before = deepcopy(own.state_dict())
    fused = [module.fused_attn for module in own.modules() if hasattr(module, "fused_attn")]
    copied = prepared(own)
    assert own.training and not copied.training and any(fused)
    assert fused == [module.fused_attn for module in own.modules() if hasattr(module, "fused_attn")]
    assert not any(module.fused_attn for module in copied.modules() if hasattr(module, "fused_attn"))
    assert all(torch.equal(before[key], value) for key, value in own.state_dict().items())
    assert (stem_of(own), stem_of(copied), own.encoders[0].input_px) == ("resize", "folded", 256)


@torch.no_grad()
@pytest.mark.parametrize("name", ["two", "small-convnet"])
def test_one_statistic_that_changes_is_seen(name):
    changed = deepcopy(network(name))
    norms = [module for module in changed.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms[-1].running_mean[0] += 0.5
    raw = patches(name)
    assert error(run(exported(name).content, raw), logits(changed, raw)) > 1e-3


@pytest.mark.parametrize("name", RECIPES)
def test_swapped_bands_are_seen(name):
    raw = patches(name)[:6]
    swapped = raw[:, [1, 0, *range(2, raw.shape[1])]]
    assert error(run(exported(name).content, swapped), logits(network(name), raw)) > 3e-4


@pytest.mark.parametrize("name", ["two", "small-convnet"])
def test_the_same_network_gives_the_same_bytes_without_traces_of_the_machine(name):
    content = exported(name).content
    assert onnx_of_networks([deepcopy(network(name))], RECIPES[name].name).content == content
    for trace in (str(PROJECT), str(Path.home()), sys.prefix, "site-packages", "stack_trace", ".py"):
        assert trace.encode() not in content
    other = deepcopy(network(name))
    next(other.parameters()).data.mul_(1.001)
    assert onnx_of_networks([other], RECIPES[name].name).content != content


def test_nodes_are_named_after_their_module():
    names = [node.name for node in onnx.load_model_from_string(exported("two").content).graph.node]
    assert any(name.startswith("channels/IsNaN") for name in names)
    assert any(name.startswith("encoders.1.backbone.blocks.0.attn/Softmax") for name in names)


def test_weights_above_the_limit_lie_beside_the_graph(tmp_path):
    whole = exported("small-convnet")
    split = onnx_of_networks(
        [network("small-convnet")], "small-convnet", external_name="net.0.data", external_above_bytes=100_000
    )
    assert list(split.external) == ["net.0.data"] and len(split.content) < 100_000 < len(whole.content)
    (tmp_path / "net.0.onnx").write_bytes(split.content)
    (tmp_path / "net.0.data").write_bytes(split.external["net.0.data"])
    raw = patches("small-convnet")[:4]
    np.testing.assert_array_equal(run(str(tmp_path / "net.0.onnx"), raw), run(whole.content, raw))
    model = onnx.load(tmp_path / "net.0.onnx", load_external_data=False)
    offsets = [int(pair.value) for one in model.graph.initializer for pair in one.external_data if pair.key == "offset"]
    assert offsets and all(offset % 4096 == 0 for offset in offsets)


def test_a_stem_is_folded_where_it_can_be_or_must_be():
    assert exported("single", True).content == exported("single").content
    with pytest.raises(RecipeError, match="expected an enlargement to a multiple of 64 px to fold, found 96 px"):
        onnx_of_networks([network("three-c")], "x", fold_stem=True)


def test_what_cannot_be_exported_is_one_line():
    with pytest.raises(UsageError, match="x: expected at least one network"):
        onnx_of_networks([], "x")
    with pytest.raises(UsageError, match=r"x: expected networks of the same bands to average, found blue, .* and blue"):
        onnx_of_networks([network("single"), network("two")], "x")
    stubborn = deepcopy(network("single"))
    stubborn.head.forward = lambda features: features if features.sum() > 0 else -features
    with pytest.raises(RecipeError, match="x: torch cannot write its network as ONNX") as caught:
        onnx_of_networks([stubborn], "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_the_parser_of_tensorrt_takes_it(name):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    logger = trt.Logger(trt.Logger.ERROR)
    definition = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    assert parser.parse(exported(name).content), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    assert tuple(definition.get_input(0).shape) == (-1, len(RECIPES[name].bands), 64, 64)
