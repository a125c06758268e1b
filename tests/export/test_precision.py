from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from lsd.export.adversarial import adversarial_patches, zero_sum_patch
from lsd.export.precision.convert import converted
from lsd.export.precision.element import ELEMENTS, FP16_LIMIT, slots_of
from lsd.export.precision.graph import graph_from_bytes
from lsd.export.precision.lower import at_precision
from lsd.export.precision.shares import precision_shares
from lsd.export.precision.simulate import simulated
from lsd.runtime.bands import BAND_NAMES
from lsd.train.encoders.network import network_from_recipe
from lsd.train.encoders.recipe import encoder_recipe_of
from lsd.train.encoders.scaling import paper_scaling
from lsd.train.encoders.torchvision import import_timm

torch.set_num_threads(1)
import_timm()
SCALING = paper_scaling("standard")
VIT = {
    "backbone": "vit_tiny_patch16_224",
    "arguments": {
        "img_size": 64,
        "embed_dim": 24,
        "depth": 1,
        "num_heads": 2,
        "class_token": False,
        "global_pool": "avg",
    },
}
RECIPE = {
    "name": "tiny",
    "description": "",
    "network": {
        "encoders": [{**VIT, "channels": [group]} for group in ("optical", "sar_diff", "indices")],
        "head": "three-a",
        "features": 8,
        "input_px": 64,
    },
    "scaling": {"kind": "standard", "constants": "paper"},
    "indices": "scaled",
}
FLOPS = ("Conv", "MatMul", "Gemm")


@pytest.fixture(scope="module")
def network():
    """Three encoders, indices of scaled bands as in paper-v37; first layers and logits as wide as trained ones."""
    torch.manual_seed(0)
    network = network_from_recipe(encoder_recipe_of(RECIPE, "tiny"), SCALING).eval()
    with torch.no_grad():
        for encoder in network.encoders:
            encoder.backbone.patch_embed.proj.weight.mul_(8)
        ordinary = torch.from_numpy(plain(64, network, seed=5))
        network.head.classify.weight.div_(network(ordinary).std() / 1.5)
        network.head.classify.bias.sub_(network(ordinary).median())
    return network


@pytest.fixture(scope="module")
def patches(network):
    """The worst ones: adversarial, zero sums, and a few plain ones."""
    _, adversarial = adversarial_patches()
    return np.concatenate(
        [picked(np.concatenate([adversarial, zero_sum_patch(SCALING)[None]]), network), plain(4, network, seed=1)]
    )


@pytest.fixture(scope="module")
def fp32(network):
    return exported(network, 18)


@pytest.fixture(scope="module")
def fp16(fp32, patches):
    return at_precision(fp32, "fp16", patches, threads=1)


def plain(n, network, seed):
    """As wide as the training data, band by band; values of a band are correlated within a patch."""
    rng = np.random.default_rng(seed)
    location = np.array([SCALING.location[band] for band in network.bands])[:, None, None]
    spread = np.array([SCALING.spread[band] for band in network.bands])[:, None, None]
    shape = (n, len(network.bands))
    values = 0.7 * rng.normal(size=(*shape, 1, 1)) + 0.7 * rng.normal(size=(*shape, 64, 64))
    return (location + spread * values).astype(np.float32)


def picked(pixels, network):
    return np.ascontiguousarray(pixels[:, [BAND_NAMES.index(band) for band in network.bands]])


def exported(network, opset):
    """By the exporter of torch.export from 18 on, by the older one below."""
    file, example = io.BytesIO(), torch.zeros(2, len(network.bands), 64, 64)
    names = {"input_names": ["patches"], "output_names": ["logit"], "opset_version": opset}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        if opset >= 18:
            shapes = ({0: torch.export.Dim("n", min=1, max=1024)},)
            program = torch.onnx.export(network, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
            program.save(file)
        else:
            axes = {"patches": {0: "n"}, "logit": {0: "n"}}
            torch.onnx.export(network, (example,), file, dynamo=False, dynamic_axes=axes, **names)
    return file.getvalue()


def run(content, pixels):
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def probability(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def ops(content):
    return Counter(node.op_type for node in onnx.load_model_from_string(content).graph.node)


def test_the_trap_patch_is_finite_and_keeps_its_label_where_a_naive_conversion_does_not(fp32, fp16, network, patches):
    trap = picked(zero_sum_patch(SCALING)[None], network)
    content, plan = fp16
    reference = run(fp32, trap)
    for graph in (content, simulated(content)):
        logit = run(graph, trap)
        assert np.isfinite(logit).all() and (logit > 0) == (reference > 0)
        assert abs(probability(logit) - probability(reference)) <= 0.005
    graph = graph_from_bytes(fp32)
    everything = [
        node.name
        for node in graph.nodes
        if (floats := [i for i, name in enumerate(node.input) if graph.is_float(name)])
        and floats[0] in slots_of(node, graph.opset, ELEMENTS["fp16"]).inputs
    ]
    naive = converted(graph, replace(plan, low=tuple(everything), kept=(), clamped=()))
    logit = run(simulated(naive), trap)
    assert not np.isfinite(logit).all() or abs(probability(logit) - probability(reference)) > 0.2


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.005), ("bf16", 0.03), ("int8", 0.15)])
def test_probabilities_of_plain_patches_stay(fp32, network, patches, precision, tolerance):
    pixels = plain(256, network, seed=9)
    reference = run(fp32, pixels)
    assert reference.std() >= 1  # else the comparison is blind
    content, _ = at_precision(fp32, precision, patches if precision != "int8" else pixels[:32], threads=1)
    found = run(content if precision == "int8" else simulated(content), pixels)
    error = np.abs(probability(found) - probability(reference))
    assert 0 < error.max() <= tolerance
    if precision == "fp16":
        assert ((found > 0) != (reference > 0)).sum() == 0


