"""Landslide4Sense: image_*.h5 of 128 x 128 pixels and 14 bands, with mask_*.h5 where they are given.

O. Ghorbanzadeh et al., Landslide4Sense: Reference Benchmark Data and Deep Learning Models for Landslide Detection, IEEE
Transactions on Geoscience and Remote Sensing 60 (2022), arXiv 2206.00515: bands 1 to 12 are Sentinel-2's B1 to B12, 13
is slope, 14 elevation, all at 10 m. The values are divided by the mean of their band, so the units are relative.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import PATCH_GSD_M, PATCH_SIZE_PX, in_order
from lsd.runtime.errors import PatchFileError, SourceError, TableError
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.label_rule import LabelRule

SIZE_PX, BANDS = 128, 14
CHANNELS = {"blue": 1, "green": 2, "red": 3, "nir": 7}  # positions of B2, B3, B4 and B8
_NAMES = in_order(CHANNELS)
_QUARTERS = [(row, column) for row in range(SIZE_PX // PATCH_SIZE_PX) for column in range(SIZE_PX // PATCH_SIZE_PX)]

_log = logging.getLogger(__name__)


def landslide4sense_dataset(folder: Path, rule: LabelRule | None = None, strict: bool = False) -> PatchDataset:
    """Four patches an image that has a mask: `image_31_r0_c1`; the image is their group.

    Args:
        folder: holds image_*.h5 (`img`, (128, 128, 14)), or has a folder `img` that does; masks (`mask`, (128, 128),
            not 0 is slide) lie beside them or in `../mask`.
        rule: None is the default rule; masks know every pixel.
        strict: a mask that cannot be read is an error; else the log tells it and its image is left out.
    Raises:
        SourceError: no images. TableError: none has a mask, or all labels are the same.
        PatchFileError: `strict`, and a mask cannot be used.
    """
    rule = rule or LabelRule()
    images = _images_in(folder)
    samples: list[tuple[Path, int, int, int]] = []  # image, row and column of the quarter, label
    without: list[str] = []
    between = 0
    for image in images:
        mask = _mask_of(image)
        if mask is None:
            without.append(image.stem)
            continue
        try:
            slide_px = _slide_px(mask)
        except PatchFileError as error:
            if strict:
                raise
            _log.warning("%s left out: %s", image.stem, error)
            continue
        for row, column in _QUARTERS:
            label = rule.label(slide_px[row, column], PATCH_GSD_M**2)
            if label is None:
                between += 1
            else:
                samples.append((image, row, column, label))
    if len(without) == len(images):
        raise TableError(
            f"{folder}: none of {len(images)} images has a mask, so none has a label; "
            "expected mask_*.h5 beside them or in ../mask"
        )
    if without:
        _log.warning("%d of %d images have no mask and are left out: %s", len(without), len(images), ", ".join(without))
    if between:
        _log.warning(
            "%d of %d patches left out: with too little slide for either label", between, between + len(samples)
        )
    return _dataset(folder, samples)


def _dataset(folder: Path, samples: list[tuple[Path, int, int, int]]) -> PatchDataset:
    labels = np.array([label for *_, label in samples], np.int8)
    counts = Counter(labels.tolist())
    if len(counts) != 2:
        raise TableError(
            f"{folder}: {counts[0]} patches without and {counts[1]} with slide; training needs both classes"
        )
    ids = tuple(f"{image.stem}_r{row}_c{column}" for image, row, column, _ in samples)
    listing = "\n".join(f"{name},{label}" for name, label in zip(ids, labels, strict=True))

    def reader(position: int) -> NDArray[np.float32]:
        image, row, column, _ = samples[position]
        return read_quarter(image, row, column)

    return PatchDataset(
        ids=ids,
        labels=labels,
        bands=_NAMES,
        reader=reader,
        source=f"{folder.name} (Landslide4Sense)",
        sha256=hashlib.sha256(listing.encode()).hexdigest(),
        groups=tuple(image.stem for image, *_ in samples),
        units="relative",
    )


def read_quarter(image: Path, row: int, column: int) -> NDArray[np.float32]:
    """A quarter of an image; only its rows and bands B2 to B8 are read from the file.

    Returns:
        float32 (4, 64, 64): blue, green, red, nir divided by the mean of their band; NaN where all four are 0 or one is
        not finite.
    Raises:
        PatchFileError: missing, unreadable, or of another shape or type.
    """
    first, last = min(CHANNELS.values()), max(CHANNELS.values())
    y, x = row * PATCH_SIZE_PX, column * PATCH_SIZE_PX
    try:
        with h5py.File(image, "r") as file:
            stored = _array(file, image, "img", (SIZE_PX, SIZE_PX, BANDS))
            part = stored[y : y + PATCH_SIZE_PX, x : x + PATCH_SIZE_PX, first : last + 1]
    except (OSError, RuntimeError) as error:
        raise PatchFileError(f"{image}: cannot be read as a Landslide4Sense image ({error})") from error
    with np.errstate(over="ignore"):
        values: NDArray[np.float32] = (
            part[..., [CHANNELS[name] - first for name in _NAMES]].transpose(2, 0, 1).astype(np.float32, order="C")
        )
    values[~np.isfinite(values)] = np.nan
    values[:, (values == 0).all(axis=0)] = np.nan
    return values


def _slide_px(mask: Path) -> NDArray[np.int64]:
    """int64 (2, 2): pixels of slide in each quarter."""
    try:
        with h5py.File(mask, "r") as file:
            stored = _array(file, mask, "mask", (SIZE_PX, SIZE_PX))[:]
    except (OSError, RuntimeError) as error:
        raise PatchFileError(f"{mask}: cannot be read as a Landslide4Sense mask ({error})") from error
    quarters = (stored != 0).reshape(2, PATCH_SIZE_PX, 2, PATCH_SIZE_PX)
    return np.asarray(quarters.sum(axis=(1, 3)), np.int64)


def _array(file: h5py.File, path: Path, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    stored = file.get(name, getlink=False) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(stored, h5py.Dataset):
        raise PatchFileError(f"{path}: has no data set {name!r}, found {', '.join(file) or 'none'}")
    if stored.shape != shape or stored.dtype.kind not in "fiub":
        raise PatchFileError(f"{path}: {name!r} is {stored.dtype} {stored.shape}, expected numbers {shape}")
    return stored


def _images_in(folder: Path) -> list[Path]:
    """The images, by number."""
    for place in (folder, folder / "img"):
        found = [path for path in place.glob("image_*.h5") if path.is_file()]
        if found:
            return sorted(found, key=lambda path: (int((re.findall(r"\d+", path.stem) or ["0"])[-1]), path.name))
    raise SourceError(f"{folder}: holds no image_*.h5, nor does its folder img; give the folder of the images")


def _mask_of(image: Path) -> Path | None:
    name = image.name.replace("image_", "mask_", 1)
    return next(
        (place / name for place in (image.parent, image.parent.parent / "mask") if (place / name).is_file()), None
    )
