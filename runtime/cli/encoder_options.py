"""The options that say how networks are evaluated, shared by the commands that ask them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lsd.runtime.backends.base import PRECISIONS, SessionOptions
from lsd.runtime.backends.registry import BACKENDS

if TYPE_CHECKING:
    from lsd.runtime.encoders import EncoderOptions

PROVIDERS = ("cpu", "cuda", "tensorrt")
Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--encoders", type=click.Choice(BACKENDS), help="How networks are evaluated.  [default: onnxruntime]"),
    click.option("--precision", type=click.Choice(PRECISIONS), help="Of networks.  [default: fp32]"),
    click.option(
        "--provider",
        type=click.Choice(PROVIDERS),
        help="Execution provider of ONNX Runtime; fails where it cannot be had.  [default: cpu]",
    ),
    click.option("--encoder-batch", type=int, help="Patches a call of a network, always as many.  [default: 8]"),
    click.option("--threads", type=int, help="Of the CPU: for forests, networks, decoding.  [default: all cores]"),
    click.option(
        "--engines", type=click.Path(path_type=Path), help="Folder with the TensorRT engines of lsd-export engine."
    ),
)


def encoder_options(function: Function) -> Function:
    """Add the options; the command hands its flags to `encoders_of`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def encoders_of(flags: Mapping[str, Any]) -> EncoderOptions:
    """What the flags say; None stands for a default."""
    from lsd.runtime.encoders import EncoderOptions

    engines = flags["engines"]
    session = SessionOptions(
        threads=flags["threads"],
        provider=flags["provider"] or "cpu",
        engines=None if engines is None else Path(engines),
    )
    return EncoderOptions(
        backend=flags["encoders"] or "onnxruntime",
        precision=flags["precision"] or "fp32",
        batch_size=8 if flags["encoder_batch"] is None else flags["encoder_batch"],
        session=session,
    )