def test_the_plan_names_what_stays_and_why(fp32, fp16, patches):
    _, plan = fp16
    graph = graph_from_bytes(fp32)
    reasons = {one.name: one.reason for one in plan.kept}
    by_op = {op: {reasons.get(one.name) for one in graph.nodes if one.op_type == op} for op in ops(fp32)}
    assert by_op["LayerNormalization"] == {"normalisation"} and by_op["Softmax"] == {"softmax"}
    before = {"before the first learned layer"}
    assert by_op["IsNaN"] == by_op["Where"] == by_op["Clip"] == by_op["Sub"] == before
    assert Counter(reasons.values())["final logit layer"] == 1 and reasons[graph.nodes[-1].name].startswith("behind")
    convolutions = [reasons.get(one.name) for one in graph.nodes if one.op_type == "Conv"]
    assert convolutions[:2] == [None, None] and "reaches 6e+04, at most 1.638e+04" in convolutions[2]
    assert len(plan.clamped) == 2 and plan.limit == FP16_LIMIT and plan.patches == len(patches)
    assert not set(plan.low) & set(reasons)
    stored = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert set(stored["kept"][0]) == {"name", "op", "reason", "max_abs"} and stored["precision"] == "fp16"
    assert stored["low_share"] == plan.low_share > 0.9


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_the_same_bytes_come_out_and_the_given_ones_stay(fp32, patches, precision):
    before = hashlib.sha256(fp32).hexdigest(), patches.copy()
    content, plan = at_precision(fp32, precision, patches, threads=1)
    again, plan_again = at_precision(fp32, precision, patches, threads=1)
    assert content == again and plan == plan_again and content != fp32
    assert hashlib.sha256(fp32).hexdigest() == before[0] and np.array_equal(patches, before[1], equal_nan=True)
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {one.key: one.value for one in model.metadata_props}["lsd_precision"] == precision
    ends = [*model.graph.input, *model.graph.output]
    assert [(one.name, one.type.tensor_type.elem_type) for one in ends] == [("patches", 1), ("logit", 1)]
    shares = precision_shares(content)
    assert shares[precision] == pytest.approx(plan.low_share) and sum(shares.values()) == pytest.approx(1)
    assert precision_shares(fp32) == {"fp32": 1}


def test_an_fp32_graph_posing_as_fp16_shows_in_its_shares(fp16):
    content, plan = fp16
    assert precision_shares(simulated(content)) == {"fp32": 1}  # rounded everywhere, and yet FP32
    assert precision_shares(content)["fp16"] == pytest.approx(plan.low_share)


def test_casts_stand_at_boundaries_only(fp16):
    content, _ = fp16
    graph = onnx.load_model_from_string(content).graph
    casts = {one.output[0]: one for one in graph.node if one.op_type == "Cast"}
    assert casts and not any(one.input[0] in casts for one in casts.values())
    assert len({(one.input[0], one.attribute[0].i) for one in casts.values()}) == len(casts)
    constants = [one.name for one in graph.initializer]
    assert not set(constants) & {one.input[0] for one in casts.values()}
    used = {name for one in graph.node for name in one.input}
    assert set(constants) <= used and len(set(constants)) == len(constants)


@pytest.mark.parametrize("opset", [17, 20])
def test_graphs_of_either_exporter(network, patches, opset):
    content = exported(network, opset)
    reference = run(content, patches)
    for precision in ("fp16", "bf16"):
        low, plan = at_precision(content, precision, patches, threads=1)
        error = np.abs(probability(run(simulated(low), patches)) - probability(reference))
        assert error.max() <= (0.005 if precision == "fp16" else 0.05)
        assert plan.low_share > (0.8 if opset == 17 else 0.9)
        kept_convolutions = [one.reason for one in plan.kept if one.op == "Conv"]
        if precision == "bf16":  # Conv knows bfloat16 from opset 22 on, and 17 is not raised to it
            assert kept_convolutions == ([] if opset == 20 else ["Conv of opset 17 takes no bf16"] * 3)
        assert not [one for one in plan.kept if one.op in ("Shape", "Concat") and "behind" in one.reason]


def test_int8_has_its_pairs_and_symmetric_weights_by_channel(fp32, patches):
    content, plan = at_precision(fp32, "int8", patches, threads=1)
    model = onnx.load_model_from_string(content)
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    pairs = {one.output[0]: one for one in model.graph.node if one.op_type == "DequantizeLinear"}
    assert ops(content)["QuantizeLinear"] > 0 and plan.low
    for node in model.graph.node:
        if node.name in plan.low:
            weight = pairs[node.input[1]]
            assert values[weight.input[0]].dtype == np.int8 and values[weight.input[1]].size > 1
            assert node.input[0] in pairs and not any(one in pairs for one in node.input[2:])
    assert all(not values[one.input[2]].any() for one in pairs.values())
    reasons = Counter(one.reason for one in plan.kept)
    assert reasons["first learned layer"] == 3 and reasons["final logit layer"] == 1
    assert {one.op for one in plan.kept} <= set(FLOPS)
