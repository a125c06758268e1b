"""Pretrained weights of a backbone, from timm's hub when asked for, or from a local file, fitted to its shape."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsd.runtime.errors import UsageError
from lsd.train.state_dicts import SUFFIXES, check_fit, read_state_dict


@dataclass(frozen=True)
class Pretrained:
    """Where a backbone's first weights come from.

    source: `none`, at random; `hub`, timm downloads its own; else the path of a file of weights, or of a folder with
    one file, or with one named after each backbone (`NAME.safetensors`).
    """

    source: str = "none"

    @property
    def path(self) -> Path | None:
        """The file or folder, if the source is one."""
        return None if self.source in ("none", "hub") else Path(self.source)


def weights_file(path: Path, backbone: str) -> Path:
    """The file for a backbone: `path` itself, or the one in that folder.

    Raises:
        UsageError: there is none, or several and none is named after the backbone.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"{path}: no such file or folder of weights; expected none, hub, a file or a folder")
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    names = (backbone, backbone.partition(".")[0])
    named = [file for name in names for file in files if file.name.removesuffix(file.suffix) == name]
    if not named and len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise UsageError(
            f"{path}: expected one file of weights ({', '.join(SUFFIXES)}) or one named {backbone}.safetensors, "
            f"found {found}"
        )
    return (named or files)[0]


def load_weights(backbone: Any, file: Path) -> str:
    """Load a file into a timm model; what had to be changed is told by the returned text.

    Position embeddings of another grid are resampled (timm's own conversion of checkpoints), the first layer is fitted
    to the number of channels (`adapted`), a classifier that is absent or of another shape stays as it was initialised.

    Raises:
        UsageError: the file cannot be read, or any other tensor is missing, unknown or of another shape.
    """
    own: dict[str, Tensor] = backbone.state_dict()
    found = _converted(backbone, read_state_dict(file), file)
    told = []
    for layer in _names(backbone, "first_conv"):
        key = f"{layer}.weight"
        if key in found and found[key].ndim == 4 and found[key].shape[1] != own[key].shape[1]:
            told.append(f"first layer {found[key].shape[1]} -> {own[key].shape[1]} channels")
            found[key] = adapted(found[key], own[key].shape[1])
    of_classifier = tuple(f"{layer}." for layer in _names(backbone, "classifier"))
    dropped = [key for key in own if key.startswith(of_classifier) and _shape(found, key) != own[key].shape]
    dropped += [key for key in found if key.startswith(of_classifier) and key not in own]
    if dropped:
        told.append("classifier left as initialised")
    expected = {key: value for key, value in own.items() if key not in dropped}
    given = {key: value for key, value in found.items() if key not in dropped}
    check_fit(expected, given, f"{file}: does not fit {_architecture(backbone)}")
    backbone.load_state_dict(given, strict=False)
    return f"{file.name}" + (f" ({', '.join(told)})" if told else "")


def adapted(kernel: Tensor, channels: int) -> Tensor:
    """First-layer kernel (out, in, y, x) for another number of input channels.

    Channel j takes the kernel of source channel j mod `in`, times in / channels, so that the response to equal channels
    stays; a single channel takes the sum. The convention of timm (huggingface.co/docs/timm: Feature Extraction and
    in_chans; timm.models.adapt_input_conv), here from any number of source channels.
    """
    known = kernel.shape[1]
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    return kernel[:, torch.arange(channels) % known] * (known / channels)


def _converted(backbone: nn.Module, found: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """What timm's own reader of checkpoints makes of it: resampled position embeddings, names of other releases."""
    convert = getattr(importlib.import_module(type(backbone).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return found
    try:
        return dict(convert(found, backbone))
    except Exception as error:  # conversions of timm fail in any way on the weights of another architecture
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise UsageError(f"{file}: does not fit {_architecture(backbone)} ({reason})") from error


def _names(backbone: Any, key: str) -> tuple[str, ...]:
    """Layers that timm's configuration of a model names, by their dotted names."""
    named = backbone.pretrained_cfg.get(key) or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _architecture(backbone: Any) -> str:
    return str(backbone.pretrained_cfg.get("architecture") or type(backbone).__name__)


def _shape(tensors: Mapping[str, Tensor], key: str) -> torch.Size | None:
    return tensors[key].shape if key in tensors else None
