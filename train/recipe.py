"""Recipes: which forests make a configuration, with which features and settings. Data, one JSON file each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lsd.runtime.errors import RecipeError
from lsd.runtime.features.sets import SETS
from lsd.runtime.nearest import did_you_mean

# library -> parameters that a recipe may set, by the library's own names (lightgbm.readthedocs.io: Parameters;
# xgboost.readthedocs.io: XGBoost Parameters); whatever changes the kind of model or its determinism is left out
PARAMETERS = {
    "lightgbm": (
        "num_leaves", "max_depth", "max_bin", "learning_rate", "bagging_freq", "bagging_fraction", "feature_fraction",
        "feature_fraction_bynode", "min_data_in_leaf", "min_sum_hessian_in_leaf", "min_gain_to_split", "lambda_l1",
        "lambda_l2", "path_smooth", "extra_trees", "scale_pos_weight", "seed",
    ),
    "xgboost": (
        "max_leaves", "max_depth", "max_bin", "learning_rate", "subsample", "colsample_bytree", "colsample_bylevel",
        "colsample_bynode", "min_child_weight", "gamma", "alpha", "lambda", "max_delta_step", "grow_policy",
        "scale_pos_weight", "seed",
    ),
}  # fmt: skip
LIBRARIES = tuple(PARAMETERS)


@dataclass(frozen=True)
class MemberRecipe:
    """One forest: `rounds` trees of `library` over `feature_set`, with the library's own parameter names."""

    id: str
    library: str
    feature_set: str
    rounds: int
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """Forests whose probabilities are averaged. weights: one a member, sum 1; equal where the file gives none."""

    name: str
    description: str
    members: tuple[MemberRecipe, ...]
    weights: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The resolved recipe, for the run folder."""
        return asdict(self)


def known_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("lsd.train").joinpath("recipes")
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def read_recipe(name: str) -> Recipe:
    """A recipe that comes with the package, by name, or one's own, by the path of a .json file.

    Raises:
        RecipeError: unknown name, unreadable file, unknown or missing keys, values out of range.
    """
    if name.endswith(".json"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{name}: cannot be read ({error}); expected JSON in UTF-8") from error
    elif name in known_recipes():
        text = resources.files("lsd.train").joinpath(f"recipes/{name}.json").read_text(encoding="utf-8")
    else:
        raise RecipeError(
            f"unknown recipe {name!r}{did_you_mean(name, known_recipes())} "
            f"(known: {', '.join(known_recipes())}; or a .json file)"
        )
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{name}: is not JSON ({error})") from error
    return _recipe(stored, name)


def _recipe(stored: Any, where: str) -> Recipe:
    _check_keys(stored, {"name", "description", "members"}, {"weights"}, where)
    for key in ("name", "description"):
        if not isinstance(stored[key], str):
            raise RecipeError(f"{where}: {key} must be text, is {stored[key]!r}")
    if not isinstance(stored["members"], list) or not stored["members"]:
        raise RecipeError(f"{where}: members must be a list of at least one forest")
    members = tuple(_member(member, f"{where}: member {i}") for i, member in enumerate(stored["members"], start=1))
    weights = stored.get("weights", [1 / len(members)] * len(members))
    numbers = isinstance(weights, list) and all(_is_number(weight) and weight >= 0 for weight in weights)
    if not numbers or len(weights) != len(members) or abs(sum(weights) - 1) > 1e-9:
        raise RecipeError(f"{where}: weights must be {len(members)} numbers >= 0 of sum 1, are {weights}")
    if len({member.id for member in members}) != len(members):
        raise RecipeError(f"{where}: two members have the same id")
    return Recipe(stored["name"], stored["description"], members, tuple(float(weight) for weight in weights))


def _member(stored: Any, where: str) -> MemberRecipe:
    _check_keys(stored, {"id", "library", "feature_set", "rounds", "parameters"}, set(), where)
    if not isinstance(stored["id"], str) or not re.fullmatch(r"\w[\w.+-]*", stored["id"]):
        raise RecipeError(f"{where}: id must be letters, digits and _.+- (it names a file), is {stored['id']!r}")
    for key, known in (("library", LIBRARIES), ("feature_set", tuple(SETS))):
        if stored[key] not in known:
            raise RecipeError(f"{where}: {key} {stored[key]!r} is none of {', '.join(known)}")
    if type(stored["rounds"]) is not int or stored["rounds"] < 1:
        raise RecipeError(f"{where}: rounds must be a whole number >= 1, is {stored['rounds']!r}")
    if not isinstance(stored["parameters"], dict):
        raise RecipeError(f"{where}: parameters must be an object")
    known_here = PARAMETERS[stored["library"]]
    for key, value in stored["parameters"].items():
        if key not in known_here:
            raise RecipeError(
                f"{where}: unknown {stored['library']} parameter {key!r}{did_you_mean(key, list(known_here))}"
            )
        if not isinstance(value, (bool, str)) and not _is_number(value):
            raise RecipeError(f"{where}: parameter {key!r} must be a number, a word or true/false, is {value!r}")
    return MemberRecipe(**stored)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_keys(stored: Any, needed: set[str], optional: set[str], where: str) -> None:
    if not isinstance(stored, dict):
        raise RecipeError(f"{where}: expected a JSON object, found {type(stored).__name__}")
    for key in sorted(set(stored) - needed - optional):
        raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(key, sorted(needed | optional))}")
    for key in sorted(needed - set(stored)):
        raise RecipeError(f"{where}: lacks the key {key!r}")
