"""Which TensorRT plan of an engine folder Triton is to serve for a graph, and why another one is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.engine_file import PROVEN, read_report
from lsd.runtime.engine_key import EngineKey, key_from_file_name
from lsd.runtime.errors import BackendError, UsageError


def plan_of(folder: Path, graph: EncoderGraph, max_batch_size: int) -> tuple[Path, EngineKey]:
    """The one plan of a graph that takes 1 to `max_batch_size` patches.

    Raises:
        BackendError: there is none, or it is TensorRT-RTX's, takes other batches, or was never inspected on a GPU.
        UsageError: there are several; which GPU the server has is not for us to guess.
    """
    build = f"lsd-export engine BUNDLE --precision {graph.precision} --batch 1,{max_batch_size},{max_batch_size}"
    build += f" --output {folder}"
    ours = [
        (path, key)
        for path, key in _plans(folder)
        if graph.sha256.startswith(key.source_sha256) and key.precision == graph.precision
    ]
    full = [(path, key) for path, key in ours if key.flavour == "tensorrt"]
    if not full:
        found = f"only TensorRT-RTX's {ours[0][0].name}, which Triton does not serve" if ours else "none"
        raise BackendError(
            f"{graph.name}: expected a TensorRT engine in {folder}, found {found}; build it on the server: {build}"
        )
    fitting = [(path, key) for path, key in full if key.profile[0] == 1 and key.profile[2] >= max_batch_size]
    if not fitting:
        raise BackendError(
            f"{graph.name}: {full[0][0].name} takes {full[0][1].profile[0]} to {full[0][1].profile[2]} patches, "
            f"expected 1 to {max_batch_size}; give another --max-batch-size, or build it again: {build}"
        )
    if len(fitting) > 1:
        names = ", ".join(path.name for path, _ in fitting)
        raise UsageError(f"{graph.name}: {folder} holds several engines of it ({names}); leave one of them there")
    path, key = fitting[0]
    if read_report(path)["state"] != PROVEN:
        raise BackendError(
            f"{path} was not inspected on a GPU yet, and Triton would not look; load it once on the server: lsd-export "
            f"verify BUNDLE --encoders tensorrt --precision {graph.precision} --engines {folder}"
        )
    return path, key


def require_one_target(keys: Iterable[EngineKey]) -> str:
    """TensorRT version and GPU that all plans were built for, for people.

    Raises:
        UsageError: they differ; no server could load them all.
    """
    found = sorted({f"TensorRT {key.version} on {key.compute_capability}" for key in keys})
    if len(found) != 1:
        raise UsageError(f"the engines were built for {' and for '.join(found)}; build all of them on the server")
    return found[0]


def _plans(folder: Path) -> list[tuple[Path, EngineKey]]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give that of lsd-export engine")
    found = []
    for path in sorted(folder.glob("*.plan")):
        try:
            found.append((path, key_from_file_name(path.name)[1]))
        except BackendError:
            continue  # not one of ours
    return found
