"""Networks of random weights: torch, torch.compile, ONNX Runtime and OpenVINO; on a GPU also FP16, and TensorRT.

Random weights whose logits spread (lsd.benchmarks.encoder_graphs): times and differences are those of trained networks,
accuracy is none. The graphs are those that `lsd-export build` writes. Patches and logits lie in host memory in every
way, so that copies to a GPU and back are counted.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lsd.benchmarks.encoder_graphs import network_of, patches_of
from lsd.benchmarks.peers.result import AbsentError, ResultFile, case_of, conditions_of, show
from lsd.benchmarks.peers.turns import TURNS, in_turns, repeated
from lsd.export.encoders.graph import onnx_of_networks
from lsd.export.golden import golden_patches
from lsd.export.precision.lower import at_precision
from lsd.runtime.backends.base import EncoderGraph, Precision, SessionOptions
from lsd.runtime.backends.registry import open_session
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import LsdError, UsageError
from lsd.train.encoders.network import Network
from lsd.train.encoders.recipe import EncoderRecipe, known_encoder_recipes, read_encoder_recipe
from lsd.train.encoders.scaling import paper_scaling

Device = Literal["cpu", "cuda"]
RECIPES = ("small-convnet", "paper-v31")
BATCHES: dict[Device, tuple[int, ...]] = {"cpu": (1, 8), "cuda": (1, 8, 32)}
COMPARED_PATCHES, AT_ONCE = 32, 8
MOST_COMPILED = 64  # recipes x batch sizes x ways
OURS, EAGER, COMPILED = "ONNX Runtime", "torch eager", "torch.compile"
HALF = "FP16"  # beside a name; what has none computes in FP32, TF32 switched off. graph: captured CUDA graphs
Patches = NDArray[np.float32]
Run = Callable[[Patches], Patches]
Forward = Callable[[torch.Tensor], torch.Tensor]


def torch_forward(network: Network, device: Device, half: bool) -> Forward:
    """Logits of patches on the device, as the network is or under FP16 autocast.

    Autocast is within what may be compiled: switched on outside, between turns, it would have torch compile again.
    """

    def forward(patches: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.float16, enabled=half):
            logits: torch.Tensor = network(patches).float()
        return logits

    return forward


def from_host(forward: Forward, device: Device) -> Run:
    """The same for patches and logits in host memory."""

    @torch.inference_mode()
    def run(patches: Patches) -> Patches:
        logits: Patches = forward(torch.from_numpy(patches).to(device)).cpu().numpy()
        return logits

    return run


def torch_eager(network: Network, device: Device, half: bool = False) -> Run:
    """The module as it was trained; it lies on the device."""
    return from_host(torch_forward(network, device, half), device)


def torch_compiled(network: Network, device: Device, half: bool = False, mode: str | None = None) -> Run:
    """torch.compile for each batch size, with its defaults unless a mode is given.

    Raises:
        AbsentError: it cannot compile here.
    """
    try:
        import torch._dynamo.config as dynamo

        dynamo.recompile_limit = MOST_COMPILED  # beyond it, 8 by default, a module goes on uncompiled, unnoticed
        run = from_host(torch.compile(torch_forward(network, device, half), dynamic=False, mode=mode), device)
        for batch in BATCHES[device]:
            run(np.zeros((batch, len(network.bands), 64, 64), np.float32))
    except Exception as error:  # torch passes on whatever its compilers raise
        raise AbsentError(f"{type(error).__name__}: {(str(error).splitlines() or ['?'])[0]}") from error
    return run


class Graphs:
    """What `lsd-export build` makes of a network, each precision when it is first asked for."""

    def __init__(self, recipe: EncoderRecipe, network: Network) -> None:
        self._recipe, self._bands = recipe, network.bands
        self._fp32 = onnx_of_networks([network], recipe.name).content

    @cached_property
    def _fp16(self) -> bytes:
        _, golden = golden_patches([paper_scaling(self._recipe.scaling.kind)])
        own = np.ascontiguousarray(golden[:, [BAND_NAMES.index(band) for band in self._bands]])
        return at_precision(self._fp32, "fp16", own)[0]

    def at(self, precision: Precision) -> EncoderGraph:
        """The file as a backend takes it; bf16 is computed by the backend from the FP32 file."""
        content = self._fp16 if precision == "fp16" else self._fp32
        name = f"{self._recipe.name} {precision}"
        return EncoderGraph(name, content, {}, hashlib.sha256(content).hexdigest(), self._bands, precision)


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
    most = max(BATCHES["cuda"])
    build_engine(EngineRequest("peer", graph.content, graph.precision, (1, AT_ONCE, most)), folder)
    return session_of(opened, "tensorrt", graph, SessionOptions(engines=folder))


def ways_of(
    device: Device, network: Network, graphs: Graphs, threads: int, opened: ExitStack
) -> dict[str, Callable[[], Run]]:
    """Name -> what opens it; `network` lies on the device."""
    on_cpu, on_cuda = SessionOptions(threads=threads), SessionOptions(threads=threads, provider="cuda")
    both: dict[str, Callable[[], Run]] = {
        EAGER: lambda: torch_eager(network, device),
        COMPILED: lambda: torch_compiled(network, device),
    }
    if device == "cpu":
        return both | {
            OURS: lambda: session_of(opened, "onnxruntime", graphs.at("fp32"), on_cpu),
            "OpenVINO": lambda: session_of(opened, "openvino", graphs.at("fp32"), on_cpu),
            "OpenVINO BF16": lambda: session_of(opened, "openvino", graphs.at("bf16"), on_cpu),
        }
    return both | {
        f"{EAGER} {HALF}": lambda: torch_eager(network, device, half=True),
        f"{COMPILED} {HALF}": lambda: torch_compiled(network, device, half=True),
        f"{COMPILED} {HALF}, graph": lambda: torch_compiled(network, device, half=True, mode="reduce-overhead"),
        OURS: lambda: session_of(opened, "onnxruntime", graphs.at("fp32"), on_cuda),
        f"{OURS} {HALF}": lambda: session_of(opened, "onnxruntime", graphs.at("fp16"), on_cuda),
        "TensorRT": lambda: tensorrt_of(opened, graphs.at("fp32")),
        f"TensorRT {HALF}": lambda: tensorrt_of(opened, graphs.at("fp16")),
    }


@contextmanager
def engines_of(
    name: str, device: Device, threads: int, patches: Patches
) -> Iterator[tuple[dict[str, Run], dict[str, str]]]:
    """Name -> what runs the network, and name -> why it cannot."""
    recipe = read_encoder_recipe(name)
    network = network_of(recipe, patches)
    graphs = Graphs(recipe, network)  # while the network lies on the CPU
    with ExitStack() as opened:
        found, missing = {}, {}
        for way, opening in ways_of(device, network.to(device), graphs, threads, opened).items():
            try:
                found[way] = opening()
            except (AbsentError, LsdError, ImportError) as error:
                missing[way] = " ".join(str(error).split())
        yield found, missing


def logits_of(run: Run, patches: Patches) -> Patches:
    """Logits of all patches, in batches as lsd-run asks."""
    return np.concatenate([run(patches[start : start + AT_ONCE]) for start in range(0, len(patches), AT_ONCE)])


def measure(recipe: str, device: Device, threads: int, turns: int) -> dict[int, dict[str, Any]]:
    """One network at every batch size: everybody in turns, and how far each logit is from torch's in FP32."""
    patches = patches_of(read_encoder_recipe(recipe), COMPARED_PATCHES)
    found = {}
    with engines_of(recipe, device, threads, patches) as (runs, missing):
        reference = logits_of(runs[EAGER], patches)
        exact = {}
        for name, run in runs.items():
            most = float(np.abs(logits_of(run, patches) - reference).max())
            exact[name] = {"max_logit_difference": most, "exactness": f"logits differ by {most:.0e}"}
        for batch in BATCHES[device]:
            some = patches[:batch]
            works = {}
            for name, run in runs.items():
                run(some)  # warm at this size, before calls are counted out
                works[name] = repeated(partial(run, some), batch)
            found[batch] = case_of(in_turns(works, turns), OURS, exact, missing)
    return found


