from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import RecipeError, UsageError
from lsd.train.encoders.heads import create_head
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.encoders.torchvision import import_timm
from lsd.train.encoders.weights import Pretrained

torch.set_num_threads(1)
timm = import_timm()
# TOOLCHAIN, section 1: parameters with 256 outputs and 4, 6 or 14 channels
ENCODERS = {
    "vit_pwee_patch16_reg1_gap_256.sbb_in1k": (15_127_808, 15_258_880, 15_783_168),
    "vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k": (38_631_168, 38_893_312, 39_941_888),
    "vit_medium_patch16_rope_reg1_gap_256.sbb_in1k": (38_492_416, 38_754_560, 39_803_136),
    "maxvit_rmlp_tiny_rw_256.sw_in1k": (28_767_512, 28_768_088, 28_770_392),
    "caformer_s18.sail_in22k_ft_in1k": (24_820_336, 24_826_608, 24_851_696),
}
PWEE, MEDIUM, ROPE, MAXVIT, CAFORMER = ENCODERS
HEAD_TWO = (512 * 256 + 256) + 2 * 256 + (768 + 1)
HEAD_A = (768 * 512 + 512) + 2 * 512 + (1280 * 512 + 512) + (512 + 1)
HEAD_C = (768 * 256 + 256) + (1024 + 1)
# a single member ends in 1 instead of 256 outputs of num_features
PAPER = {
    "paper-v10": ENCODERS[MAXVIT][0] - 255 * (512 + 1),
    "paper-v20": ENCODERS[MEDIUM][2] - 255 * (512 + 1),
    "paper-v31": 2 * ENCODERS[PWEE][0] + HEAD_TWO,
    "paper-v33": 2 * ENCODERS[PWEE][0] + HEAD_TWO,
    "paper-v37": 2 * ENCODERS[PWEE][0] + ENCODERS[PWEE][1] + HEAD_A,
    "paper-v39": 2 * ENCODERS[CAFORMER][0] + ENCODERS[CAFORMER][1] + HEAD_A,
    "paper-v46": 3 * ENCODERS[ROPE][0] + HEAD_C,
}
VIT = {
    "backbone": "vit_tiny_patch16_224",
    "arguments": {
        "img_size": 256,
        "embed_dim": 24,
        "depth": 1,
        "num_heads": 2,
        "class_token": False,
        "global_pool": "avg",
    },
}
GROUPS = (["optical"], ["sar_diff"], ["indices"])


