"""What a fit runs on: device, precision, threads. Nothing of it belongs to a recipe."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from lsd.runtime.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Machine:
    """A device and how to compute on it.

    precision: of matrix products and convolutions (`fp32`, `bf16`, `fp16`); weights, scaling, indices, loss stay FP32.
    micro_batches: parts in which each process computes its share of a batch, one after the other, to save memory.
    """

    device: torch.device
    precision: str
    micro_batches: int = 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def describe(self) -> dict[str, Any]:
        """For the run folder: device, precision, threads, library versions."""
        is_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if is_gpu else platform.processor() or platform.machine(),
            "device_type": self.device.type,
            "precision": self.precision,
            "micro_batches": self.micro_batches,
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda if is_gpu else None,
            "platform": platform.platform(),
        }


def machine_of(device: str, precision: str, threads: int | None, micro_batches: int, local_rank: int = 0) -> Machine:
    """The machine as asked for.

    Args:
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`.
        precision: see `PRECISIONS`; `auto` is bf16 on a GPU that has it, else fp16 there, and fp32 on a CPU.
        threads: of torch on the CPU; None leaves its default. The same results need the same number.
        local_rank: number of this process on its machine, for one GPU a process.
    Raises:
        UsageError: the device is not there, or a precision that it cannot train in.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    has_gpu = torch.cuda.is_available()
    name = ("cuda" if has_gpu else "cpu") if device == "auto" else device
    if name.startswith("cuda"):
        if not has_gpu:
            raise UsageError(f"--device {device}: torch {torch.__version__} finds no GPU here; give --device cpu")
        found = torch.device(name if ":" in name else f"cuda:{local_rank}")
        torch.cuda.set_device(found)
        torch.backends.cudnn.benchmark = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # docs.pytorch.org: notes, Reproducibility
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cuda.enable_cudnn_sdp(False)  # its attention is not deterministic backwards; seen on an H100
        best = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    elif name == "cpu":
        found, best = torch.device("cpu"), "fp32"
        if precision == "fp16":
            raise UsageError("--precision fp16 needs a GPU; a CPU trains in fp32 or bf16")
    else:
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:NUMBER")
    return Machine(found, best if precision == "auto" else precision, micro_batches)
