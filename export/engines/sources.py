"""The encoder graphs that a bundle, or a single ONNX file, holds."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from lsd.runtime.backends.base import PRECISIONS, EncoderGraph
from lsd.runtime.bundle import open_bundle
from lsd.runtime.errors import BackendError, BundleError, UsageError


def graphs_of(bundle: Path) -> list[tuple[str, EncoderGraph]]:
    """(name for files, graph) of every encoder of a bundle; an .onnx file is one graph.

    Raises:
        UsageError: there is nothing here, or it holds no encoders.
        BundleError: an ONNX file that does not say its bands and precision, or an unfit bundle.
    """
    if bundle.suffix == ".onnx" and bundle.is_file():
        return [_graph_of(bundle)]
    if not bundle.exists():
        raise UsageError(f"{bundle}: there is no bundle and no .onnx file here")
    opened = open_bundle(bundle)
    found = [
        (f"{member}.{number}", graph)
        for member, encoder in opened.manifest.encoders.items()
        for precision in PRECISIONS
        if precision in encoder.graphs
        for number, graph in enumerate(opened.graphs(member, precision))
    ]
    if not found:
        raise UsageError(f"{bundle} holds no encoders; forests need no engine")
    return found


def _graph_of(path: Path) -> tuple[str, EncoderGraph]:
    try:
        import onnx
    except ImportError as error:
        raise BackendError("reading an .onnx file needs onnx: pip install onnx") from error
    content = path.read_bytes()
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # DecodeError of protobuf, a package that is not ours to import
        raise BundleError(f"{path}: is not an ONNX file ({error}); copy or export it again") from error
    stated = {entry.key: entry.value for entry in model.metadata_props}
    bands, precision = stated.get("lsd_bands", ""), stated.get("lsd_precision")
    if not bands or precision not in PRECISIONS:
        raise BundleError(
            f"{path}: expected metadata lsd_bands and lsd_precision ({', '.join(PRECISIONS)}), found {bands!r} and "
            f"{precision!r}; use a graph that lsd-export build wrote"
        )
    external = {name: (path.parent / name).read_bytes() for name in _external_names(path, model)}
    graph = EncoderGraph(
        str(path), content, external, hashlib.sha256(content).hexdigest(), tuple(bands.split(",")), precision
    )
    return path.name.removesuffix(".onnx").removesuffix(f".{precision}"), graph


def _external_names(path: Path, model: Any) -> list[str]:
    """Files beside the graph that hold its weights."""
    names = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    for name in sorted(names):
        if PurePosixPath(name).name != name or not (path.parent / name).is_file():
            raise BundleError(f"{path}: its external data {name!r} is not beside it; copy both again from their source")
    return sorted(names)
