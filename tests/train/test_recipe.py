from __future__ import annotations

import json

import pytest

from lsd.runtime.errors import RecipeError
from lsd.train.recipe import known_recipes, read_recipe

MEMBER = {"id": "a", "library": "lightgbm", "feature_set": "table-85", "rounds": 3, "parameters": {"num_leaves": 4}}


@pytest.mark.parametrize("name", known_recipes())
def test_recipes_that_come_with_the_package_are_read(name):
    recipe = read_recipe(name)
    assert recipe.name == name and recipe.description and sum(recipe.weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"membres": []}, "unknown key 'membres', did you mean 'members'"),
        ({"members": []}, "at least one forest"),
        ({"members": [{**MEMBER, "librari": "x"}]}, "unknown key 'librari', did you mean 'library'"),
        ({"members": [{key: value for key, value in MEMBER.items() if key != "rounds"}]}, "lacks the key 'rounds'"),
        ({"members": [{**MEMBER, "library": "catboost"}]}, "'catboost' is none of lightgbm, xgboost"),
        ({"members": [{**MEMBER, "feature_set": "table-86"}]}, "'table-86' is none of"),
        ({"members": [{**MEMBER, "rounds": 0}]}, "rounds must be a whole number >= 1"),
        ({"members": [MEMBER, MEMBER]}, "same id"),
        ({"members": [MEMBER], "weights": [0.5]}, "of sum 1"),
        ({"members": [MEMBER], "weights": 1}, "weights must be 1 numbers"),
        ({"members": [{**MEMBER, "id": "../a"}]}, "id must be letters"),
        ({"members": [{**MEMBER, "rounds": True}]}, "rounds must be a whole number"),
        ({"members": [{**MEMBER, "parameters": {"num_leafs": 4}}]}, "did you mean 'num_leaves'"),
        ({"members": [{**MEMBER, "parameters": {"objective": "rank"}}]}, "unknown lightgbm parameter 'objective'"),
        ({"members": [{**MEMBER, "parameters": {"max_depth": [1]}}]}, "must be a number, a word or true/false"),
    ],
)
def test_malformed_recipes(tmp_path, change, line):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "description": "d", "members": [MEMBER], **change}))
    with pytest.raises(RecipeError, match=line):
        read_recipe(str(path))


def test_unknown_name_and_no_json(tmp_path):
    with pytest.raises(RecipeError, match=r"unknown recipe 'quik'.*did you mean 'quick'"):
        read_recipe("quik")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RecipeError, match="is not JSON"):
        read_recipe(str(tmp_path / "bad.json"))
