"""Which CUDA binding is used: the one asked for, or PyCUDA first and cuda-python where that is not to be had."""

from __future__ import annotations

import importlib
import logging

from lsd.runtime.devices.base import DeviceLibrary
from lsd.runtime.errors import BackendError, UsageError
from lsd.runtime.nearest import did_you_mean

AUTO = "auto"
MODULES = {"pycuda": "lsd.runtime.devices.pycuda", "cuda-python": "lsd.runtime.devices.cuda_python"}  # best first


def open_device(name: str = AUTO) -> DeviceLibrary:
    """Open the first GPU.

    Args:
        name: of a binding, or `auto`.
    Raises:
        UsageError: no binding has that name.
        BackendError: none asked for can be used; the message has the reason of each.
    """
    if name not in (AUTO, *MODULES):
        hint = did_you_mean(name, [AUTO, *MODULES]) or f" (known: {AUTO}, {', '.join(MODULES)})"
        raise UsageError(f"unknown CUDA binding {name!r}{hint}")
    refused = []
    for candidate in MODULES if name == AUTO else [name]:
        try:
            device: DeviceLibrary = importlib.import_module(MODULES[candidate]).open_device()
        except BackendError as error:
            refused.append(f"{candidate}: {error}")
            continue
        if refused:
            logging.getLogger(__name__).info("CUDA through %s (%s)", candidate, "; ".join(refused))
        return device
    raise BackendError(f"no GPU can be used: {'; '.join(refused)}")
