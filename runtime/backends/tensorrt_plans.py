"""Which plan of the engine folder serves a graph here, and why each of the others does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.backends.tensorrt_library import TensorRTLibrary
from lsd.runtime.engine_key import EngineKey, key_from_file_name, mismatch
from lsd.runtime.errors import BackendError


def find_plan(folder: Path, graph: EncoderGraph, library: TensorRTLibrary) -> tuple[Path, EngineKey]:
    """The plan of this graph for this library and GPU; of several the one that takes the most patches in a call.

    Raises:
        BackendError: none fits; the message says what the nearest was built for, and the command to build one.
    """
    here = EngineKey(library.flavour, library.version, library.target(), graph.precision, (1, 1, 1), graph.sha256)
    fitting: list[tuple[int, Path, EngineKey]] = []
    refused: list[tuple[bool, str]] = []
    for path in sorted(folder.glob("*.plan")):
        try:
            _, key = key_from_file_name(path.name)
        except BackendError:
            continue  # not one of ours; if it was renamed, the message below says that none was found
        reason = mismatch(key, replace(here, profile=key.profile))  # whether the batch fits is seen when it is known
        if reason is None:
            fitting.append((key.profile[2], path, key))
        elif graph.sha256.startswith(key.source_sha256):
            refused.append((key.precision == graph.precision, reason))
    if fitting:
        _, path, key = max(fitting)
        return path, key
    if refused:
        raise BackendError(f"{graph.name}: {max(refused)[1]}")
    raise BackendError(
        f"{graph.name}: {folder} holds no engine of this graph for {library.title}; build it on this machine: "
        f"lsd-export engine BUNDLE --precision {graph.precision} --output {folder}"
    )
