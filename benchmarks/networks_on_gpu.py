"""The paper's networks on the GPU of this machine, by every backend that can use it: parity, and time beside torch.

    python -m lsd.benchmarks.networks_on_gpu -o result.json

Weights are random, with layers scaled so that logits spread (lsd.benchmarks.encoder_graphs): parity and times are those
of trained networks, accuracy is none. Graphs and plans are made first, several networks at once; then each session has
the GPU to itself. Times and joules are of whole calls, from host memory to host memory. Sessions take turns with each
other and with torch, so that a change of clocks meets all of them. What cannot be run says why.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lsd.benchmarks.bench.energy import NvmlEnergy, drawn
from lsd.benchmarks.bench.nvml import gpus
from lsd.benchmarks.encoder_graphs import network_of, patches_of
from lsd.benchmarks.paper_engines import SPREADING_PATCHES
from lsd.export.encoders.graph import onnx_of_networks
from lsd.export.engines.build import build_engine
from lsd.export.engines.request import EngineRequest
from lsd.export.golden import golden_patches
from lsd.export.precision.lower import at_precision
from lsd.runtime.backends.base import EncoderGraph, EncoderSession, Precision, SessionOptions
from lsd.runtime.backends.onnxruntime import open_session as open_on_onnxruntime
from lsd.runtime.backends.registry import open_session
from lsd.runtime.backends.tensorrt import open_engine
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.command import LsdCommand
from lsd.runtime.devices.choose import AUTO, open_device
from lsd.runtime.doctor import facts
from lsd.runtime.errors import BackendError, LsdError
from lsd.runtime.sigmoid import sigmoid
from lsd.runtime.versions import installed
from lsd.train.encoders.network import Network, network_from_recipe
from lsd.train.encoders.recipe import known_encoder_recipes, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling

BATCH = 8  # of all comparisons, as lsd-run asks
BATCHES = (1, BATCH, 32)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
COMPARED = 128  # simulated patches beside the golden ones
WARM_UP, REPEATS = 3, 30
METERED_S = 1.5  # many updates of the energy counter
QUEUED = 12  # calls of one measurement with two under way
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """What was made of a recipe without the GPU. graphs: precision -> ONNX. logits: of ONNX Runtime on the CPU in FP32,
    float32 (n,), of `patches` (n, band, 64, 64), of which `adversarial` (bool) are the hard ones."""

    name: str
    bands: tuple[str, ...]
    state: Path
    graphs: dict[str, bytes]
    patches: Array
    adversarial: NDArray[np.bool_]
    logits: Array
    seconds: dict[str, float]


def prepare(name: str, folder: Path, engines: Path, threads: int) -> Prepared:
    """Network, graphs, plans and CPU reference of one recipe; for a process of its own."""
    torch.set_num_threads(threads)
    recipe = read_encoder_recipe(name)
    started_s = time.perf_counter()
    network = network_of(recipe, patches_of(recipe, SPREADING_PATCHES))
    names, golden = golden_patches([paper_scaling(recipe.scaling.kind)])
    own = np.ascontiguousarray(golden[:, [BAND_NAMES.index(band) for band in recipe.bands]])
    patches = np.concatenate([own, patches_of(recipe, COMPARED)])
    patches = patches[: len(patches) // BATCH * BATCH]
    graphs = {"fp32": onnx_of_networks([network], name).content}
    exported_s = time.perf_counter()
    graphs["fp16"], _ = at_precision(graphs["fp32"], "fp16", own, threads)
    converted_s = time.perf_counter()
    with suppress(BackendError):  # without TensorRT; its sessions say so
        for precision in PRECISIONS:
            build_engine(EngineRequest(name, graphs[precision], precision), engines)
    built_s = time.perf_counter()
    session = open_session(
        "onnxruntime", _graph(name, graphs["fp32"], recipe.bands, "fp32"), SessionOptions(threads=threads)
    )
    logits = np.concatenate([session.run(patches[at : at + BATCH]) for at in range(0, len(patches), BATCH)])
    torch.save(network.state_dict(), folder / f"{name}.pt")
    adversarial = np.array([not one.startswith("simulated") for one in names] + [False] * COMPARED)[: len(patches)]
    seconds = {"export": exported_s - started_s, "fp16": converted_s - exported_s, "plans": built_s - converted_s}
    return Prepared(name, recipe.bands, folder / f"{name}.pt", graphs, patches, adversarial, logits, seconds)


def measure(one: Prepared, engines: Path, binding: str) -> dict[str, Any]:
    """Every backend and precision of one recipe on the GPU, beside torch."""
    recipe = read_encoder_recipe(one.name)
    network = network_from_recipe(recipe, paper_scaling(recipe.scaling.kind))
    network.load_state_dict(torch.load(one.state, weights_only=True))
    network.eval().cuda()
    found: dict[str, Any] = {
        "parameters": sum(value.numel() for value in network.parameters()),
        "seconds_without_gpu": {key: round(value, 1) for key, value in one.seconds.items()},
        "sessions": {},
    }
    calls = _torch_calls(network)
    in_torch = np.concatenate([calls["torch fp32"](part) for part in _batches(one.patches)])
    found["torch_fp32_max_logit_difference"] = float(np.abs(in_torch - one.logits).max())
    opened: list[EncoderSession] = []
    try:
        for name, opening in _openings(one, engines, binding).items():
            try:
                seconds, session = _opened(opening, one.patches[:BATCH])
                opened.append(session)
                found["sessions"][name] = {"seconds": seconds, **_compared(session, one)}
            except LsdError as error:
                found["sessions"][name] = {"not_measured": str(error)}
                continue
            calls[name] = session.run
            if name.startswith("tensorrt"):
                calls[f"{name}, two under way"] = _two_under_way(session)
        found["ms_a_call"] = {f"batch {n}": _median_ms(calls, one.patches[-n:]) for n in BATCHES}
        found["energy"] = _energy(calls, one.patches[-max(BATCHES) :])
    finally:
        for session in opened:
            session.close()
    return found


def _openings(one: Prepared, engines: Path, binding: str) -> dict[str, Callable[[], EncoderSession]]:
    """Name -> a function that opens a session."""
    openings: dict[str, Callable[[], EncoderSession]] = {}
    for precision in PRECISIONS:
        graph = _graph(one.name, one.graphs[precision], one.bands, precision)
        options = SessionOptions(engines=engines)
        openings[f"tensorrt {precision}"] = partial(open_engine, graph, options, binding)
        openings[f"tensorrt {precision}, no graph"] = partial(open_engine, graph, options, binding, cuda_graph=False)
        on_cuda = SessionOptions(provider="cuda")
        openings[f"onnxruntime cuda {precision}"] = partial(open_on_onnxruntime, graph, on_cuda)
        openings[f"onnxruntime cuda {precision}, no graph"] = partial(
            open_on_onnxruntime, graph, on_cuda, cuda_graph=False
        )
    return openings


def _opened(opening: Callable[[], EncoderSession], patches: Array) -> tuple[dict[str, float], EncoderSession]:
    """Seconds until the first answer, of the first start and of one after it; the second session."""
    seconds = {}
    for state in ("first_start", "later_start"):
        started_s = time.perf_counter()
        session = opening()
        session.run(patches)
        seconds[state] = round(time.perf_counter() - started_s, 2)
        if state == "first_start":
            session.close()
    return seconds, session


def _compared(session: EncoderSession, one: Prepared) -> dict[str, Any]:
    """What a session gives beside ONNX Runtime in FP32 on the CPU, and whether it depends on anything but the patch."""
    logits = _logits(session, one.patches)
    turned = _logits(session, one.patches[::-1])[::-1]  # other neighbours, another place in the batch
    usual = ~one.adversarial
    error, difference = np.abs(sigmoid(logits) - sigmoid(one.logits)), np.abs(logits - one.logits)
    return {
        "described": session.describe(),
        "patches": len(logits),
        "max_probability_error": float(error[usual].max()),
        "max_probability_error_adversarial": float(error[~usual].max()),
        "max_logit_error": float(difference[usual].max()),
        "max_logit_error_adversarial": float(difference[~usual].max()),
        "flips": int(((logits > 0) != (one.logits > 0)).sum()),
        "not_finite": int((~np.isfinite(logits)).sum()),
        "same_in_another_order": bool(np.array_equal(logits, turned)),
        "same_again": bool(np.array_equal(logits, _logits(session, one.patches))),
    }


def _batches(patches: Array) -> list[Array]:
    return np.split(np.ascontiguousarray(patches), len(patches) // BATCH)


def _logits(session: EncoderSession, patches: Array) -> Array:
    return np.concatenate([session.run(batch) for batch in _batches(patches)])


def _two_under_way(session: EncoderSession) -> Callable[[Array], Any]:
    """QUEUED calls, of which two are under way at any time; the time counts for one."""

    def run(patches: Array) -> None:
        before = session.start(patches)
        for _ in range(QUEUED - 1):
            after = session.start(patches)
            before()
            before = after
        before()

    run.calls = QUEUED  # type: ignore[attr-defined]
    return run


def _torch_calls(network: Network) -> dict[str, Callable[[Array], Any]]:
    """Eager in FP32 (no TF32) and under FP16 autocast, and the latter as a captured graph."""

    def eager(half: bool) -> Callable[[Array], Any]:
        @torch.inference_mode()
        def run(patches: Array) -> Any:
            with torch.autocast("cuda", torch.float16, enabled=half):
                return network(torch.from_numpy(patches).cuda()).float().cpu().numpy()

        return run

    captured: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    @torch.inference_mode()
    def replayed(patches: Array) -> Any:
        if len(patches) not in captured:
            pinned = torch.from_numpy(patches).pin_memory()
            given = pinned.cuda()
            with torch.autocast("cuda", torch.float16, cache_enabled=False):
                side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                with torch.cuda.stream(side):
                    for _ in range(WARM_UP):
                        network(given)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    logits = network(given).float()
            captured[len(patches)] = graph, pinned, given, logits
        graph, pinned, given, logits = captured[len(patches)]
        pinned.copy_(torch.from_numpy(patches))
        given.copy_(pinned, non_blocking=True)
        graph.replay()
        return logits.cpu().numpy()

    return {"torch fp32": eager(False), "torch fp16": eager(True), "torch fp16, graph": replayed}


def _median_ms(calls: dict[str, Callable[[Array], Any]], patches: Array) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in calls}
    patches = np.ascontiguousarray(patches)
    for turn in range(WARM_UP + REPEATS):
        for name, run in calls.items():
            started_s = time.perf_counter()
            run(patches)
            if turn >= WARM_UP:
                spent[name].append(1000 * (time.perf_counter() - started_s) / getattr(run, "calls", 1))
    return {name: round(statistics.median(values), 3) for name, values in spent.items()}


def _energy(calls: dict[str, Callable[[Array], Any]], patches: Array) -> dict[str, Any]:
    """Joules a patch and watts of the board at full batches, idling included, and watts while nothing runs."""
    found, reason = gpus()
    if not found or found[0].energy_j() is None:
        return {"not_measured": reason or "the GPU does not count its energy"}
    meters = [NvmlEnergy(found[0], "board")]
    with drawn(meters) as idle:
        time.sleep(METERED_S)
    told: dict[str, Any] = {"batch": len(patches), "idle_watts": round(idle.joules["board"] / idle.seconds, 1)}
    for name, run in calls.items():
        with drawn(meters) as busy:
            answered, end_s = 0, time.perf_counter() + METERED_S
            while time.perf_counter() < end_s:
                run(patches)
                answered += len(patches) * getattr(run, "calls", 1)
        joules = busy.joules["board"]
        told[name] = {"joules_a_patch": round(joules / answered, 5), "watts": round(joules / busy.seconds, 1)}
    return told


def _graph(name: str, content: bytes, bands: tuple[str, ...], precision: Precision) -> EncoderGraph:
    return EncoderGraph(name, content, {}, hashlib.sha256(content).hexdigest(), bands, precision)


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--recipe", "recipes", multiple=True, help="Encoder recipe; repeat it. Default: the paper's seven.")
@click.option("--jobs", default=4, show_default=True, help="Networks that are prepared at once.")
@click.option("--threads", default=2, show_default=True, help="Threads of the CPU for each of them.")
@click.option("--binding", default=AUTO, show_default=True, help="CUDA binding: pycuda, cuda-python or auto.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(output: Path, recipes: tuple[str, ...], jobs: int, threads: int, binding: str, commit: str) -> None:
    """Run the paper's networks on this GPU."""
    device = open_device(binding)
    with device.current():
        gpu = device.properties()
    device.close()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    names = recipes or [name for name in known_encoder_recipes() if name.startswith("paper-")]
    packages = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13", "cuda-bindings")
    conditions: dict[str, Any] = {"commit": commit, **facts(), **installed(packages), "gpu": gpu.name}
    conditions |= {
        "binding": f"{device.name} {device.version}",
        "gpu_compute_capability": gpu.compute_capability,
        "weights": "random, scaled",
        "repeats": REPEATS,
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        engines = Path(work) / "engines"
        engines.mkdir()
        waiting = [(name, pool.submit(prepare, name, Path(work), engines, threads)) for name in names]
        ready = [(name, task.result()) for name, task in waiting]  # all of it first: the CPU is idle while one is timed
        for name, one in ready:
            found[name] = measure(one, engines, binding)
            torch.cuda.empty_cache()
            for session, told in found[name]["sessions"].items():
                click.echo(f"{name} {session}: {told.get('not_measured') or json.dumps(told)}")
            click.echo(f"{name}: {json.dumps(found[name]['ms_a_call'])}")
            result = {"conditions": conditions, "synthetic": True, "recipes": found}
            output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
