"""The paper's networks at full size: FP32 as torch, FP16 within the gate, both built by TensorRT-RTX.

Each backbone once, as the smallest network of the paper that has it, and for the two that the paper has in threes only,
one encoder of them. How several encoders are joined does not depend on their size: tests with small backbones cover it.
`make test-whole` takes the other four networks whole.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from lsd.benchmarks.paper_engines import measure
from lsd.train.encoders.recipe import known_encoder_recipes, read_encoder_recipe

PAPER = [name for name in known_encoder_recipes() if name.startswith("paper-")]
IN_TESTS = ("paper-v10", "paper-v20", "paper-v31")
IN_PART = ("paper-v39", "paper-v46")


def backbones(name: str) -> set[str]:
    return {encoder.backbone for encoder in read_encoder_recipe(name).network.encoders}


def test_there_are_seven_and_no_backbone_is_left_out():
    assert len(PAPER) == 7
    assert set().union(*map(backbones, PAPER)) == set().union(*map(backbones, (*IN_TESTS, *IN_PART)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in IN_TESTS else pytest.param(name, marks=pytest.mark.whole) for name in PAPER]
)
def test_a_network_of_the_paper(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PART)
def test_an_encoder_of_a_network_of_the_paper(name, tmp_path, monkeypatch):
    """The first of three, with one output."""
    recipe = json.loads(resources.files("lsd.train").joinpath(f"recipes/encoders/{name}.json").read_text())
    network = recipe["network"]
    network |= {"encoders": network["encoders"][:1], "head": "single"}
    monkeypatch.chdir(tmp_path)
    Path("first.json").write_text(json.dumps(recipe))
    check("first.json", tmp_path)


def check(recipe: str, folder: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra tensorrt-rtx)")
    found = measure(recipe, 4, 1, folder, every=5)
    assert found["logit_standard_deviation"] > 1
    assert found["fp32"]["max_logit_error_against_torch"] <= 1e-5
    # Random weights magnify the rounding of extreme inputs, MaxViT's 2,000 times
    assert found["fp32"]["max_logit_error_against_torch_adversarial"] <= 1e-3
    half = found["fp16"]
    assert half["max_probability_error"] <= 0.005 and half["flips"] == 0 and half["not_finite"] == 0
    assert half["max_probability_error_adversarial"] <= 0.05
    assert half["shares"]["fp16"] > 0.5
    plans = found["plans"]
    assert plans["fp32"]["shares_of_computing_layers"] == {"fp32": 1.0}
    assert plans["fp16"]["shares_of_computing_layers"]["fp16"] > 0.5
    assert plans["fp16"]["plan_mb"] < 0.75 * plans["fp32"]["plan_mb"]
    if "trap_patch" in found:
        trap = found["trap_patch"]
        assert (trap["fp16_logit"] > 0) == (trap["fp32_logit"] > 0)
