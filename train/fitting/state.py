"""Where a fit stands, on disk: written whole, read without running anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from lsd.runtime.errors import OutputError, RunFolderError


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the file at once: after a kill at any point it holds the old state or the new one.

    Args:
        state: nested dicts and lists of tensors, numbers and text.
    Raises:
        OutputError: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free space and run again to resume"
        ) from error


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a file of `save_state`; tensors only, nothing in it is run.

    Raises:
        RunFolderError: the file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch names no class for a bad file
        reason = " ".join(str(error).split())[:200]
        raise RunFolderError(
            f"{path}: cannot be resumed from ({reason}); remove this file to begin the fold again"
        ) from error
    return state
