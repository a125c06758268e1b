"""Checkpoints of the paper's author, `NAME_Fold{k}_last.pt`, as weights of this package's networks (METHOD, heads)."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from lsd.runtime.errors import UsageError
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import EncoderRecipe, known_encoder_recipes, read_encoder_recipe
from lsd.train.encoders.scaling import Scaling, paper_scaling
from lsd.train.state_dicts import check_fit, read_state_dict

_FILE = re.compile(r"(?P<prefix>.+)_Fold(?P<fold>\d+)_last\.pt")
# parts of `Network` -> attributes of the author's modules; a single member is the bare timm network
_PARTS = {
    "encoders.0.backbone": "model1",
    "encoders.1.backbone": "model2",
    "encoders.2.backbone": "model3",
    "head.fuse": "feats",
    "head.norm": "bn",
    "head.combine": "comb",
    "head.classify": "clf",
}
_SINGLE = "encoders.0.backbone."


def find_checkpoints(folder: Path, prefix: str | None, folds: int) -> dict[int, Path]:
    """Fold -> its file, for folds 0 to `folds` - 1.

    Args:
        prefix: what stands before `_Fold{k}_last.pt`; None where the folder holds one network only.
    Raises:
        UsageError: no folder, no checkpoint, those of several networks and no prefix, or a fold missing or too many.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder with files NAME_Fold0_last.pt, NAME_Fold1_last.pt, ...")
    found: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.iterdir()):
        if match := _FILE.fullmatch(file.name):
            found.setdefault(match["prefix"], {})[int(match["fold"])] = file
    if not found or (prefix is not None and prefix not in found):
        wanted = f"{prefix or 'NAME'}_Fold{{k}}_last.pt"
        raise UsageError(f"{folder}: expected files {wanted}, found those of: {', '.join(found) or 'no network'}")
    if prefix is None and len(found) > 1:
        raise UsageError(
            f"{folder}: holds checkpoints of several networks; choose one with --prefix: {', '.join(found)}"
        )
    files = found[prefix or next(iter(found))]
    if sorted(files) != list(range(folds)):
        raise UsageError(
            f"{folder}: expected folds 0 to {folds - 1} (--folds), found {', '.join(map(str, sorted(files)))}"
        )
    return files


def recipe_of_checkpoint(file: Path) -> EncoderRecipe:
    """The one recipe of the paper whose network has the tensors of this file.

    Raises:
        UsageError: no recipe has them, or several, which differ in what no weight shows (scaling).
    """
    found = _shapes(read_state_dict(file))
    recipes = [read_encoder_recipe(name) for name in known_encoder_recipes() if name.startswith("paper-")]
    encoders = len({name.partition(".")[0] for name in found if re.match(r"model\d\.", name)}) or 1
    near = [recipe for recipe in recipes if len(recipe.network.encoders) == encoders]
    fitting = [recipe for recipe in near if _shapes(_author_tensors(recipe)) == found]
    if len(fitting) != 1:
        names = " or ".join(recipe.name for recipe in fitting)
        raise UsageError(
            f"{file}: its weights fit {names}; say which with --recipe"
            if names
            else f"{file}: its weights fit none of {', '.join(one.name for one in recipes)}; give --recipe with yours"
        )
    return fitting[0]


def import_checkpoints(files: dict[int, Path], recipe: EncoderRecipe) -> tuple[Scaling, dict[int, dict[str, Tensor]]]:
    """The paper's scaling, and fold -> state dict of the recipe's network, in float32.

    Raises:
        UsageError: a file cannot be read or holds other tensors than the recipe's network, or the recipe takes the
            constants of its scaling from data.
    """
    if recipe.scaling.constants != "paper":
        raise UsageError(
            f"recipe {recipe.name!r} scales by constants of its training data, which checkpoints do not hold; "
            'expected a recipe whose scaling has "constants": "paper"'
        )
    expected = _author_tensors(recipe)
    own_names = {_author_name(name, recipe): name for name in _own_tensors(recipe)}
    states = {}
    for fold, file in files.items():
        found = read_state_dict(file)
        check_fit(expected, found, f"{file}: does not fit recipe {recipe.name!r}")
        states[fold] = {own_names[name]: found[name].to(one.dtype) for name, one in expected.items()}
    return paper_scaling(recipe.scaling.kind), states


def _own_tensors(recipe: EncoderRecipe) -> dict[str, Tensor]:
    """State dict of the recipe's network, without memory for its values."""
    with torch.device("meta"):
        return dict(network_from_recipe(recipe, paper_scaling(recipe.scaling.kind)).state_dict())


def _author_tensors(recipe: EncoderRecipe) -> dict[str, Tensor]:
    return {_author_name(name, recipe): value for name, value in _own_tensors(recipe).items()}


def _author_name(name: str, recipe: EncoderRecipe) -> str:
    if recipe.network.head == "single":
        return name.removeprefix(_SINGLE)
    part = next(part for part in _PARTS if name.startswith(f"{part}."))
    return _PARTS[part] + name.removeprefix(part)


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
