"""The worst errors of a run as a picture: what was called and is no slide, and which slides were missed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.datasets.base import PatchDataset
from lsd.train.evaluation.errors import WorstErrors
from lsd.train.evaluation.judged import OUT_OF_FOLD, Judged
from lsd.train.evaluation.subject import Subject
from lsd.train.evaluation.table import SYNTHETIC

# METHOD, scaling constants: reflectance 0 to the q95 of the visible bands, and from q05 to q95 of VV and of its change
VISIBLE_DN = (1000.0, 4000.0)
LEVEL_DB = (-25.0, 0.0)
CHANGE_DB = (-8.0, 8.0)
VISIBLE = ("red", "green", "blue")
LEVELS = ("desc_vv", "asc_vv")  # the first with a valid pixel is shown
CHANGES = {"desc_dvv": "VV change, descending", "asc_dvv": "VV change, ascending"}
_NAME_LENGTH = 28


def gallery_png(judged: Judged, subject: Subject, worst: WorstErrors) -> bytes:
    """PNG of the errors: false positives on the left, false negatives on the right.

    Each is shown with its ID, calibrated probability, label and, where it has one, event and group. True colour has a
    fixed stretch of reflectance 0 to .3 (units other than DN: the 2nd to 98th percentile of those shown); VV after
    the event is -25 to 0 dB, its change -8 (blue) to 8 dB (red). Invalid pixels are grey. Bands that the patches lack
    have no panel; if there is none of these, the first band is shown.

    Raises:
        PatchFileError: a patch cannot be read.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    dataset = subject.dataset
    assert dataset is not None
    patches = {at: dataset.read(at) for at in (*worst.false_positives, *worst.false_negatives)}
    limits = _visible_limits(dataset, list(patches.values()))
    rows = max(len(worst.false_positives), len(worst.false_negatives), 1)
    width = len(_panels(dataset, np.empty((len(dataset.bands), 1, 1), np.float32), limits))
    figure = pyplot.figure(figsize=(max(3.4 * width, 5.2), 1.9 * rows + 1.0), layout="constrained")
    said = f"{SYNTHETIC}\n" if subject.synthetic or judged.predictor.synthetic else ""
    figure.suptitle(f"{said}{judged.title}: worst errors", parse_math=False, fontsize=10)
    left, right = figure.subfigures(1, 2, wspace=0.05)
    for half, title, chosen in (
        (left, "called a slide, is none", worst.false_positives),
        (right, "slides missed", worst.false_negatives),
    ):
        half.suptitle(title if chosen else f"{title}: none", fontsize=9)
        axes = half.subplots(rows, width, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for row, at in zip(axes, chosen, strict=False):
            for axis, (name, image, how) in zip(row, _panels(dataset, patches[at], limits), strict=True):
                axis.set_facecolor("grey")
                axis.imshow(image, interpolation="nearest", **how)
                axis.set_title(name, fontsize=6)
            row[0].text(0, -0.04, _caption(judged, subject, at), transform=row[0].transAxes, fontsize=6.5, va="top",
                        parse_math=False)  # fmt: skip
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    return png.getvalue()


def _caption(judged: Judged, subject: Subject, at: int) -> str:
    names = [subject.ids[at], *(of[at] for of in (subject.events, subject.groups) if of is not None)]
    shown = " | ".join(name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}~" for name in names)
    how = ", out of fold" if judged.origin[at] == OUT_OF_FOLD else ""
    return f"{shown} | p {judged.calibrated[at]:.3f}{how} | label {subject.labels[at]}"


def _visible_limits(dataset: PatchDataset, patches: Sequence[NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """Band -> value shown black and value shown full."""
    limits = {}
    for name in VISIBLE:
        if dataset.units == "canonical" or name not in dataset.bands or not patches:
            limits[name] = VISIBLE_DN
            continue
        values = np.concatenate([patch[dataset.bands.index(name)].ravel() for patch in patches])
        values = values[~np.isnan(values)]
        low, high = np.percentile(values, (2, 98)) if values.size else VISIBLE_DN
        limits[name] = (float(low), float(high) if high > low else float(low) + 1.0)
    return limits


def _panels(
    dataset: PatchDataset, patch: NDArray[np.float32], limits: dict[str, tuple[float, float]]
) -> list[tuple[str, NDArray[np.float32], dict[str, Any]]]:
    """Title, image and how to draw it, for each panel that the bands allow; (y, x) or (y, x, 3)."""
    at = {name: number for number, name in enumerate(dataset.bands)}
    found: list[tuple[str, NDArray[np.float32], dict[str, Any]]] = []
    if set(VISIBLE) <= set(at):
        parts = [(patch[at[name]] - limits[name][0]) / (limits[name][1] - limits[name][0]) for name in VISIBLE]
        colour = np.clip(np.stack(parts, axis=2), 0, 1)
        found.append(("true colour", np.where(np.isnan(colour).any(axis=2, keepdims=True), 0.5, colour), {}))
    levels = [name for name in LEVELS if name in at]
    if levels:
        name = next((one for one in levels if not np.isnan(patch[at[one]]).all()), levels[0])
        span = {"cmap": "gray", "vmin": LEVEL_DB[0], "vmax": LEVEL_DB[1]}
        found.append(("VV after, dB", patch[at[name]], span))
    for name, title in CHANGES.items():
        if name in at:
            span = {"cmap": "RdBu_r", "vmin": CHANGE_DB[0], "vmax": CHANGE_DB[1]}
            found.append((title, patch[at[name]], span))
    return found or [(dataset.bands[0], patch[0], {"cmap": "gray"})]
