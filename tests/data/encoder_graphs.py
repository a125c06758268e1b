"""Small encoder graphs as a bundle holds them, made with onnx: raw patches in, logit out. Their weights are random.

patches -> NaN replaced by the band's mean -> scaled -> Conv -> Relu -> GlobalAveragePool -> Gemm -> logit
"""

from __future__ import annotations

import hashlib

import numpy as np

from lsd.runtime.backends.base import EncoderGraph

BANDS = ("B02", "B03", "B04", "B08")
FILTERS, KERNEL_PX, STRIDE_PX = 16, 4, 4


def weights(seed: int = 0, bands: tuple[str, ...] = BANDS) -> dict[str, np.ndarray]:
    """Name -> float32 weights; the head spreads logits over several units."""
    rng = np.random.default_rng(seed)
    shape = (FILTERS, len(bands), KERNEL_PX, KERNEL_PX)
    return {
        "mean": rng.uniform(1500, 2500, (1, len(bands), 1, 1)).astype(np.float32),
        "reciprocal": rng.uniform(1 / 600, 1 / 400, (1, len(bands), 1, 1)).astype(np.float32),
        "kernel": rng.normal(0, 0.2, shape).astype(np.float32),
        "kernel_bias": rng.normal(0, 0.1, FILTERS).astype(np.float32),
        "head": rng.normal(0, 4, (FILTERS, 1)).astype(np.float32),
        "head_bias": rng.normal(0, 0.1, 1).astype(np.float32),
    }


def raw_patches(n: int, seed: int = 1, bands: tuple[str, ...] = BANDS) -> np.ndarray:
    """float32 (n, band, 64, 64) of DN that differ from patch to patch, with NaN holes."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(1000, 3000, (n, len(bands), 1, 1))
    pixels = rng.normal(level, 300, (n, len(bands), 64, 64)).astype(np.float32)
    pixels[:, :, 5:9, 7:20] = np.nan
    return pixels


def reference_logits(patches: np.ndarray, seed: int = 0, bands: tuple[str, ...] = BANDS) -> np.ndarray:
    """float64 (n,): the same network in numpy."""
    w = {name: value.astype(np.float64) for name, value in weights(seed, bands).items()}
    scaled = (np.where(np.isnan(patches), w["mean"], patches) - w["mean"]) * w["reciprocal"]
    blocks = scaled.reshape(len(patches), len(bands), 64 // STRIDE_PX, KERNEL_PX, 64 // STRIDE_PX, KERNEL_PX)
    response = np.einsum("nbyixj,fbij->nfyx", blocks, w["kernel"]) + w["kernel_bias"][:, None, None]
    return (np.maximum(response, 0).mean(axis=(2, 3)) @ w["head"] + w["head_bias"])[:, 0]


def encoder_graph(
    precision: str = "fp32",
    seed: int = 0,
    bands: tuple[str, ...] = BANDS,
    external: str | None = None,
    output: str = "logit",
    stored: str | None = None,
) -> EncoderGraph:
    """The network as one ONNX of a bundle.

    Args:
        external: name of the external data file to keep the kernel in; None keeps it inside.
        output: name of the output, to make a graph that breaks the contract.
        stored: precision of the tensors where it is not `precision`: a bf16 graph may be stored as fp32.
    """
    from onnx import TensorProto, helper, numpy_helper

    stored = stored or ("fp32" if precision == "bf16" else precision)
    w = weights(seed, bands)
    if stored == "fp16":
        w |= {name: w[name].astype(np.float16) for name in ("kernel", "kernel_bias", "head", "head_bias")}
    nodes = [
        helper.make_node("IsNaN", ["patches"], ["invalid"]),
        helper.make_node("Where", ["invalid", "mean", "patches"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "reciprocal"], ["scaled"]),
    ]
    pixels, kernel = "scaled", "kernel"
    if stored == "fp16":
        nodes.append(helper.make_node("Cast", ["scaled"], ["half"], to=TensorProto.FLOAT16))
        pixels = "half"
    if stored == "int8":
        step = float(np.abs(w["kernel"]).max() / 127)
        w["kernel_q"] = np.round(w.pop("kernel") / step).astype(np.int8)
        w |= {"kernel_step": np.float32(step), "kernel_zero": np.int8(0)}
        w |= {"pixels_step": np.float32(6 / 127), "pixels_zero": np.int8(0)}
        nodes += [
            helper.make_node("QuantizeLinear", ["scaled", "pixels_step", "pixels_zero"], ["pixels_q"]),
            helper.make_node("DequantizeLinear", ["pixels_q", "pixels_step", "pixels_zero"], ["pixels"]),
            helper.make_node("DequantizeLinear", ["kernel_q", "kernel_step", "kernel_zero"], ["kernel"]),
        ]
        pixels = "pixels"
    sizes = {"kernel_shape": [KERNEL_PX, KERNEL_PX], "strides": [STRIDE_PX, STRIDE_PX]}
    nodes += [
        helper.make_node("Conv", [pixels, kernel, "kernel_bias"], ["response"], **sizes),
        helper.make_node("Relu", ["response"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "head", "head_bias"], ["column"]),
    ]
    column = "column"
    if stored == "fp16":
        nodes.append(helper.make_node("Cast", ["column"], ["column32"], to=TensorProto.FLOAT))
        column = "column32"
    w["flat"] = np.array([-1], np.int64)
    nodes.append(helper.make_node("Reshape", [column, "flat"], [output]))
    graph = helper.make_graph(
        nodes,
        "small encoder",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", len(bands), 64, 64])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in w.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"lsd_bands": ",".join(bands), "lsd_precision": precision})
    beside = _moved_out(model, external) if external else {}
    content = model.SerializeToString()
    name = f"bundle: encoders/small.0.{precision}.onnx"
    return EncoderGraph(name, content, beside, hashlib.sha256(content).hexdigest(), bands, precision)


def _moved_out(model, file_name):
    """Move the kernel into an external data file; returns name -> bytes."""
    from onnx import TensorProto

    tensor = next(one for one in model.graph.initializer if one.name == "kernel")
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file_name), ("offset", "0"), ("length", str(len(content)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return {file_name: content}


def index_graph(precision: str = "fp32"):
    """A graph that sees nothing but the index (B03 - B02) / (B03 + B02), times 1,000; and the same in numpy."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("IsNaN", ["patches"], ["invalid"]),
        helper.make_node("Where", ["invalid", "fill", "patches"], ["filled"]),
        helper.make_node("Split", ["filled", "parts"], ["blue", "green", "rest"], axis=1),
        helper.make_node("Sub", ["green", "blue"], ["difference"]),
        helper.make_node("Add", ["green", "blue"], ["sum"]),
        helper.make_node("Div", ["difference", "sum"], ["index"]),
        helper.make_node("Conv", ["index", "kernel"], ["response"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["response"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["logit"]),
    ]
    constants = {
        "fill": np.float32(2000),
        "parts": np.array([1, 1, 2], np.int64),
        "kernel": np.full((1, 1, 4, 4), 1000 / 16, np.float32),
        "flat": np.array([-1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "index",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", len(BANDS), 64, 64])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    name = f"bundle: encoders/index.0.{precision}.onnx"

    def reference(patches: np.ndarray) -> np.ndarray:
        filled = np.where(np.isnan(patches), 2000, patches).astype(np.float64)
        blue, green = filled[:, 0], filled[:, 1]
        return 1000 * ((green - blue) / (green + blue)).mean(axis=(1, 2))

    return EncoderGraph(name, content, {}, hashlib.sha256(content).hexdigest(), BANDS, precision), reference
