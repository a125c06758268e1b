"""Out-of-fold probabilities with a known truth, and run folders and files that hold them; nothing of them is real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lsd.train.predictions import OutOfFold
from lsd.train.run import SCHEMA_VERSION


def sigmoid(margin: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-margin))


def drawn(chance: np.ndarray, seed: int = 0) -> np.ndarray:
    """int8 labels with these chances of being 1."""
    return (np.random.default_rng(seed + 1000).random(len(chance)) < chance).astype(np.int8)


def evidence(n: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (n, 3) of two members that see different halves of the truth and one of noise; labels; five folds.

    The true log-odds are the sum of the first two members' margins.
    """
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 2, (n, 3))
    margins[:, :2] -= 0.5
    labels = drawn(sigmoid(margins[:, 0] + margins[:, 1]), seed)
    return sigmoid(margins), labels, (rng.permutation(n) % 5).astype(np.int8)


def member(name: str, probability: np.ndarray, labels: np.ndarray | None, ids: list[str] | None = None) -> OutOfFold:
    """A member as if read from somewhere."""
    ids = ids or [f"ID_{at:05d}" for at in range(len(probability))]
    kind = "external" if labels is None else "encoder"
    return OutOfFold(name, kind, Path(name), "0" * 64, tuple(ids), labels, None, np.asarray(probability, np.float64))


def write_run(
    folder: Path,
    probability: np.ndarray,
    labels: np.ndarray,
    bands: tuple[str, ...] = ("blue", "green", "red", "nir"),
    kind: str = "encoder",
    synthetic: bool = False,
    ids: list[str] | None = None,
) -> Path:
    """The part of a run folder that an ensemble reads: run.json and oof.csv."""
    folder.mkdir(parents=True)
    data = {"name": "made up", "licence": "CC0-1.0", "synthetic": synthetic, "source": "t.csv", "sha256": "0" * 64}
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "configuration": "x",
        "bands": list(bands),
        "data": data,
    }
    (folder / "run.json").write_text(json.dumps(document))
    ids = ids or [f"ID_{at:05d}" for at in range(len(labels))]
    lines = ["ID,label,fold,mean"]
    for at, (name, label, p) in enumerate(zip(ids, labels, probability.tolist(), strict=True)):
        lines.append(f"{name},{label},{at % 3},{p!r}")
    (folder / "oof.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_external(file: Path, probability: np.ndarray, labels: np.ndarray | None = None, title: str = "p") -> Path:
    """A CSV of ID and probability, with labels where given."""
    header = f"ID,{title}" if labels is None else f"ID,label,{title}"
    lines = [header]
    for at, p in enumerate(probability.tolist()):
        lines.append(f"ID_{at:05d},{p!r}" if labels is None else f"ID_{at:05d},{labels[at]},{p!r}")
    file.write_text("\n".join(lines) + "\n")
    return file
