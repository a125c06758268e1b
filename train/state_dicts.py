"""Weights from files of others: tensors by name and nothing else; code that such a file may hold is never run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lsd.runtime.errors import UsageError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "weights")  # where training scripts put the state dict
_PREFIX = "module."  # of torch's DataParallel


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, of a .safetensors file or of what torch.save wrote.

    A dict under one of the usual keys (`state_dict`, `model`, ...) is unwrapped; `module.` before all names is cut off.

    Raises:
        UsageError: there is no such file, it is damaged, or it holds anything but tensors.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: expected a file of weights ({', '.join(SUFFIXES)})")
    try:
        stored = _read(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # both libraries raise many classes for a damaged or foreign file
        raise UsageError(f"{path}: {_reason(error)}") from error
    for key in _WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(one, Tensor) for one in stored.values()):
        found = ", ".join(map(str, list(stored)[:5])) if isinstance(stored, Mapping) else type(stored).__name__
        raise UsageError(f"{path}: expected tensors by name (a state_dict), found {found or 'nothing'}")
    names = [str(name) for name in stored]
    cut = len(_PREFIX) if all(name.startswith(_PREFIX) for name in names) else 0
    return {name[cut:]: value for name, value in zip(names, stored.values(), strict=True)}


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Both have the same names and shapes.

    Raises:
        UsageError: one line, beginning with `what`, that lists what is missing, unexpected or of another shape.
    """
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    misshaped = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("misshaped", misshaped))
    if missing or unexpected or misshaped:
        raise UsageError(f"{what}: " + "; ".join(f"{name}: {_few(keys)}" for name, keys in parts if keys))


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    # from torch 2.6 on, this reads tensors and plain containers only (docs.pytorch.org: torch.load)
    return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    refused = re.search(r"GLOBAL (\S+)|[Tt]rying to load unsupported \S+ (\S+)|Unsupported class (\S+)", text)
    if refused:
        name = next(group for group in refused.groups() if group)
        return (
            f"holds more than tensors ({name}) and would have to run code, which is refused; "
            "save model.state_dict() instead"
        )
    return f"is damaged or no file of weights ({type(error).__name__}: {text[:120]})"


def _few(names: list[str]) -> str:
    """The first few of many names, for a line of text."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
