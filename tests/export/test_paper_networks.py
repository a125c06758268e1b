"""The paper's seven networks, whole: FP32 as torch, FP16 within the gate, both built by TensorRT-RTX."""

from __future__ import annotations

import os

import pytest

from lsd.benchmarks.paper_engines import measure
from lsd.train.encoders.recipe import known_encoder_recipes

PAPER = [name for name in known_encoder_recipes() if name.startswith("paper-")]


def test_there_are_seven():
    assert len(PAPER) == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_a_network_of_the_paper(name, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra tensorrt-rtx)")
    found = measure(name, 4, os.cpu_count() or 1, tmp_path, every=5)
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
