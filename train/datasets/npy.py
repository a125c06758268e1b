"""Patches as the data set has them: a folder of ID.npy files (64, 64, 12) and a CSV of ID and label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.runtime.errors import PatchFileError, TableError
from lsd.runtime.nodata import mask_zeros
from lsd.train.datasets.base import PatchDataset
from lsd.train.samples import ids_and_labels, names_in, read_rows, sha256_of

LABELS_NAME, ABOUT_NAME = "labels.csv", "dataset.json"
_SHAPE = (PATCH_SIZE_PX, PATCH_SIZE_PX, len(BAND_NAMES))


def npy_dataset(folder: Path, labels_path: Path | None = None) -> PatchDataset:
    """The patches that a CSV lists; no patch is opened before it is asked for, so a missing one is no error here.

    Args:
        folder: holds ID.npy for every ID, and `dataset.json` if its maker likes: {"synthetic": true, ...}.
        labels_path: CSV with `ID`, `label` and, if known, `group` (ground that folds must not split) and `event`;
            None: labels.csv in the folder.
    Raises:
        TableError: the CSV cannot be used (lsd.train.samples), or dataset.json is none.
    """
    labels_path = labels_path or folder / LABELS_NAME
    header, rows = read_rows(labels_path)
    ids, labels = ids_and_labels(labels_path, header, rows)
    return PatchDataset(
        ids=ids,
        labels=labels,
        bands=BAND_NAMES,
        reader=lambda position: read_patch(folder / f"{ids[position]}.npy"),
        source=labels_path.name,
        sha256=sha256_of(labels_path),
        groups=names_in(labels_path, header, rows, "group"),
        events=names_in(labels_path, header, rows, "event"),
        synthetic=_is_synthetic(folder / ABOUT_NAME),
    )


def read_patch(path: Path) -> NDArray[np.float32]:
    """One patch as the runtime's reader would deliver it; the file is memory-mapped and closed again.

    Args:
        path: npy file, any float or integer type, (64, 64, 12) in band order, stored DN and dB.
    Returns:
        float32 (12, 64, 64); NaN where a value is not finite, or 0 where that is no measurement (lsd.runtime.nodata).
    Raises:
        PatchFileError: missing, unreadable, pickled, or of another shape or type.
    """
    try:
        stored = np.lib.format.open_memmap(path, mode="r")  # reads npy only: no archive, no pickle
    except (OSError, ValueError) as error:
        raise PatchFileError(f"{path}: cannot be read as a patch ({error})") from error
    if stored.shape != _SHAPE or stored.dtype.kind not in "fiu":
        raise PatchFileError(f"{path}: is {stored.dtype} {stored.shape}, expected numbers {_SHAPE} in band order")
    with np.errstate(over="ignore"):  # beyond float32 is not finite, so not valid
        pixels = np.ascontiguousarray(stored.transpose(2, 0, 1)).astype(np.float32)
    pixels[~np.isfinite(pixels)] = np.nan
    mask_zeros(pixels, BAND_NAMES)
    return pixels


def _is_synthetic(about: Path) -> bool:
    """What `dataset.json` says; False without one."""
    if not about.is_file():
        return False
    try:
        stored = json.loads(about.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(f"{about}: cannot be read as JSON ({error}); correct it or remove it") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("synthetic", False), bool):
        raise TableError(f'{about}: expected an object with "synthetic": true or false; correct it or remove it')
    return bool(stored.get("synthetic", False))
