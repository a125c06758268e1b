"""Run folders of small networks with random weights whose logits spread: they test machinery and mean nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import RecipeError
from lsd.train.encoder_run import WEIGHTS_NAME, EncoderRun, fold_folder, load_encoder_run
from lsd.train.encoder_save import write_imported_run
from lsd.train.encoders.network import Network, network_from_recipe
from lsd.train.encoders.recipe import EncoderRecipe, encoder_recipe_of
from lsd.train.encoders.scaling import paper_scaling

_VIT = {"img_size": 256, "embed_dim": 32, "depth": 1, "num_heads": 2, "class_token": False, "global_pool": "avg"}
# the paper's v37 in small: three ViTs on patches of 16 px of the enlarged image, indices of scaled bands, head (a)
TRAP_RECIPE: dict[str, Any] = {
    "name": "trap",
    "description": "A network for tests.",
    "network": {
        "encoders": [
            {"backbone": "vit_tiny_patch16_224", "channels": [group], "arguments": _VIT}
            for group in ("optical", "sar_diff", "indices")
        ],
        "head": "three-a",
        "features": 16,
        "input_px": 256,
        "stem": "resize",
    },
    "scaling": {"kind": "standard", "constants": "paper"},
    "indices": "scaled",
    "fitting": {"learning_rate": 0.001, "epochs": 1, "batch_size": 8},
}
# a ConvNet over all bands, for the ones of an encoder run that was trained with modality dropout
CONV_RECIPE: dict[str, Any] = {
    "name": "conv",
    "description": "A network for tests.",
    "network": {
        "encoders": [
            {
                "backbone": "resnet10t",
                "channels": ["optical", "sar", "sar_diff"],
                "arguments": {"stem_width": 8, "channels": [8, 8, 16, 16]},
            }
        ],
        "head": "single",
        "input_px": 64,
    },
    "scaling": {"kind": "standard", "constants": "paper"},
    "fitting": {"learning_rate": 0.001, "epochs": 1, "batch_size": 8, "modality_dropout": {"optical": 0.2, "sar": 0.2}},
}


def spread_network(recipe: EncoderRecipe, seed: int, spread: float = 2.0) -> Network:
    """A network in evaluation mode whose logits of simulated patches have mean 0 and this standard deviation."""
    torch.manual_seed(seed)
    network = network_from_recipe(recipe, paper_scaling(recipe.scaling.kind))
    for module in network.modules():  # BatchNorms as if they had seen something
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.eval()
    _spread(network, recipe.network.head, spread, seed)
    return network


def _spread(network: Network, head: str, spread: float, seed: int) -> None:
    patches = torch.from_numpy(simulated_patches(32, seed))[:, [BAND_NAMES.index(band) for band in network.bands]]
    last = network.head.classify if head != "single" else network.encoders[0].backbone.get_classifier()
    if not isinstance(last, torch.nn.Linear):
        raise RecipeError(f"expected a linear layer at the end, found {last}")
    with torch.no_grad():
        logits = network(patches)
        factor = spread / logits.std()
        last.weight.mul_(factor)
        last.bias.copy_((last.bias - logits.mean()) * factor)


def spread_run(folder: Path, spread: float = 2.0) -> None:
    """Let the logits of a run's networks spread, as after a long training; its out-of-fold table stays as it was."""
    run = load_encoder_run(folder)
    document = json.loads((folder / "run.json").read_text())
    for number, network in zip(run.folds, run.networks, strict=True):
        _spread(network, run.recipe.network.head, spread, number)
        content = save({key: value.contiguous() for key, value in network.state_dict().items()})
        (fold_folder(folder, number) / WEIGHTS_NAME).write_bytes(content)
        document["weights"][str(number)] = hashlib.sha256(content).hexdigest()
    (folder / "run.json").write_text(json.dumps(document))


def write_encoder_run(folder: Path, stored: dict[str, Any] = TRAP_RECIPE, folds: int = 2, seed: int = 0) -> EncoderRun:
    """A run as lsd-train import-checkpoints leaves it; with modality dropout it also serves optical and radar alone."""
    recipe = encoder_recipe_of(stored, "tests")
    folder.mkdir(parents=True)
    states = {number: spread_network(recipe, seed + number).state_dict() for number in range(folds)}
    data = {"name": "none, random weights", "licence": "Apache-2.0", "synthetic": True, "source": "tests"}
    write_imported_run(folder, recipe, paper_scaling(recipe.scaling.kind), states, data)
    if recipe.fitting.modality_dropout:
        document = json.loads((folder / "run.json").read_text())
        whole = document["configurations"][0]
        alone = {
            "optical": [band for band in recipe.bands if band in BAND_NAMES[:4]],
            "sar": [band for band in recipe.bands if band not in BAND_NAMES[:4]],
        }
        document["configurations"] += [{**whole, "name": name, "bands": bands} for name, bands in alone.items()]
        (folder / "run.json").write_text(json.dumps(document))
    return load_encoder_run(folder)
