"""Checkpoints under the names that the paper's author gives, of networks built here from timm models and layers."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lsd.runtime.errors import UsageError
from lsd.train.checkpoints import find_checkpoints, import_checkpoints, recipe_of_checkpoint
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of, read_encoder_recipe
from lsd.train.encoders.torchvision import import_timm

torch.set_num_threads(1)
timm = import_timm()
PAPER = ("paper-v10", "paper-v20", "paper-v31", "paper-v33", "paper-v37", "paper-v39", "paper-v46")
TINY_VIT = {"img_size": 256, "embed_dim": 24, "depth": 1, "num_heads": 2, "class_token": False, "global_pool": "avg"}
TINY = {
    "vit_tiny_patch16_224": TINY_VIT,
    "resnet10t": {"stem_width": 4, "channels": [8, 8, 8, 8]},
}
SCALING = json.loads(resources.files("lsd.train").joinpath("data/paper_scaling.json").read_text())
CHANNELS = (*SCALING["bands"], "nir_blue", "nir_green", "nir_red", "red_green", "red_blue", "green_blue")
# METHOD, task: the bands of the six indices by their numbers
RATIOS = ((3, 0), (3, 1), (3, 2), (2, 1), (2, 0), (1, 0))
HEAD_LAYERS = {  # attribute -> layer, for f features of each encoder
    "two": lambda f: {"feats": nn.Linear(2 * f, f), "bn": nn.BatchNorm1d(f), "clf": nn.Linear(3 * f, 1)},
    "three-a": lambda f: {
        "feats": nn.Linear(3 * f, 2 * f), "bn": nn.BatchNorm1d(2 * f), "comb": nn.Linear(5 * f, 2 * f),
        "do": nn.Dropout(0.1), "clf": nn.Linear(2 * f, 1),
    },
    "three-c": lambda f: {"feats": nn.Linear(3 * f, f), "clf": nn.Linear(4 * f, 1)},
}  # fmt: skip


class Author(nn.Module):
    """model1, model2, ..., feats, bn, comb, do, clf; `parts` are the channels of each model."""

    def __init__(self, models, head: str, parts: list[list[int]], features: int):
        super().__init__()
        self.parts, self.head = parts, head
        for number, model in enumerate(models, start=1):
            setattr(self, f"model{number}", model)
        for name, layer in HEAD_LAYERS[head](features).items():
            setattr(self, name, layer)

    def forward(self, x):
        own = [getattr(self, f"model{i}")(x[:, part]) for i, part in enumerate(self.parts, start=1)]
        joined = torch.cat(own, 1)
        reduced = self.feats(joined)
        reduced = self.bn(reduced) if self.head != "three-c" else functional.relu(reduced)
        everything = torch.cat([joined, reduced], 1)
        return self.clf(self.do(self.comb(everything)) if self.head == "three-a" else everything)


def author_model(recipe, seed: int) -> nn.Module:
    """As the author builds it; running means and layer scales are moved, so that every tensor counts."""
    torch.manual_seed(seed)
    encoders, features = recipe.network.encoders, recipe.network.features
    outputs = 1 if recipe.network.head == "single" else features
    models = [
        timm.create_model(one.backbone, in_chans=len(one.channels), num_classes=outputs, **one.arguments)
        for one in encoders
    ]
    single = recipe.network.head == "single"
    parts, at = [], 0
    for one in encoders:
        parts.append(list(range(at, at + len(one.channels))))
        at += len(one.channels)
    model = models[0] if single else Author(models, recipe.network.head, parts, features)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not name.endswith("running_var"):
                value += 0.02 * torch.randn_like(value)
    return model.eval()


def direct(model: nn.Module, recipe, raw: torch.Tensor) -> torch.Tensor:
    """The author's forward pass of raw patches with all 12 bands: scaling, indices, enlargement, network."""
    standard = recipe.scaling.kind == "standard"
    location = SCALING["mean" if standard else "q50"]
    spread = SCALING["std"] if standard else np.subtract(SCALING["q95"], SCALING["q05"])
    scaled = (raw - column(location)) / column(spread)
    source = scaled if recipe.indices == "scaled" else raw
    ratios = [(source[:, a] - source[:, b]) / (source[:, a] + source[:, b] + 1e-10) + 0.5 for a, b in RATIOS]
    everything = torch.cat([scaled, torch.stack(ratios, 1)], 1).clamp(-60_000, 60_000)
    numbers = [CHANNELS.index(name) for one in recipe.network.encoders for name in one.channels]
    size = (recipe.network.input_px,) * 2
    return model(functional.interpolate(everything[:, numbers], size=size, mode="bilinear", align_corners=False))[:, 0]