def prepared(device: Device, threads: int) -> dict[str, Any]:
    """Set up torch, and what a result says of it.

    Raises:
        UsageError: torch finds no GPU.
    """
    torch.set_num_threads(threads)
    if device == "cpu":
        return {"device": "cpu"}
    if not torch.cuda.is_available():
        raise UsageError(
            f"--device cuda: torch {torch.__version__} finds no GPU; check the driver (nvidia-smi) and that torch is "
            "built for its CUDA, or measure with --device cpu"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # FP32 is to mean FP32
    return {"device": "cuda", "gpu": torch.cuda.get_device_name(), "cuda of torch": torch.version.cuda}


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option(
    "--recipe", "recipes", multiple=True, type=click.Choice(known_encoder_recipes()), help="May be given again."
)
@click.option(
    "--device", type=click.Choice(list(BATCHES)), default="cpu", show_default=True,
    help="Where everybody works; patches and logits are in host memory.",
)  # fmt: skip
@click.option("--threads", default=2, show_default=True, help="Of everybody on the CPU.")
@click.option("--turns", default=TURNS, show_default=True, help="Of everybody.")
def encoders(output: Path, commit: str, recipes: Sequence[str], device: Device, threads: int, turns: int) -> None:
    """Microseconds a patch of a small and of one of the paper's networks, weights random (some minutes)."""
    settings = {"threads": threads, "turns": turns, "weights": "random, last layer scaled", **prepared(device, threads)}
    result = ResultFile(output, conditions_of(commit, **settings))
    for recipe in recipes or RECIPES:
        cases = {batch: f"{recipe}, batch {batch}" for batch in BATCHES[device]}
        if not all(result.has(case) for case in cases.values()):
            for batch, found in measure(recipe, device, threads, turns).items():
                result.put(cases[batch], found)
        for case in cases.values():
            show(case, result.cases[case])
