"""Galileo-nano: what it sees of our channels, that it computes what its authors' code does, and how it is loaded."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import RecipeError, UsageError
from lsd.train.encoders.galileo import PRETRAINING, GalileoBackbone, views_of
from lsd.train.encoders.galileo_encoder import LEFT_OUT, GalileoEncoder, resized_kernel
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.encoders.weights import Pretrained
from lsd.train.groups import bands_of_groups

SCALING = paper_scaling("standard")
OPTICAL_DESC = bands_of_groups("optical,desc_pair")
# Mean of the tokens, every 16th of its 128 numbers, of the patch `waves()`: computed once with the authors' own code
# (nasaharvest/galileo, single_file_galileo.py, load_from_folder and average_tokens) and the published nano weights.
AUTHORS = {
    ("all", 8): [0.037561, -0.045927, 0.082727, -0.135419, 0.191581, -0.151711, -0.006042, -0.037676],
    ("all", 4): [0.018939, -0.07782, 0.086515, -0.118296, 0.225741, -0.156822, 0.024767, -0.042919],
    ("optical", 8): [0.006153, -0.08974, -0.00273, 0.024249, 0.282779, -0.152378, -0.010119, -0.055982],
    ("optical", 4): [4.7e-05, -0.07846, 0.008684, 0.032165, 0.331545, -0.120222, -0.00132, -0.090032],
    ("desc_pair", 8): [0.020598, -0.097836, 0.046763, -0.003739, 0.131307, -0.095528, -0.020708, -0.024043],
    ("desc_pair", 4): [0.034043, -0.081819, 0.073642, -0.011304, 0.188217, -0.091273, 0.000551, -0.046564],
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def published(shared_data):
    folder = shared_data / "weights" / "galileo-nano"
    if not (folder / "encoder.pt").is_file():
        pytest.skip("the weights of Galileo-nano are not here: shared data lack weights/galileo-nano/encoder.pt")
    return folder


def waves(bands=BAND_NAMES):
    """One scaled patch, float32 (1, band, 64, 64), the same on every machine."""
    band, y, x = np.mgrid[0:12, 0:64, 0:64]
    patch = (1.2 * np.sin((band + 1) * y / 9 + x / 7)).astype(np.float32)
    return torch.from_numpy(patch[None, [BAND_NAMES.index(name) for name in bands]])


def scaled(raw, bands):
    """Raw values by band -> (1, band, 64, 64) as the network's own scaling would give them."""
    planes = [(raw[name] - SCALING.location[name]) / SCALING.spread[name] for name in bands]
    return torch.stack([torch.full((64, 64), plane) for plane in planes])[None]


def normalised(value, band):
    """Galileo's normalisation of a value in its own unit."""
    mean, std = PRETRAINING[band]
    return (value - (mean - 2 * std)) / (4 * std)


def image_of(backbone, x, group, changed=False):
    """The image of that group, all planes being constant: its values by band."""
    found = [
        image
        for view, image in zip(backbone.views, backbone.images(x), strict=True)
        if view.group == group and bool(view.changes) == changed
    ]
    assert len(found) == 1
    assert torch.equal(found[0], found[0][:, :, :1, :1].expand_as(found[0]))
    return found[0][0, :, 0, 0].tolist()


def weights_of(encoder):
    """A state dict as the published file has it, with tensors of other modalities."""
    others = {name + ("weight" if name.endswith(".") else ""): torch.zeros(3) for name in LEFT_OUT}
    return {**encoder.state_dict(), **others, "space_time_embed.S2_SWIR.proj.bias": torch.zeros(128)}


def test_raw_values_reach_galileo_in_its_own_units():
    raw = dict(zip(OPTICAL_DESC, (1200.0, 1500.0, 1800.0, 4600.0, -9.0, -16.0, 2.5, -1.5), strict=True))
    backbone = GalileoBackbone(OPTICAL_DESC, 3)
    x = scaled(raw, OPTICAL_DESC)
    rgb = [normalised(dn - 1000, band) for dn, band in ((1200, "B2"), (1500, "B3"), (1800, "B4"))]
    assert image_of(backbone, x, "S2_RGB") == pytest.approx(rgb, abs=1e-5)
    assert image_of(backbone, x, "S2_NIR_10m") == pytest.approx([normalised(3600, "B8")], abs=1e-5)
    assert image_of(backbone, x, "NDVI") == pytest.approx([(3600 - 800) / (3600 + 800)], abs=1e-5)
    after = [normalised(-9.0, "VV"), normalised(-16.0, "VH")]
    before = [normalised(-9.0 - 2.5, "VV"), normalised(-16.0 + 1.5, "VH")]
    assert image_of(backbone, x, "S1") == pytest.approx(after, abs=1e-5)
    assert image_of(backbone, x, "S1", changed=True) == pytest.approx(before, abs=1e-5)


