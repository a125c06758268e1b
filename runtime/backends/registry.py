"""Encoder backends by name; each module, and the library behind it, is imported when it is asked for."""

from __future__ import annotations

import importlib

from lsd.runtime.backends.base import EncoderGraph, EncoderSession, SessionOptions
from lsd.runtime.errors import UsageError
from lsd.runtime.nearest import did_you_mean

BACKENDS: dict[str, str] = {
    "onnxruntime": "lsd.runtime.backends.onnxruntime",
    "openvino": "lsd.runtime.backends.openvino",
    "tensorrt": "lsd.runtime.backends.tensorrt",
}


def open_session(backend: str, graph: EncoderGraph, options: SessionOptions | None = None) -> EncoderSession:
    """Open a graph with the backend of that name.

    Raises:
        UsageError: no backend has that name, or the options are not for it.
        BackendError: its library is not installed or cannot run the graph here; the message says what to install.
        BundleError: the graph does not have the input and output of the contract.
    """
    if backend not in BACKENDS:
        hint = did_you_mean(backend, BACKENDS) or f" (known: {', '.join(BACKENDS)})"
        raise UsageError(f"unknown backend {backend!r}{hint}")
    session: EncoderSession = importlib.import_module(BACKENDS[backend]).open_session(
        graph, options or SessionOptions()
    )
    return session
