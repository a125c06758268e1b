from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lsd.runtime.errors import RecipeError
from lsd.train.encoders.stem import enlargement, fold_stem, folded_kernel
from lsd.train.encoders.torchvision import import_timm

torch.set_num_threads(1)
timm = import_timm()
# of the paper's five ViT members, three are distinct; two blocks of each: the stem is what is compared
VITS = (
    "vit_pwee_patch16_reg1_gap_256.sbb_in1k",
    "vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k",
    "vit_medium_patch16_rope_reg1_gap_256.sbb_in1k",
)


@pytest.mark.parametrize(("scale", "kernel_px"), [(4, 16), (4, 32), (2, 16), (3, 12)])
def test_enlargement_is_torchs_bilinear_interpolation(scale, kernel_px):
    raw = torch.randn(1, 1, 1, 5 * kernel_px // scale, dtype=torch.float64)
    wide = functional.interpolate(raw, size=(1, raw.shape[-1] * scale), mode="bilinear", align_corners=False)[0, 0, 0]
    cell = kernel_px // scale
    own = torch.cat([raw[0, 0, 0, :1], raw[0, 0, 0], raw[0, 0, 0, -1:]])  # the border stands in beyond it
    weights = enlargement(scale, kernel_px)
    for i in range(5):
        torch.testing.assert_close(
            weights @ own[i * cell : i * cell + cell + 2], wide[i * kernel_px : (i + 1) * kernel_px]
        )


def test_folded_kernel_keeps_its_sum_and_dtype():
    kernel = torch.randn(3, 2, 16, 16)
    folded = folded_kernel(kernel, 4)
    assert folded.shape == (3, 2, 6, 6) and folded.dtype == torch.float32
    torch.testing.assert_close(folded.sum((2, 3)), kernel.sum((2, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", VITS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@torch.inference_mode()
def test_folded_vit_equals_the_unfolded_one(name, dtype, tolerance):
    torch.manual_seed(0)
    model = timm.create_model(name, in_chans=4, num_classes=256, depth=2).eval().to(dtype)
    raw = torch.randn(2, 4, 64, 64, dtype=dtype)
    wide = functional.interpolate(raw, size=(256, 256), mode="bilinear", align_corners=False)
    tokens, outputs = model.forward_features(wide), model(wide)
    before = sum(value.numel() for value in model.parameters())
    fold_stem(model, 4)
    assert model.patch_embed.proj.weight.shape[-2:] == (6, 6)
    assert before - sum(value.numel() for value in model.parameters()) == 4 * model.embed_dim * (256 - 36)
    for folded, unfolded in ((model.forward_features(raw), tokens), (model(raw), outputs)):
        assert (folded - unfolded).abs().max() <= tolerance * unfolded.abs().max().clamp(min=1)


def test_gradients_reach_the_folded_kernel():
    model = timm.create_model(VITS[0], in_chans=4, num_classes=1, depth=1)
    fold_stem(model, 4)
    model(torch.randn(1, 4, 64, 64)).sum().backward()
    assert model.patch_embed.proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("resnet10t", {}, 'a ResNet has no patch embedding .* give "stem": "resize"'),
        (
            "vit_tiny_patch16_224",
            {"patch_size": 14, "img_size": 252, "depth": 1},
            "expected square patches of a multiple of 4",
        ),
    ],
)
def test_what_cannot_be_folded_is_refused(name, arguments, line):
    with pytest.raises(RecipeError, match=line):
        fold_stem(timm.create_model(name, **arguments), 4)
