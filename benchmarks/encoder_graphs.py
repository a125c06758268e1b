"""The paper's networks as ONNX graphs on this machine: size, difference from torch, and time beside torch eager.

    python -m lsd.benchmarks.encoder_graphs -o result.json

Weights are random, with the last layer scaled so that logits spread (standard deviation 2): differences and times are
those of trained networks, accuracy is none. A graph is measured folded (as exported) and unfolded (plain resize).
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsd.export.adversarial import simulated_patches
from lsd.export.encoders.graph import onnx_of_networks
from lsd.runtime.backends.base import EncoderGraph, EncoderSession, Precision, SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import BackendError
from lsd.runtime.versions import installed
from lsd.train.encoders.network import Encoder, Network, network_from_recipe
from lsd.train.encoders.recipe import EncoderRecipe, known_encoder_recipes, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling

SEED = 42
SPREAD = 2.0  # standard deviation of the logits; random heads give 1e-3, which hides every error
BATCHES = (1, 8)
COMPARED_PATCHES = 32
LEAST_SCALE = 1e-3  # below it, a learned scale of a residual branch switches the branch off
WARM_UP, REPEATS = 2, 9
FLOAT_BYTES = 4
Array = NDArray[np.float32]


@torch.no_grad()
def spread_logits(network: Network, patches: Array) -> None:
    """Give a network of random weights statistics as if it were trained, in place; uses torch's global generator.

    Every BatchNorm gets weights around 1 and the mean and variance of what it sees; then the last layer of each encoder
    and that of the head are drawn anew so that what they give has mean 0 and standard deviation SPREAD over the
    patches. Otherwise the heads of some of timm's networks start so small that an encoder would not count. Scales of
    residual branches, which timm starts at 1e-5, become ones that let the branches count.
    """
    network.eval()
    for value in network.parameters():
        if value.ndim == 1 and 0 < value.abs().max() < LEAST_SCALE:
            value.uniform_(0.05, 0.15)
    channels = network.channels(torch.from_numpy(patches))
    features = []
    for encoder in network.encoders:
        _let_norms_see(encoder, channels)
        features.append(_spread(encoder, channels))
    _let_norms_see(network.head, torch.cat(features, dim=1))
    _spread(network.head, torch.cat(features, dim=1))


def _let_norms_see(module: nn.Module, given: Tensor) -> None:
    norms = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.bias.normal_(0, 0.2)
        norm.weight.uniform_(0.6, 1.4)
        norm.momentum = 1.0
        norm.train()
    if norms:
        module(given)
    for norm in norms:
        norm.eval()


def _spread(module: nn.Module, given: Tensor) -> Tensor:
    """Draw the last layer of a module anew, if it has one, and return what the module then gives, (n, feature).

    Each row is a mix of the ways in which the patches' inputs of this layer differ, as training would find them; a
    random row would see little of it, and would have to be scaled up together with the rounding errors.
    """
    layers = [one for one in module.modules() if isinstance(one, nn.Linear)]
    if layers:
        last = layers[-1]
        seen: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        module(given)
        handle.remove()
        mean = seen[0].mean(dim=0)
        differences = seen[0] - mean
        rows = torch.randn(last.out_features, len(differences)) @ differences
        rows *= SPREAD / (differences @ rows.T).std(dim=0)[:, None]
        last.weight.copy_(rows)
        last.bias.copy_(-rows @ mean)
    found: Tensor = module(given)
    return found


def network_of(recipe: EncoderRecipe, patches: Array) -> Network:
    """A network of random weights whose logits spread on these patches (n, band, 64, 64)."""
    torch.manual_seed(SEED)
    network = network_from_recipe(recipe, paper_scaling(recipe.scaling.kind))
    spread_logits(network, patches)
    return network


def patches_of(recipe: EncoderRecipe, n: int) -> Array:
    """Simulated patches float32 (n, band, 64, 64) of the recipe's bands."""
    return np.ascontiguousarray(simulated_patches(n, SEED)[:, [BAND_NAMES.index(band) for band in recipe.bands]])


def input_bytes(network: Network) -> dict[str, int]:
    """Bytes of one float32 patch: the raw bands, and the channels as the encoders see them, enlarged where they are."""
    encoders = [encoder for encoder in network.encoders if isinstance(encoder, Encoder)]
    return {
        "raw": FLOAT_BYTES * len(network.bands) * PATCH_SIZE_PX**2,
        "seen_by_encoders": sum(FLOAT_BYTES * len(one.picked) * one.input_px**2 for one in encoders),
    }


