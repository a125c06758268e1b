"""Bundle -> model repository: one model a graph, and the chain that asks them.

    lsd-triton.json                    what this repository was made of; Triton looks at folders only
    NAME/config.pbtxt                  the chain, on the python backend
    NAME/1/model.py, NAME/1/bundle/    the bundle without its graphs, its manifest and hash unchanged
    NAME_MEMBER_FOLD/config.pbtxt      one graph (model.onnx) or TensorRT plan (model.plan)
    NAME_MEMBER_FOLD/1/...

Not run in a server here; the layout follows Triton's docs/user_guide/model_repository.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lsd.export.triton.config import MODEL_FILE, Backend, Device, chain_config, encoder_config
from lsd.export.triton.plans import plan_of, require_one_target
from lsd.runtime import __version__
from lsd.runtime.backends.base import EncoderGraph, Precision
from lsd.runtime.bands import in_order
from lsd.runtime.bundle import ENCODERS_FOLDER, Bundle
from lsd.runtime.commit import folder_name, write_bytes
from lsd.runtime.engine_file import read_plan
from lsd.runtime.engine_key import EngineKey
from lsd.runtime.errors import BundleError, UsageError
from lsd.runtime.manifest import MANIFEST_NAME

MARKER = "lsd-triton.json"
_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RepositoryOptions:
    """What is asked for.

    name: of the chain, first part of the others' names. precision: of the graphs. max_batch_size: patches in one call
    of an encoder, and what the chain always sends. device: that encoders run on. plans: engine folder whose TensorRT
    plans are served in place of the graphs, or None.
    """

    name: str
    precision: Precision = "fp32"
    max_batch_size: int = 8
    device: Device = "cpu"
    plans: Path | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a model: expected letters, digits and _.- only, a letter or digit first; "
                "give another --name"
            )
        if self.max_batch_size < 1:
            raise UsageError(f"--max-batch-size must be 1 or more, is {self.max_batch_size}")
        if self.plans is not None and self.device == "cpu":
            raise UsageError("TensorRT plans run on a GPU only; give --device gpu with --plans")
        if self.plans is None and self.precision == "bf16":
            raise UsageError("ONNX Runtime does not compute in bf16; give another --precision, or --plans")


@dataclass(frozen=True)
class ServedModel:
    """One model of the repository, for the report. source: path of the graph in the bundle; file: its sha256."""

    name: str
    backend: str
    source: str
    sha256: str


def write_repository(folder: Path, bundle: Bundle, options: RepositoryOptions) -> dict[str, Any]:
    """Write a model repository into an existing, empty folder.

    Returns:
        What lsd-triton.json holds.
    Raises:
        BackendError: the bundle lacks the precision, or a plan is missing or unfit (see `plan_of`).
        UsageError: plans for different machines, or for a bundle without networks.
        BundleError, BundleHashError: a file of the bundle is gone or was changed. OutputError: the disk refuses.
    """
    if options.plans is not None and not bundle.manifest.encoders:
        raise UsageError(f"{bundle.path} holds no network that a plan could serve; leave --plans out")
    models: dict[str, list[ServedModel]] = {}
    keys: list[EngineKey] = []
    for member, record in bundle.manifest.encoders.items():
        paths = record.graphs.get(options.precision, ())
        models[member] = []
        for fold, (graph, path) in enumerate(zip(bundle.graphs(member, options.precision), paths, strict=True)):
            name = folder_name(f"{options.name}_{member}_{fold}")
            key = _write_encoder(folder / name, name, graph, options)
            keys += [key] if key else []
            models[member].append(ServedModel(name, "tensorrt" if key else "onnxruntime", path, graph.sha256))
    bands = in_order(band for configuration in bundle.manifest.configurations for band in configuration.bands)
    _write_chain(folder / options.name, bundle, bands, models, options)
    document = {
        "schema_version": _SCHEMA,
        "lsd_version": __version__,
        "chain": options.name,
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.sha256,
        "bands": list(bands),
        "precision": options.precision if models else None,
        "max_batch_size": options.max_batch_size,
        "device": options.device,
        "engines": require_one_target(keys) if keys else None,
        "encoders": {member: [asdict(one) for one in listed] for member, listed in models.items()},
    }
    write_bytes(folder / MARKER, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    return document


def _write_encoder(folder: Path, name: str, graph: EncoderGraph, options: RepositoryOptions) -> EngineKey | None:
    """Write the model of one graph; the key of the plan if one is served in its place."""
    backend: Backend = "onnxruntime" if options.plans is None else "tensorrt"
    key = None
    if options.plans is None:
        files = {MODEL_FILE[backend]: graph.content, **graph.external}
    else:
        path, key = plan_of(options.plans, graph, options.max_batch_size)
        files = {MODEL_FILE[backend]: read_plan(path)}
    (folder / "1").mkdir(parents=True)
    for file, content in files.items():
        write_bytes(folder / "1" / file, content)
    config = encoder_config(name, backend, graph.bands, options.max_batch_size, options.device, graph.sha256)
    write_bytes(folder / "config.pbtxt", config.encode())
    return key


def _write_chain(
    folder: Path,
    bundle: Bundle,
    bands: tuple[str, ...],
    models: dict[str, list[ServedModel]],
    options: RepositoryOptions,
) -> None:
    parameters = {
        "bundle_sha256": bundle.sha256,
        "precision": options.precision,
        "max_batch_size": str(options.max_batch_size),
        "encoders": json.dumps({member: [one.name for one in listed] for member, listed in models.items()}),
    }
    (folder / "1").mkdir(parents=True)
    write_bytes(folder / "config.pbtxt", chain_config(options.name, bands, parameters).encode())
    source = resources.files("lsd.export.triton").joinpath("chain_model.py")
    write_bytes(folder / "1" / "model.py", source.read_bytes())
    copied = {name: bundle.read(name) for name in bundle.manifest.files if not name.startswith(f"{ENCODERS_FOLDER}/")}
    for name, content in {**copied, MANIFEST_NAME: _manifest(bundle)}.items():
        path = folder / "1" / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def _manifest(bundle: Bundle) -> bytes:
    """The manifest as its hash demands it: whatever else the file held is not ours to drop."""
    content = bundle.manifest.to_bytes()
    if hashlib.sha256(content).hexdigest() != bundle.sha256:
        raise BundleError(f"{bundle.path}: {MANIFEST_NAME} was written by another lsd-edge; export the bundle again")
    return content
