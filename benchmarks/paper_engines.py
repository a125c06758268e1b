"""The paper's networks as FP32 and FP16 graphs and TensorRT plans: parity, what runs in FP16, build time and size.

    python -m lsd.benchmarks.paper_engines -o result.json

Weights are random, with layers scaled so that logits spread (lsd.benchmarks.encoder_graphs): parity and times are those
of trained networks, accuracy is none. FP32 graphs run on ONNX Runtime and are compared with torch; FP16 is worked out
by a simulation that rounds as a GPU does. Plans are built by the TensorRT that is installed; without a GPU none is run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lsd.benchmarks.encoder_graphs import network_of, patches_of
from lsd.export.encoders.graph import onnx_of_networks
from lsd.export.engines.build import build_engine
from lsd.export.engines.request import EngineRequest
from lsd.export.golden import golden_patches
from lsd.export.precision.lower import at_precision
from lsd.export.precision.shares import precision_shares
from lsd.export.precision.simulate import simulated
from lsd.runtime.backends.base import EncoderGraph, SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.sigmoid import sigmoid
from lsd.runtime.versions import installed
from lsd.train.encoders.recipe import known_encoder_recipes, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling

SPREADING_PATCHES = 32
TRAP = "nir + red = 0 after scaling 0"
Array = NDArray[np.float32]


def measure(name: str, patches: int, threads: int, folder: Path, every: int = 1) -> dict[str, Any]:
    """One recipe through export, FP16 and TensorRT.

    Args:
        patches: simulated ones, beside the golden, adversarial and trap ones.
        threads: of torch and ONNX Runtime. folder: where plans go. every: take one golden patch in so many, counted
            back from the trap patch, to be quick.
    """
    recipe = read_encoder_recipe(name)
    network = network_of(recipe, patches_of(recipe, SPREADING_PATCHES))
    names, golden = golden_patches([paper_scaling(recipe.scaling.kind)])
    kept = np.arange(len(golden))[::-every][::-1]
    names = [names[at] for at in kept]
    own = np.ascontiguousarray(golden[kept][:, [BAND_NAMES.index(band) for band in recipe.bands]])
    checked = np.concatenate([own, patches_of(recipe, patches)]) if patches else own
    started_s = time.perf_counter()
    fp32 = onnx_of_networks([network], name).content
    exported_s = time.perf_counter()
    fp16, plan = at_precision(fp32, "fp16", own, threads)
    converted_s = time.perf_counter()
    logits = _logits(fp32, checked, recipe.bands, threads)
    low = _logits(simulated(fp16), checked, recipe.bands, threads)
    with torch.inference_mode():
        reference = np.concatenate(
            [network(torch.from_numpy(some)).numpy() for some in np.array_split(own, max(len(own) // 4, 1))]
        )
    p, p_low = sigmoid(logits), sigmoid(low)
    error = np.abs(p - p_low)
    relative = np.abs(logits[: len(own)] - reference) / np.maximum(np.abs(reference), 1)
    usual = np.array([one.startswith("simulated") for one in names])
    everyday = np.concatenate([usual, np.ones(patches, bool)])
    found: dict[str, Any] = {
        "seconds": {"export": round(exported_s - started_s, 1), "fp16": round(converted_s - exported_s, 1)},
        "logit_standard_deviation": float(logits.std()),
        "fp32": {
            "patches": len(own),
            "max_logit_error_against_torch": float(relative[usual].max()),
            "max_logit_error_against_torch_adversarial": float(relative[~usual].max()),
            **_size(fp32),
        },
        "fp16": {
            "patches": len(checked),
            "max_probability_error": float(error[everyday].max()),
            "max_probability_error_adversarial": float(error[~everyday].max()),
            "flips": int(((p > 0.5) != (p_low > 0.5)).sum()),
            "not_finite": int((~np.isfinite(low)).sum()),
            "kept_fp32": len(plan.kept),
            **_size(fp16),
        },
        "plans": {key: _plan(name, content, key, folder) for key, content in (("fp32", fp32), ("fp16", fp16))},
    }
    if TRAP in names:
        at = names.index(TRAP)
        found["trap_patch"] = {"fp32_logit": float(logits[at]), "fp16_logit": float(low[at])}
    return found


def _logits(content: bytes, patches: Array, bands: tuple[str, ...], threads: int) -> Array:
    graph = EncoderGraph("graph", content, {}, hashlib.sha256(content).hexdigest(), bands, "fp32")
    session = open_session("onnxruntime", graph, SessionOptions(threads=threads))
    found = [session.run(np.ascontiguousarray(patches[at : at + 4])) for at in range(0, len(patches), 4)]
    session.close()
    return np.concatenate(found)


def _size(content: bytes) -> dict[str, Any]:
    return {"onnx_mb": round(len(content) / 1e6, 1), "shares": precision_shares(content)}


def _plan(name: str, content: bytes, precision: str, folder: Path) -> dict[str, Any]:
    report = build_engine(EngineRequest(name, content, precision), folder).document  # type: ignore[arg-type]
    return {
        "build_s": round(report["seconds"], 1),
        "plan_mb": round(report["plan_bytes"] / 1e6, 1),
        "shares_of_computing_layers": report["shares"],
        "evidence": report["evidence"],
        "state": report["state"],
    }


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--recipe", "recipes", multiple=True, help="Encoder recipe; repeat it. Default: the paper's seven.")
@click.option("--patches", default=256, show_default=True, help="Simulated patches, beside the golden ones.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch and ONNX Runtime.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(output: Path, recipes: tuple[str, ...], patches: int, threads: int, commit: str) -> None:
    """Export, convert and build the paper's networks."""
    torch.set_num_threads(threads)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in recipes or [name for name in known_encoder_recipes() if name.startswith("paper-")]:
            found[name] = one = measure(name, patches, threads, Path(folder))
            built = "; ".join(f"{key} {plan['build_s']} s {plan['plan_mb']} MB" for key, plan in one["plans"].items())
            click.echo(
                f"{name}: FP32 against torch {one['fp32']['max_logit_error_against_torch']:.1e}, adversarial "
                f"{one['fp32']['max_logit_error_against_torch_adversarial']:.1e}; FP16 p error "
                f"{one['fp16']['max_probability_error']:.1e}, adversarial "
                f"{one['fp16']['max_probability_error_adversarial']:.1e}, {one['fp16']['flips']} flips; plans: {built}"
            )
    packages = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13")
    conditions = {"commit": commit, **facts(), **installed(packages), "threads": threads, "weights": "random, scaled"}
    output.write_text(json.dumps({"conditions": conditions, "recipes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