def median_ms(engines: Mapping[str, Callable[[Array], object]], patches: Array) -> dict[str, float]:
    """Median milliseconds of a call of each; the engines take turns, so that a busy moment meets all of them."""
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(WARM_UP + REPEATS):
        for name, run in engines.items():
            started_s = time.perf_counter()
            run(patches)
            if turn >= WARM_UP:
                spent[name].append(1000 * (time.perf_counter() - started_s))
    return {name: round(statistics.median(values), 2) for name, values in spent.items()}


def measure(name: str, threads: int) -> dict[str, Any]:
    """Export one recipe twice and compare; all times are of one run, with so many threads for every engine."""
    recipe = read_encoder_recipe(name)
    patches = patches_of(recipe, COMPARED_PATCHES)
    network = network_of(recipe, patches)
    found: dict[str, Any] = {
        "parameters": sum(value.numel() for value in network.parameters()),
        "input_bytes_per_patch": input_bytes(network),
        "graphs": {},
    }
    sessions: dict[str, EncoderSession] = {}
    for kind, fold_stem in (("unfolded", False), ("folded", None)):
        started_s = time.perf_counter()
        file = onnx_of_networks([network], name, fold_stem=fold_stem)
        seconds = time.perf_counter() - started_s
        graph = _graph(f"{name} {kind}", file.content, network.bands, "fp32")
        found["graphs"][kind] = _facts(file.content, seconds)
        sessions[f"onnxruntime {kind}"] = open_session("onnxruntime", graph, SessionOptions(threads=threads))
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:  # of the folded graph, which was the last
        graph = _graph(f"{name} {precision}", file.content, network.bands, precision)
        try:
            sessions[f"openvino {precision}"] = open_session("openvino", graph, SessionOptions(threads=threads))
        except BackendError as error:  # a CPU without it is a result, too
            found.setdefault("not_measured", {})[f"openvino {precision}"] = str(error)

    @torch.inference_mode()
    def eager(batch: Array) -> Array:
        logits: Array = network(torch.from_numpy(batch)).numpy()
        return logits

    engines = {"torch eager": eager, **{key: session.run for key, session in sessions.items()}}
    logits = {key: _in_batches(run, patches) for key, run in engines.items()}
    reference = logits["torch eager"]
    found["logit_standard_deviation"] = float(reference.std())
    found["max_logit_difference_from_torch"] = {
        key: float(np.abs(values - reference).max()) for key, values in logits.items() if key != "torch eager"
    }
    between = np.abs(logits["onnxruntime folded"] - logits["onnxruntime unfolded"])
    found["max_logit_difference_folded_unfolded"] = float(between.max())
    found["median_ms"] = {f"batch {n}": median_ms(engines, patches[:n]) for n in BATCHES}
    for session in sessions.values():
        session.close()
    return found


def _graph(name: str, content: bytes, bands: tuple[str, ...], precision: Precision) -> EncoderGraph:
    return EncoderGraph(name, content, {}, hashlib.sha256(content).hexdigest(), bands, precision)


def _facts(content: bytes, export_s: float) -> dict[str, Any]:
    model = onnx.load_model_from_string(content)
    stem = next(one.value for one in model.metadata_props if one.key == "lsd_stem")
    return {
        "stem": stem,
        "export_s": round(export_s, 1),
        "onnx_mb": round(len(content) / 1e6, 1),
        "nodes": len(model.graph.node),
    }


def _in_batches(run: Callable[[Array], Array], patches: Array) -> Array:
    size = max(BATCHES)
    return np.concatenate([run(patches[start : start + size]) for start in range(0, len(patches), size)])


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--recipe", "recipes", multiple=True, help="Encoder recipe; repeat it. Default: the paper's seven.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch, ONNX Runtime and OpenVINO.")
def main(output: Path, recipes: tuple[str, ...], commit: str, threads: int) -> None:
    """Export networks of random weights and run them on the CPU in every way there is."""
    torch.set_num_threads(threads)
    packages = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "openvino")
    conditions = {
        "commit": commit,
        **facts(),
        **installed(packages),
        "threads": threads,
        "repeats": REPEATS,
        "compared_patches": COMPARED_PATCHES,
        "weights": "random, last layer scaled",
    }
    found = {}
    for name in recipes or [name for name in known_encoder_recipes() if name.startswith("paper-")]:
        found[name] = one = measure(name, threads)
        times = ", ".join(f"{engine} {ms:g}" for engine, ms in one["median_ms"][f"batch {max(BATCHES)}"].items())
        folded = one["graphs"]["folded"]
        click.echo(
            f"{name:<13} {folded['stem']:<7} {one['parameters']:>11,} parameters {folded['onnx_mb']:>6} MB "
            f"{folded['nodes']:>5} nodes; ms at batch {max(BATCHES)}: {times}"
        )
        result = {
            "conditions": conditions,
            "synthetic": True,
            "recipes": found,
        }  # kept after each, should it be stopped
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
