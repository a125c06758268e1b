"""Precision of layers in the words of each library, and the gate on it."""

from __future__ import annotations

import json

import pytest

from lsd.runtime.engine_layers import (
    EngineLayer,
    layers_of_inspector,
    layers_of_listing,
    precision_of,
    require_precision,
    shares,
)
from lsd.runtime.errors import BackendError, GateError


def inspector_json(field, half, single):
    """JSON as an engine inspector gives it: TensorRT 10 describes in `Format/Datatype`, 11 has a word in `Datatype`."""
    tensor = {"Name": "x", "Dimensions": [1, 8]}
    layers = [
        {"Name": "Reformatting CopyNode for conv", "LayerType": "Reformat", "Inputs": [{**tensor, field: single}]},
        {"Name": "stem/conv", "LayerType": "CaskConvolution", "Inputs": [{**tensor, field: half}]},
        {"Name": "_gemm_mha_v2_myl0_6", "LayerType": "kgen", "Inputs": [{**tensor, field: half}]},
        {"Name": "head", "LayerType": "gemm", "Inputs": [{**tensor, field: single}]},
        {"Name": "shape", "LayerType": "shape_call", "Inputs": []},
    ]
    return json.dumps({"Layers": layers, "Bindings": ["x"]})


@pytest.mark.parametrize(
    ("field", "half", "single"),
    [
        ("Format/Datatype", "Half", "Float"),
        ("Format/Datatype", "Channel major FP16 format where channel % 8 == 0", "Row major linear FP32"),
        ("Datatype", "Half", "Float"),
    ],
)
def test_the_inspector_of_each_version_is_understood(field, half, single):
    layers = layers_of_inspector(inspector_json(field, half, single))
    assert [layer.computes for layer in layers] == [False, True, True, True, False]
    assert shares(layers) == {"fp16": 2 / 3, "fp32": 1 / 3}
    require_precision(layers, "fp16", "vit")


@pytest.mark.parametrize("wrong", ["", "{}", '{"Layers": ["conv", "head"]}', '{"Layers": [{"Name": "conv"}]}', "[]"])
def test_an_inspector_without_layer_types_is_an_error(wrong):
    with pytest.raises(BackendError, match="gave no layer types"):
        layers_of_inspector(wrong)


def test_a_type_that_depends_on_the_shape_is_unknown():
    (layer,) = layers_of_inspector(
        json.dumps(
            {
                "Layers": [
                    {
                        "Name": "conv",
                        "LayerType": "CaskConvolution",
                        "Inputs": [{"Format/Datatype": "N/A due to dynamic shapes"}],
                    }
                ]
            }
        )
    )
    assert layer.precision == "unknown" and shares([layer]) == {}


def test_the_builders_listing_is_understood():
    listing = "\n".join(
        [
            "Layers:",
            "Name: s, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [ { Name: q, Datatype: Half }]",
            "Name: conv_0, LayerType: correlation, Inputs: [ { Name: r, Dimensions: [-1,4], Datatype: Half }], "
            "Constants: [ { Name: c, Datatype: Float }], Outputs: [ { Name: o, Datatype: Float }], Metadata: [c]",
            "",
            "I/O Tensors:",
            " Name: patches, IOMode: Input, DataType: Float",
        ]
    )
    assert layers_of_listing(listing) == [
        EngineLayer("s", "shape_call", "unknown"),
        EngineLayer("conv_0", "correlation", "fp16"),
    ]
    assert layers_of_listing("") == [] and layers_of_listing("Engine Layer Information:\nLayer(Reformat): x") == []


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("DataType.HALF", "fp16"),
        ("DataType.FLOAT", "fp32"),
        ("DataType.BF16", "bf16"),
        ("BFloat16", "bf16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("DataType.INT64", "int64"),
        ("FP8", "fp8"),
        ("", "unknown"),
    ],
)
def test_words_for_types(text, precision):
    assert precision_of(text) == precision


def products(**counts):
    return [EngineLayer(f"{one}-{index}", "gemm", one) for one, count in counts.items() for index in range(count)]


@pytest.mark.parametrize(
    ("asked", "counts", "passes"),
    [
        ("fp32", {"fp32": 3}, True),
        ("fp32", {"fp32": 99, "fp16": 1}, False),
        ("fp16", {"fp16": 5, "fp32": 5}, True),
        ("fp16", {"fp16": 4, "fp32": 6}, False),
        ("fp16", {"fp32": 10}, False),
        ("fp16", {"bf16": 10}, False),
        ("int8", {"int8": 4, "fp16": 6}, True),
        ("int8", {"fp16": 6}, False),
        ("fp16", {}, False),
    ],
)
def test_the_gate(asked, counts, passes):
    if passes:
        require_precision(products(**counts), asked, "vit")
        return
    with pytest.raises(GateError, match=rf"vit: asked for {asked}, found .*lsd-export build --precision {asked}"):
        require_precision(products(**counts), asked, "vit")


def test_layers_that_only_move_data_do_not_count():
    layers = [*products(fp32=1), *(EngineLayer(f"cast {index}", "CAST", "fp16") for index in range(9))]
    with pytest.raises(GateError, match="found 100% fp32"):
        require_precision(layers, "fp16", "posing")