def test_ndvi_is_finite_where_nothing_is_reflected():
    raw = {"red": 990.0, "nir": 1000.0}
    backbone = GalileoBackbone(("red", "nir"), 3)
    assert image_of(backbone, scaled(raw, ("red", "nir")), "NDVI") == pytest.approx([0.0], abs=1e-3)


def test_change_without_level_is_a_change_from_the_average():
    bands = ("asc_dvv", "asc_dvh")
    backbone = GalileoBackbone(bands, 3)
    assert [(view.group, view.moment) for view in backbone.views] == [("S1", 1)]
    expected = [
        normalised(SCALING.location["asc_vv"] - 3.0, "VV"),
        normalised(SCALING.location["asc_vh"] + 2.0, "VH"),
    ]
    found = image_of(backbone, scaled({"asc_dvv": 3.0, "asc_dvh": -2.0}, bands), "S1", changed=True)
    assert found == pytest.approx(expected, abs=1e-5)


def test_order_of_channels_does_not_matter():
    backbone = GalileoBackbone(OPTICAL_DESC, 3).eval()
    turned = GalileoBackbone(OPTICAL_DESC[::-1], 3).eval()
    turned.load_state_dict(backbone.state_dict())
    x = waves(OPTICAL_DESC)
    assert torch.equal(backbone(x), turned(x.flip(1)))


@pytest.mark.parametrize(
    ("groups", "images"),
    [
        ("all", 7), ("optical", 3), ("sar", 4), ("optical,desc_pair", 5), ("asc_pair", 2), ("posts", 2), ("diffs", 2),
        ("optical,diffs", 5),
    ],
)  # fmt: skip
def test_absent_groups_have_no_tokens(groups, images):
    bands = bands_of_groups(groups)
    assert len(views_of(bands)) == images
    backbone = GalileoBackbone(bands, 5)
    x = waves(bands)
    assert backbone.encoder(backbone.images(x)).shape == (1, images * 64, 128)
    assert backbone(x).shape == (1, 5)


def test_visible_bands_alone_make_no_nir_and_no_ndvi():
    assert [view.group for view in views_of(("blue", "green", "red"))] == ["S2_RGB"]


@pytest.mark.parametrize(
    ("channels", "arguments", "message"),
    [
        ((), {}, "found none"),
        (("red", "nir_red"), {}, "found nir_red"),
        (("red",), {"patch_size_px": 16}, "patch_size_px must be 8, 4, 2, 1, is 16"),
        (("red",), {"patch_size_px": "8"}, "is '8'"),
    ],
)
def test_unfit_recipe_is_refused(channels, arguments, message):
    with pytest.raises(RecipeError, match=message):
        GalileoBackbone(channels, 3, **arguments)


def test_every_parameter_learns():
    backbone = GalileoBackbone(BAND_NAMES, 3)
    backbone(waves()).sum().backward()
    assert [name for name, one in backbone.named_parameters() if one.grad is None] == []


def test_tokens_know_their_place_and_time():
    backbone = GalileoBackbone(("desc_vv", "desc_dvv"), 3)
    fixed = backbone.encoder.fixed
    assert fixed.shape == (2, 64, 96)
    assert len(torch.unique(fixed[0], dim=0)) == 64
    assert torch.equal(fixed[0, :, 32:], fixed[1, :, 32:])
    assert not torch.equal(fixed[0, :, :32], fixed[1, :, :32])
    # a column is told by the first 16 numbers of the place, a row by the others
    assert torch.equal(fixed[0, 0, 64:80], fixed[0, 8, 64:80])
    assert torch.equal(fixed[0, 0, 80:], fixed[0, 1, 80:])


def test_kernel_of_the_published_size_is_left_alone():
    kernel = torch.randn(4, 2, 8, 8)
    assert torch.equal(resized_kernel(kernel, 8), kernel)