def column(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(12, 1, 1)


def raw_patches(n: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    pixels = np.empty((n, 12, 64, 64), np.float32)
    pixels[:, :4] = rng.integers(900, 6000, (n, 4, 64, 64))
    pixels[:, 4:] = rng.normal(-10, 6, (n, 8, 64, 64))
    return torch.from_numpy(pixels)


def tiny(head: str, backbone: str, indices: str = "stored"):
    groups = {
        "single": [["sar", "sar_diff", "indices"]],
        "two": [["optical"], ["sar_diff"]],
        "three-a": [["optical"], ["sar_diff"], ["indices"]],
        "three-c": [["optical"], ["sar"], ["sar_diff"]],
    }[head]
    encoders = [{"backbone": backbone, "channels": channels, "arguments": TINY[backbone]} for channels in groups]
    network = {"encoders": encoders, "head": head, "features": 8}
    stored = {"name": "tiny", "description": "", "network": network, "indices": indices}
    return encoder_recipe_of({**stored, "scaling": {"kind": "robust", "constants": "paper"}}, "tiny")


def write(folder, model: nn.Module, prefix: str = "Landslide_v1", fold: int = 0):
    torch.save(model.state_dict(), folder / f"{prefix}_Fold{fold}_last.pt")


@torch.inference_mode()
def equal_outputs(folder, recipe, seeds: list[int], n: int) -> None:
    models = [author_model(recipe, seed) for seed in seeds]
    for fold, model in enumerate(models):
        write(folder, model, fold=fold)
    scaling, states = import_checkpoints(find_checkpoints(folder, None, len(seeds)), recipe)
    network = network_from_recipe(recipe, scaling).eval()
    raw = raw_patches(n)
    picked = [CHANNELS.index(band) for band in network.bands]
    for fold, model in enumerate(models):
        network.load_state_dict(states[fold])
        found = network(raw[:, picked])
        assert torch.equal(found, direct(model, recipe, raw)), f"fold {fold}"
        assert found.std() > 0


@pytest.mark.parametrize("backbone", TINY)
@pytest.mark.parametrize("head", ["single", "two", "three-a", "three-c"])
def test_imported_networks_equal_the_authors(tmp_path, head, backbone):
    indices = "scaled" if head in ("single", "three-a") else "stored"
    equal_outputs(tmp_path, tiny(head, backbone, indices), [1, 2], 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_import_the_authors_networks(tmp_path, name):
    equal_outputs(tmp_path, read_encoder_recipe(name), [1], 2)


def test_wrapped_and_prefixed_and_half_precision_files_are_read(tmp_path):
    recipe = tiny("two", "resnet10t")
    model = author_model(recipe, 1)
    files = {}
    for fold, stored in enumerate(
        (
            {"epoch": 20, "model": model.state_dict()},
            {"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}},
            {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()},
        )
    ):
        files[fold] = tmp_path / f"x_Fold{fold}_last.pt"
        torch.save(stored, files[fold])
    _, states = import_checkpoints(files, recipe)
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value)
        assert states[2][name].dtype == value.dtype
        torch.testing.assert_close(states[2][name], value, rtol=1e-3, atol=1e-3)


def test_wrong_tensors_are_listed_by_the_authors_names(tmp_path):
    recipe = tiny("two", "resnet10t")
    state = author_model(recipe, 1).state_dict()
    state["feats.weights"] = state.pop("feats.weight")
    state["clf.weight"] = torch.zeros(1, 9)
    torch.save(state, tmp_path / "x_Fold0_last.pt")
    with pytest.raises(UsageError) as caught:
        import_checkpoints({0: tmp_path / "x_Fold0_last.pt"}, recipe)
    text = str(caught.value)
    assert "does not fit recipe 'tiny': missing: feats.weight; unexpected: feats.weights; " in text
    assert "misshaped: clf.weight (1, 9) instead of (1, 24)" in text and "\n" not in text
    write(tmp_path, author_model(tiny("three-c", "resnet10t"), 1), "y")
    with pytest.raises(UsageError, match=r"unexpected: model3.*; misshaped: feats.weight"):
        import_checkpoints({0: tmp_path / "y_Fold0_last.pt"}, recipe)


def test_scaling_by_constants_of_the_data_is_refused():
    with pytest.raises(UsageError, match=r"'small-vit' scales by constants of its training data"):
        import_checkpoints({}, read_encoder_recipe("small-vit"))


def test_files_are_found_by_prefix_and_fold(tmp_path):
    for name in ("a_Fold0_last.pt", "a_Fold1_last.pt", "b_v2_Fold0_last.pt", "a_Fold0_best.pt", "readme.txt"):
        (tmp_path / name).touch()
    found = find_checkpoints(tmp_path, "a", 2)
    assert {fold: path.name for fold, path in found.items()} == {0: "a_Fold0_last.pt", 1: "a_Fold1_last.pt"}
    assert list(find_checkpoints(tmp_path, "b_v2", 1)) == [0]
    for arguments, line in (
        ((tmp_path, None, 2), "several networks; choose one with --prefix: a, b_v2"),
        ((tmp_path, "c", 2), r"expected files c_Fold\{k\}_last.pt, found those of: a, b_v2"),
        ((tmp_path, "a", 5), r"expected folds 0 to 4 \(--folds\), found 0, 1"),
        ((tmp_path, "a", 1), r"expected folds 0 to 0 \(--folds\), found 0, 1"),
        ((tmp_path / "none", None, 5), "expected a folder with files"),
    ):
        with pytest.raises(UsageError, match=line):
            find_checkpoints(*arguments)


def empty_checkpoint(folder, name: str):
    """A file with the names and shapes of a paper recipe's network; all values share the memory of one."""
    with torch.device("meta"):
        state = author_model(read_encoder_recipe(name), 0).state_dict()
    file = folder / f"{name}_Fold0_last.pt"
    torch.save({key: torch.zeros(()).expand(value.shape) for key, value in state.items()}, file)
    return file


@pytest.mark.parametrize("name", ["paper-v10", "paper-v37"])
def test_a_recipe_is_told_by_the_weights(tmp_path, name):
    assert recipe_of_checkpoint(empty_checkpoint(tmp_path, name)).name == name


def test_recipes_that_differ_in_scaling_only_are_asked_for(tmp_path):
    with pytest.raises(UsageError, match="its weights fit paper-v31 or paper-v33; say which with --recipe"):
        recipe_of_checkpoint(empty_checkpoint(tmp_path, "paper-v33"))
    torch.save({"weight": torch.ones(2)}, tmp_path / "z_Fold0_last.pt")
    with pytest.raises(UsageError, match=r"its weights fit none of paper-v10, .*; give --recipe with yours"):
        recipe_of_checkpoint(tmp_path / "z_Fold0_last.pt")