def parameters(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def tiny(head: str, n: int, **changes):
    encoders = [{**VIT, "channels": channels} for channels in GROUPS[:n]]
    network = {"encoders": encoders, "head": head, "features": 8, **changes}
    scaling = {"kind": "standard", "constants": "paper"}
    return encoder_recipe_of({"name": "tiny", "description": "", "network": network, "scaling": scaling}, "tiny")


def build(recipe, seed: int = 0):
    torch.manual_seed(seed)
    return network_from_recipe(recipe, paper_scaling(recipe.scaling.kind)).eval()


def patches(n: int, bands: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(1000, 400, (n, bands, 64, 64)).astype(np.float32))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_have_the_parameter_counts_of_the_table(name):
    for channels, expected in zip((4, 6, 14), ENCODERS[name], strict=True):
        with torch.device("meta"):
            assert parameters(timm.create_model(name, in_chans=channels, num_classes=256)) == expected


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_build_with_the_sum_of_their_parts(name):
    recipe = read_encoder_recipe(name)
    with torch.device("meta"):
        network = network_from_recipe(recipe, paper_scaling(recipe.scaling.kind))
        assert network(torch.empty(2, len(recipe.bands), 64, 64)).shape == (2,)
    assert parameters(network) == PAPER[name]
    assert network.bands == recipe.bands and network.origins == ("random",) * len(recipe.network.encoders)


@pytest.mark.parametrize("name", ["small-vit", "small-convnet"])
def test_small_recipes_train_on_raw_patches(name):
    recipe = read_encoder_recipe(name)
    network = build(recipe).train()
    raw = patches(4, 12)
    raw[0, 4:] = torch.nan
    logits = network(raw)
    assert logits.shape == (4,) and logits.dtype == torch.float32
    logits.square().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
    assert parameters(network) < 3_000_000 and network.bands == BAND_NAMES


@torch.inference_mode()
def test_heads_join_features_as_the_paper_does():
    torch.manual_seed(0)
    x = torch.randn(5, 24)
    single, two, a, c = (create_head(kind, 8).eval() for kind in ("single", "two", "three-a", "three-c"))
    assert torch.equal(single(x[:, :1]), x[:, :1])
    two.norm.running_mean.normal_()
    fused = (x[:, :16] @ two.fuse.weight.T + two.fuse.bias - two.norm.running_mean) / (1 + 1e-5) ** 0.5
    wanted = torch.cat([x[:, :16], fused], 1) @ two.classify.weight.T + two.classify.bias
    torch.testing.assert_close(two(x[:, :16]), wanted)
    fused = (x @ a.fuse.weight.T + a.fuse.bias) / (1 + 1e-5) ** 0.5
    combined = torch.cat([x, fused], 1) @ a.combine.weight.T + a.combine.bias
    torch.testing.assert_close(a(x), combined @ a.classify.weight.T + a.classify.bias)
    fused = (x @ c.fuse.weight.T + c.fuse.bias).clamp(min=0)
    torch.testing.assert_close(c(x), torch.cat([x, fused], 1) @ c.classify.weight.T + c.classify.bias)
    assert a.dropout.p == 0.1 and [parameters(create_head(kind, 256)) for kind in ("two", "three-a", "three-c")] == [
        HEAD_TWO, HEAD_A, HEAD_C,
    ]  # fmt: skip


@torch.inference_mode()
def test_every_encoder_sees_its_own_channels_enlarged():
    recipe = tiny("three-a", 3)
    network = build(recipe)
    raw = patches(2, 8)
    channels = network.channels(raw)
    wide = functional.interpolate(channels, size=(256, 256), mode="bilinear", align_corners=False)
    own = ((0, 4), (4, 8), (8, 14))
    features = [one.backbone(wide[:, a:b]) for one, (a, b) in zip(network.encoders, own, strict=True)]
    assert torch.equal(network(raw), network.head(torch.cat(features, 1)).squeeze(1))


@torch.inference_mode()
def test_folding_the_stems_leaves_the_logits():
    network = build(tiny("two", 2))
    raw = patches(3, 8)
    before = network(raw)
    for encoder in network.encoders:
        encoder.fold_stem()
        encoder.fold_stem()  # nothing left to fold
        assert encoder.input_px == 64
    torch.testing.assert_close(network(raw), before, rtol=1e-4, atol=1e-5)
    folded = build(tiny("two", 2, stem="folded"))
    torch.testing.assert_close(folded(raw), before, rtol=1e-4, atol=1e-5)


def test_bands_that_never_came_change_nothing_but_their_own_channels():
    network = build(tiny("two", 2))
    with torch.inference_mode():
        raw = patches(2, 8)
        absent = raw.clone()
        absent[:, 4:] = torch.nan
        again = raw.clone()
        again[:, 4:] = torch.tensor([paper_scaling("standard").location[band] for band in network.bands[4:]]).view(
            -1, 1, 1
        )
        assert torch.equal(network(absent), network(again)) and not torch.equal(network(absent), network(raw))


def test_the_same_seed_gives_the_same_network():
    first, second, other = (build(tiny("two", 2), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_the_whole_network_is_exported_with_a_free_batch_size():
    network = build(tiny("two", 2, stem="folded"))
    batch = torch.export.Dim("n", min=1, max=64)
    exported = torch.export.export(network, (patches(2, 8),), dynamic_shapes=({0: batch},)).module()
    raw = patches(5, 8, seed=1)
    raw[0, :4, :9] = torch.nan
    torch.testing.assert_close(exported(raw), network(raw))


def one(**changes):
    encoder = {"backbone": "resnet10t", "channels": ["optical"], **changes.pop("encoder", {})}
    network = {"encoders": [encoder], "head": "single", "input_px": 64, **changes}
    stored = {
        "name": "one",
        "description": "",
        "network": network,
        "scaling": {"kind": "standard", "constants": "paper"},
    }
    return encoder_recipe_of(json.loads(json.dumps(stored)), "one")


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (one(encoder={"backbone": "resnet10x"}), r"timm .* has no network 'resnet10x', did you mean 'resnet"),
        (one(encoder={"arguments": {"widht": 3}}), "resnet10t does not take the recipe's arguments .*widht"),
        (
            one(encoder={**VIT, "arguments": {**VIT["arguments"], "global_pool": ""}}, input_px=256),
            r"vit_tiny_patch16_224 gives \(1, 256, 1\) for one patch, expected \(1, 1\)",
        ),
        (one(encoder={**VIT}, input_px=128), 'does not take patches of 128 px .* "img_size"'),
        (one(stem="folded", input_px=256), "no patch embedding to fold"),
    ],
)
def test_what_does_not_fit_is_one_line(recipe, line):
    with torch.device("meta"), pytest.raises(RecipeError, match=line) as caught:
        network_from_recipe(recipe, paper_scaling("standard"))
    assert "\n" not in str(caught.value)


def test_galileo_is_built_like_any_other_backbone_but_is_not_on_the_hub():
    recipe = read_encoder_recipe("galileo-nano")
    network = build(recipe)
    assert network.origins == ("random",)
    with torch.inference_mode():
        assert network(patches(1, len(recipe.bands))).shape == (1,)
    with pytest.raises(UsageError, match="no part of timm's hub; give --pretrained"):
        network_from_recipe(recipe, paper_scaling("standard"), Pretrained("hub"))
