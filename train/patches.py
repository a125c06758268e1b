"""Read labelled patches: a folder of npy files (64, 64, 12) and a CSV of ID and label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX, of_modality
from lsd.runtime.errors import PatchFileError
from lsd.runtime.features.sets import named_statistics
from lsd.train.samples import Samples, ids_and_labels, read_rows, sha256_of

PATCHES_PER_BATCH = 64
_SHAPE = (PATCH_SIZE_PX, PATCH_SIZE_PX, len(BAND_NAMES))
_OPTICAL = [BAND_NAMES.index(name) for name in of_modality("optical")]
_RADAR = [BAND_NAMES.index(name) for name in of_modality("sar", "sar_diff")]


def read_patch(path: Path) -> NDArray[np.float32]:
    """One patch as the runtime's reader would deliver it.

    Args:
        path: npy file, any float or integer type, (64, 64, 12) in band order, stored DN and dB.
    Returns:
        float32 (12, 64, 64); NaN where all four optical bands are 0, a radar band is 0, or a value is not finite.
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
    pixels[_OPTICAL] = np.where((pixels[_OPTICAL] == 0).all(axis=0), np.nan, pixels[_OPTICAL])
    pixels[_RADAR] = np.where(pixels[_RADAR] == 0, np.nan, pixels[_RADAR])
    return pixels


def read_patches(
    folder: Path, labels_path: Path, needed: Sequence[str], advance: Callable[[int], object] = lambda n: None
) -> Samples:
    """Samples whose statistics are computed from pixels by the runtime's own code, a batch at a time.

    Args:
        folder: holds ID.npy for every ID.
        labels_path: CSV with `ID` and `label`.
        needed: statistics to compute.
        advance: called with the number of patches read since the last call.
    Raises:
        TableError: labels cannot be used. PatchFileError: a patch cannot be used.
    """
    header, rows = read_rows(labels_path)
    ids, labels = ids_and_labels(labels_path, header, rows)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in needed}
    for start in range(0, len(ids), PATCHES_PER_BATCH):
        batch = ids[start : start + PATCHES_PER_BATCH]
        pixels = np.stack([read_patch(folder / f"{name}.npy") for name in batch])
        for name, values in named_statistics(pixels, BAND_NAMES, needed).items():
            found[name].append(values)
        advance(len(batch))
    statistics = {name: np.concatenate(parts).astype(np.float32) for name, parts in found.items()}
    return Samples(ids, labels, statistics, labels_path.name, sha256_of(labels_path))
