"""Networks of random weights: torch, torch.compile, ONNX Runtime, OpenVINO, and TensorRT where there is a GPU.

Random weights whose logits spread (lsd.benchmarks.encoder_graphs): times and differences are those of trained networks,
accuracy is none. The graphs are those that `lsd-export build` writes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lsd.benchmarks.encoder_graphs import network_of, patches_of
from lsd.benchmarks.peers.result import AbsentError, ResultFile, case_of, conditions_of, show
from lsd.benchmarks.peers.turns import TURNS, Work, in_turns
from lsd.export.encoders.graph import onnx_of_networks
from lsd.runtime.backends.base import EncoderGraph, Precision, SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import LsdError
from lsd.train.encoders.network import Network
from lsd.train.encoders.recipe import known_encoder_recipes, read_encoder_recipe

RECIPES = ("small-convnet", "paper-v31")
BATCHES = (1, 8)
COMPARED_PATCHES = 32
OURS, EAGER, COMPILED = "ONNX Runtime", "torch eager", "torch.compile"
Patches = NDArray[np.float32]
Run = Callable[[Patches], Patches]


def torch_eager(network: Network) -> Run:
    """The module as it was trained."""

    @torch.inference_mode()
    def run(patches: Patches) -> Patches:
        logits: Patches = network(torch.from_numpy(patches)).numpy()
        return logits

    return run


def torch_compiled(network: Network) -> Run:
    """torch.compile with its defaults; compiled at the first call of each batch size.

    Raises:
        AbsentError: it cannot compile here.
    """
    compiled = torch.compile(network, dynamic=False)

    @torch.inference_mode()
    def run(patches: Patches) -> Patches:
        logits: Patches = compiled(torch.from_numpy(patches)).numpy()
        return logits

    try:
        for batch in BATCHES:
            run(np.zeros((batch, len(network.bands), 64, 64), np.float32))
    except Exception as error:  # torch passes on whatever its compilers raise
        raise AbsentError(f"{type(error).__name__}: {(str(error).splitlines() or ['?'])[0]}") from error
    return run


def graph_of(name: str, content: bytes, bands: tuple[str, ...], precision: Precision) -> EncoderGraph:
    """The exported file as a backend takes it."""
    return EncoderGraph(name, content, {}, hashlib.sha256(content).hexdigest(), bands, precision)


def session_of(opened: ExitStack, backend: str, graph: EncoderGraph, options: SessionOptions) -> Run:
    """One of our backends."""
    session = open_session(backend, graph, options)
    opened.callback(session.close)
    return session.run


def tensorrt_of(opened: ExitStack, graph: EncoderGraph) -> Run:
    """TensorRT: its engine is built now, which takes minutes; raises BackendError without a GPU, before that."""
    from lsd.export.engines.build import build_engine
    from lsd.export.engines.request import EngineRequest
    from lsd.runtime.devices.choose import AUTO, open_device

    open_device(AUTO).close()
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
    build_engine(EngineRequest("peer", graph.content, graph.precision, (1, max(BATCHES), max(BATCHES))), folder)
    return session_of(opened, "tensorrt", graph, SessionOptions(engines=folder))


@contextmanager
def engines_of(recipe: str, threads: int, patches: Patches) -> Iterator[tuple[dict[str, Run], dict[str, str]]]:
    """Name -> what runs the network, and name -> why it cannot."""
    network = network_of(read_encoder_recipe(recipe), patches)
    content = onnx_of_networks([network], recipe).content
    graphs = {kind: graph_of(f"{recipe} {kind}", content, network.bands, kind) for kind in ("fp32", "bf16")}
    options = SessionOptions(threads=threads)
    with ExitStack() as opened:
        ways: dict[str, Callable[[], Run]] = {
            EAGER: lambda: torch_eager(network),
            COMPILED: lambda: torch_compiled(network),
            OURS: lambda: session_of(opened, "onnxruntime", graphs["fp32"], options),
            "OpenVINO": lambda: session_of(opened, "openvino", graphs["fp32"], options),
            "OpenVINO bf16": lambda: session_of(opened, "openvino", graphs["bf16"], options),
            "TensorRT": lambda: tensorrt_of(opened, graphs["fp32"]),
        }
        found, missing = {}, {}
        for name, way in ways.items():
            try:
                found[name] = way()
            except (AbsentError, LsdError, ImportError) as error:
                missing[name] = " ".join(str(error).split())
        yield found, missing


def logits_of(run: Run, patches: Patches) -> Patches:
    """Logits of all patches, in full batches."""
    size = max(BATCHES)
    return np.concatenate([run(patches[start : start + size]) for start in range(0, len(patches), size)])


def measure(recipe: str, threads: int, turns: int) -> dict[int, dict[str, Any]]:
    """One network at every batch size: everybody in turns, and how far each logit is from torch's."""
    patches = patches_of(read_encoder_recipe(recipe), COMPARED_PATCHES)
    found = {}
    with engines_of(recipe, threads, patches) as (runs, missing):
        reference = logits_of(runs[EAGER], patches)
        exact = {}
        for name, run in runs.items():
            most = float(np.abs(logits_of(run, patches) - reference).max())
            exact[name] = {"max_logit_difference": most, "exactness": f"logits differ by {most:.0e}"}
        for batch in BATCHES:
            some = patches[:batch]
            works = {name: Work(lambda run=run, some=some: run(some), batch) for name, run in runs.items()}  # type: ignore[misc]
            found[batch] = case_of(in_turns(works, turns), OURS, exact, missing)
    return found


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option(
    "--recipe", "recipes", multiple=True, type=click.Choice(known_encoder_recipes()), help="May be given again."
)
@click.option("--threads", default=2, show_default=True, help="Of everybody on the CPU.")
@click.option("--turns", default=TURNS, show_default=True, help="Of everybody.")
def encoders(output: Path, commit: str, recipes: Sequence[str], threads: int, turns: int) -> None:
    """Microseconds a patch of a small and of one of the paper's networks, weights random (some minutes)."""
    torch.set_num_threads(threads)
    settings = {"threads": threads, "turns": turns, "weights": "random, last layer scaled"}
    result = ResultFile(output, conditions_of(commit, **settings))
    for recipe in recipes or RECIPES:
        cases = {batch: f"{recipe}, batch {batch}" for batch in BATCHES}
        if not all(result.has(case) for case in cases.values()):
            for batch, found in measure(recipe, threads, turns).items():
                result.put(cases[batch], found)
        for case in cases.values():
            show(case, result.cases[case])
