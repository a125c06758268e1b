"""A graph in two: what comes before the first layer of weight, and the rest.

In bf16 OpenVINO rounds the raw pixels and the index arithmetic too, although the bundle promises float32 there: the
difference of two similar bands would be lost. So that front is compiled by itself, in float32.
"""

from __future__ import annotations

from typing import Any

HEAVY = ("Convolution", "GroupConvolution", "MatMul")


def split(openvino: Any, model: Any) -> tuple[Any, Any]:
    """Cut a model ahead of its first convolutions and matrix products.

    Args:
        openvino: the module.
        model: `openvino.Model`; it is not changed.
    Returns:
        front, trunk: models; the outputs of the front are the inputs of the trunk, in the same order.
    """
    front = model.clone()
    _, crossing = _crossing(front)
    outputs = [openvino.opset13.result(source) for source, _ in crossing]
    trunk = model.clone()
    results, crossing = _crossing(trunk)
    inputs = []
    for source, targets in crossing:
        entry = openvino.opset13.parameter(source.get_partial_shape(), source.get_element_type())
        inputs.append(entry)
        for target in targets:
            target.replace_source_output(entry.output(0))
    return openvino.Model(outputs, front.get_parameters(), "front"), openvino.Model(results, inputs, "trunk")


def _crossing(model: Any) -> tuple[list[Any], list[tuple[Any, list[Any]]]]:
    """The results, and each output of the front that the trunk reads with the inputs that read it, in graph order."""
    moving: set[str] = set()  # depends on the patches
    trunk: set[str] = set()
    crossing = []
    ordered = model.get_ordered_ops()
    for node in ordered:
        sources = {value.get_source_output().get_node().get_name() for value in node.inputs()}
        name, kind = node.get_name(), node.get_type_name()
        if kind == "Parameter" or sources & moving:
            moving.add(name)
        if sources & trunk or kind == "Result" or (name in moving and kind in HEAVY):
            trunk.add(name)
    for node in ordered:
        if node.get_name() in moving - trunk:
            for output in node.outputs():
                targets = [one for one in output.get_target_inputs() if one.get_node().get_name() in trunk]
                if targets:
                    crossing.append((output, targets))
    return model.get_results(), crossing
