"""Networks of a run -> an encoder of a bundle: graphs at every precision, and what the gate checks them with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.export.encoders.graph import OnnxFile, onnx_of_networks
from lsd.export.precision.element import LowPrecision
from lsd.export.precision.lower import at_precision
from lsd.runtime.backends.base import EncoderGraph, Precision
from lsd.runtime.bands import BAND_NAMES, in_order
from lsd.runtime.bundle import ENCODERS_FOLDER
from lsd.runtime.errors import UsageError
from lsd.runtime.manifest import EncoderMember
from lsd.train.encoder_run import EncoderRun
from lsd.train.encoders.scaling import Scaling

if TYPE_CHECKING:
    from lsd.train.encoders.network import Network


@dataclass(frozen=True)
class GraphOptions:
    """How networks become graphs.

    precisions: beside fp32, which is always there. flips: average the logits of 4 flips inside the graph.
    average_folds: one graph of all folds instead of one a fold.
    """

    precisions: tuple[LowPrecision, ...] = ("fp16",)
    flips: bool = False
    average_folds: bool = False


@dataclass(frozen=True)
class EncoderEvidence:
    """What an encoder is checked with.

    scaling: of its bands. networks: by graph, those that it averages. graphs: by precision, as recorded.
    """

    scaling: Scaling
    networks: tuple[tuple[Network, ...], ...]
    flips: bool
    graphs: dict[Precision, tuple[EncoderGraph, ...]]


def encoder_key(run: EncoderRun) -> str:
    """Id of a network in the bundle: the name of its run folder."""
    return run.path.resolve().name


def converted_encoder(
    run: EncoderRun,
    options: GraphOptions,
    hard: NDArray[np.float32],
    ordinary: NDArray[np.float32],
    say: Callable[[str], object] = lambda line: None,
) -> tuple[EncoderMember, dict[str, bytes], EncoderEvidence]:
    """The record of a network, its files by their paths in the bundle, and its evidence.

    Args:
        hard: float32 (n, 12, 64, 64), on which the ranges of values are measured that fp16 must hold. ordinary: the
            same of usual ground, by which int8 is calibrated: the extremes would leave it no resolution.
    Raises:
        RecipeError: torch cannot export a network. UsageError: a graph is too large for another precision.
    """
    key = encoder_key(run)
    own = [BAND_NAMES.index(band) for band in run.bands]
    measured = {"int8": ordinary[:, own]}
    networks = (run.networks,) if options.average_folds else tuple((network,) for network in run.networks)
    files: dict[str, bytes] = {}
    external: dict[str, tuple[str, ...]] = {}
    graphs: dict[Precision, list[EncoderGraph]] = {"fp32": [], **{precision: [] for precision in options.precisions}}
    plans: dict[LowPrecision, list[dict[str, Any]]] = {precision: [] for precision in options.precisions}
    for number, averaged in enumerate(networks):
        say(f"exporting {key}, graph {number + 1} of {len(networks)}")
        whole = onnx_of_networks(averaged, run.recipe.name, flips=options.flips, external_name=f"{key}.{number}.bin")
        path = f"{ENCODERS_FOLDER}/{key}.{number}.onnx"
        beside = {f"{ENCODERS_FOLDER}/{name}": content for name, content in whole.external.items()}
        if beside:
            external[path] = tuple(beside)
        files |= {path: whole.content, **beside}
        graphs["fp32"].append(_graph(path, whole.content, whole.external, run.bands, "fp32"))
        for precision in options.precisions:
            say(f"converting {key}, graph {number + 1} of {len(networks)}, to {precision}")
            content, plan = at_precision(_in_one_piece(whole, key), precision, measured.get(precision, hard[:, own]))
            path = f"{ENCODERS_FOLDER}/{key}.{number}.{precision}.onnx"
            files[path] = content
            graphs[precision].append(_graph(path, content, {}, run.bands, precision))
            plans[precision].append({"graph": path, **plan.to_json()})
    plan_paths = {precision: f"{ENCODERS_FOLDER}/{key}.{precision}.json" for precision in plans}
    for precision, listed in plans.items():
        files[plan_paths[precision]] = (json.dumps(listed, indent=1, allow_nan=False) + "\n").encode()
    record = EncoderMember(
        bands=run.bands,
        served=tuple(in_order(one.bands) for one in run.configurations),
        backbones=tuple(one.backbone for one in run.recipe.network.encoders),
        parameters=run.parameters,
        graphs={precision: tuple(_path(one) for one in several) for precision, several in graphs.items()},
        plans={str(precision): path for precision, path in plan_paths.items()},
        external=external,
    )
    held = {precision: tuple(several) for precision, several in graphs.items()}
    return record, files, EncoderEvidence(run.scaling, networks, options.flips, held)


def _graph(
    path: str, content: bytes, external: dict[str, bytes], bands: Sequence[str], precision: Precision
) -> EncoderGraph:
    return EncoderGraph(path, content, external, hashlib.sha256(content).hexdigest(), tuple(bands), precision)


def _path(graph: EncoderGraph) -> str:
    return graph.name


def _in_one_piece(whole: OnnxFile, key: str) -> bytes:
    if whole.external:
        raise UsageError(
            f"{key}: a graph of more than 2 GB is written in FP32 only; export one graph a fold (without "
            "--average-folds), or give --precision fp32"
        )
    return whole.content