def test_resized_kernel_sees_in_the_resized_image_what_the_kernel_saw():
    small = torch.randn(4, 2, 4, 4)
    image = torch.zeros(1, 2, 8, 8, requires_grad=True)
    kernels = []
    for one in small:  # kernels of 8 px that look at the resized image through the small ones
        seen = (functional.interpolate(image, (4, 4), mode="bicubic", antialias=True) * one).sum()
        kernels.append(torch.autograd.grad(seen, image)[0][0])
    torch.testing.assert_close(resized_kernel(torch.stack(kernels), 4), small, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("as_folder", [False, True])
def test_weights_are_loaded_from_file_or_folder(tmp_path, as_folder):
    source = GalileoBackbone(OPTICAL_DESC, 3)
    torch.save(weights_of(source.encoder), tmp_path / "encoder.pt")
    (tmp_path / "config.json").write_text("{}")
    loaded = GalileoBackbone(OPTICAL_DESC, 3, tmp_path if as_folder else tmp_path / "encoder.pt")
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], value), name
    assert loaded.origin == "encoder.pt (75 tensors, 9 of other inputs left out)"
    assert source.origin == "random"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("norm.bias", None, "missing: norm.bias"),
        ("space_time_embed.S1.proj.weight", None, "missing: space_time_embed.S1.proj.weight"),
        ("blocks.4.norm1.bias", torch.zeros(128), "unexpected: blocks.4.norm1.bias"),
        ("norm.bias", torch.zeros(192), r"norm.bias \(192,\) instead of \(128,\)"),
        ("space_time_embed.S1.proj.weight", torch.zeros(128, 3, 8, 8), r"\(128, 3, 8, 8\) instead of \(128, 2, 8, 8\)"),
    ],
)
def test_unfit_weights_are_refused(tmp_path, key, value, message):
    stored = weights_of(GalileoEncoder([("S1", 0)], 8))
    stored.pop(key, None)
    if value is not None:
        stored[key] = value
    torch.save(stored, tmp_path / "encoder.pt")
    with pytest.raises(UsageError, match=message):
        GalileoBackbone(("desc_vv", "desc_vh"), 3, tmp_path)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(UsageError, match="nothing-here"):
        GalileoBackbone(("desc_vv",), 3, tmp_path / "nothing-here")


@pytest.mark.parametrize("groups", ["all", "optical", "optical,diffs", "asc_pair"])
def test_recipe_builds_and_survives_invalid_pixels(groups):
    recipe = read_encoder_recipe("galileo-nano").for_bands(bands_of_groups(groups))
    network = network_from_recipe(recipe, SCALING).eval()
    raw = torch.stack([waves() * SCALING.spread[name] + SCALING.location[name] for name in network.bands])[:, 0, 0]
    patches = torch.stack([raw, torch.full_like(raw, torch.nan), torch.zeros_like(raw)])
    logits = network(patches)
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("groups", "patch_size_px"), AUTHORS)
def test_features_are_those_of_the_authors_code(published, groups, patch_size_px):
    bands = bands_of_groups(groups)
    backbone = GalileoBackbone(bands, 128, published, patch_size_px=patch_size_px).eval()
    backbone.head = nn.Identity()
    with torch.no_grad():
        features = backbone(waves(bands))
    assert features[0, ::16].tolist() == pytest.approx(AUTHORS[groups, patch_size_px], abs=5e-6)


def test_recipe_names_the_weights_it_was_made_for(published):
    recipe = read_encoder_recipe("galileo-nano")
    assert hashlib.sha256((published / "encoder.pt").read_bytes()).hexdigest() in recipe.description
    network = network_from_recipe(recipe, SCALING, Pretrained(str(published)))
    stored = torch.load(published / "encoder.pt", map_location="cpu", weights_only=True)
    kept = network.encoders[0].backbone.encoder.state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in kept.items())


def test_published_tables_are_those_computed_here(published):
    stored = torch.load(published / "encoder.pt", map_location="cpu", weights_only=True)
    fixed = GalileoBackbone(BAND_NAMES, 3).encoder.fixed
    for view, timestep in enumerate((0, 1, 2, 3)):
        torch.testing.assert_close(fixed[view, 0, :32], stored["pos_embed"][timestep], atol=1e-5, rtol=0)
        torch.testing.assert_close(fixed[view, 0, 32:64], stored["month_embed.weight"][5], atol=1e-5, rtol=0)


def test_an_argument_that_it_does_not_take_is_one_line():
    stored = {
        "name": "wrong",
        "description": "",
        "network": {
            "encoders": [{"backbone": "galileo-nano", "channels": ["optical"], "arguments": {"patch_px": 8}}],
            "head": "single",
            "input_px": 64,
        },
        "scaling": {"kind": "standard", "constants": "paper"},
    }
    with pytest.raises(RecipeError, match="patch_px"):
        network_from_recipe(encoder_recipe_of(stored, "wrong"), paper_scaling("standard"))
