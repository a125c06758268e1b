"""Out-of-fold predictions: what a run, or a file from elsewhere, says about samples that its models did not see."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import RunFolderError, TableError
from lsd.train.run import OOF_NAME, RUN_NAME
from lsd.train.samples import ids_and_labels, read_rows, sha256_of

EXTERNAL = "external"
NOT_PROBABILITIES = ("ID", "label", "fold")


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities of n samples in file order, not calibrated, each by models that did not see the sample; read-only.

    kind: `forest`, `encoder`, `ensemble` or `external`. path, sha256: the run folder and the hash of its oof.csv; of an
    external file itself. labels: int8 (n,), 0 or 1; None where an external file has none. fold: int16 (n,), the fold of
    the run in which a sample was held out; None for an external file. probability: float64 (n,), 0..1. bands: canonical
    names that the run reads; empty for an external file, which does not say. synthetic: made from made-up data.
    data: what run.json says about them.
    """

    name: str
    kind: str
    path: Path
    sha256: str
    ids: tuple[str, ...]
    labels: NDArray[np.int8] | None
    fold: NDArray[np.int16] | None
    probability: NDArray[np.float64]
    bands: tuple[str, ...] = ()
    synthetic: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def read_out_of_fold(run: Path, name: str | None = None, column: str = "mean") -> OutOfFold:
    """The out-of-fold predictions of a run folder of any kind.

    Args:
        name: what to call them, by default as the folder.
        column: of oof.csv; `mean` is the run's uncalibrated probability.
    Raises:
        RunFolderError: no run folder, or run.json without what every kind of run states.
        TableError: oof.csv cannot be read, lacks a column, or holds no probability where one must be.
    """
    try:
        document = json.loads((run / RUN_NAME).read_text(encoding="utf-8"))
        kind, bands, data = document.get("kind", "forest"), tuple(document["bands"]), dict(document["data"])
        synthetic = bool(data["synthetic"])
    except FileNotFoundError as error:
        raise RunFolderError(f"{run}: no run folder ({RUN_NAME} is missing); lsd-train makes one with -o") from error
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise RunFolderError(f"{run}: incomplete run ({type(error).__name__}: {error}); train it again") from error
    file = run / OOF_NAME
    header, rows = read_rows(file)
    ids, labels = ids_and_labels(file, header, rows)
    return OutOfFold(
        name=name or run.resolve().name,
        kind=str(kind),
        path=run,
        sha256=sha256_of(file),
        ids=ids,
        labels=labels,
        fold=_folds(file, header, rows),
        probability=_probabilities(file, column, header, rows),
        bands=bands,
        synthetic=synthetic,
        data=data,
    )


def read_external(file: Path, name: str, column: str | None = None, synthetic: bool = False) -> OutOfFold:
    """Predictions made elsewhere: CSV or CSV.gz with `ID` and a probability, and `label` if it likes.

    That they are out of fold cannot be seen: who gives the file answers for it.

    Args:
        column: of the probability; needed only where the file has several columns beside `ID`, `label` and `fold`.
    Raises:
        TableError: unreadable, no `ID`, no or more than one column that could be meant, an ID twice, a bad label, or a
            value that is no probability.
    """
    header, rows = _rows(file)
    if column is None:
        found = [title for title in header if title not in NOT_PROBABILITIES]
        if len(found) != 1:
            raise TableError(
                f"{file}: expected ID and one column of probabilities, found {', '.join(found) or 'none'}; "
                f"name the column: {name}={file.name}:COLUMN"
            )
        column = found[0]
    labels = None
    if "label" in header:
        ids, labels = ids_and_labels(file, header, rows)
    else:
        ids = tuple(row[header.index("ID")] for row in rows)
        if len(set(ids)) != len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise TableError(f"{file}: ID {twice!r} stands there twice; keep one")
    probability = _probabilities(file, column, header, rows)
    return OutOfFold(name, EXTERNAL, file, sha256_of(file), ids, labels, None, probability, synthetic=synthetic)


def _rows(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows; unlike `read_rows` a column `label` may be absent."""
    try:
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rt", encoding="utf-8-sig", newline="") as lines:
            header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{file}: cannot be read ({error}); expected CSV in UTF-8, plain or .gz") from error
    if header.count("ID") != 1 or not rows or any(len(row) != len(header) for row in rows):
        raise TableError(
            f"{file}: expected a header with one column ID and rows of {len(header)} values, "
            f"found {header.count('ID')} columns ID and {len(rows)} rows of {_lengths(rows)} values"
        )
    return header, rows


def _lengths(rows: list[list[str]]) -> str:
    lengths = sorted({len(row) for row in rows})
    return " or ".join(map(str, lengths)) or "no"


def _probabilities(file: Path, column: str, header: list[str], rows: list[list[str]]) -> NDArray[np.float64]:
    if header.count(column) != 1:
        raise TableError(
            f"{file}: expected one column {column!r}, found {header.count(column)}; it has {', '.join(header[:20])}"
        )
    at = header.index(column)
    try:
        values = np.array([float(row[at]) for row in rows], np.float64)
    except ValueError as error:
        raise TableError(f"{file}: column {column!r}: {error}; expected probabilities 0..1") from error
    outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if outside.size:
        name = rows[outside[0]][header.index("ID")]
        raise TableError(
            f"{file}: column {column!r} of {name!r} is {rows[outside[0]][at]}, expected a probability 0..1 "
            f"({outside.size} of {len(rows)} are none)"
        )
    return values


def _folds(file: Path, header: list[str], rows: list[list[str]]) -> NDArray[np.int16]:
    if header.count("fold") != 1:
        raise TableError(f"{file}: expected one column 'fold', found {header.count('fold')}; train the run again")
    at = header.index("fold")
    try:
        return np.array([int(row[at]) for row in rows], np.int16)
    except (ValueError, OverflowError) as error:
        raise TableError(f"{file}: column 'fold': {error}; expected whole numbers") from error
