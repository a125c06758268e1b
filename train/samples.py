"""Training samples: identifiers, labels and named statistics, wherever they come from."""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import TableError


@dataclass(frozen=True)
class Samples:
    """n labelled samples in file order; read-only.

    statistics: name (`red_mean`) -> float32 (n,), NaN where undefined. labels: int8 (n,), 0 or 1. source, sha256: the
    file they came from (for patches: the label file). groups, events: name of the ground and of the event of each
    sample, None where the data do not tell. synthetic: the pixels are made up. units: of the pixels, see
    lsd.train.datasets.base.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    statistics: Mapping[str, NDArray[np.float32]]
    source: str
    sha256: str
    groups: tuple[str, ...] | None = None
    events: tuple[str, ...] | None = None
    synthetic: bool = False
    units: str = "canonical"

    def __len__(self) -> int:
        return len(self.ids)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, plain or gzip.

    Raises:
        TableError: unreadable, empty, no `ID` and `label` column, or a row of another length.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read ({error}); expected CSV in UTF-8, plain or .gz") from error
    if len(rows) < 2:
        raise TableError(f"{path}: holds no rows; expected a header line and one line a sample")
    header = rows[0]
    for name in ("ID", "label"):
        if header.count(name) != 1:
            raise TableError(
                f"{path}: expected one column {name!r}, found {header.count(name)} among {len(header)} columns"
            )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise TableError(f"{path}: line {number} has {len(row)} values, the header has {len(header)}")
    return header, rows[1:]


def ids_and_labels(path: Path, header: list[str], rows: list[list[str]]) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    """Identifiers and labels of checked rows.

    Raises:
        TableError: an ID twice, a label that is not 0 or 1, or one class only.
    """
    id_at, label_at = header.index("ID"), header.index("label")
    ids = tuple(row[id_at] for row in rows)
    seen: dict[str, int] = {}
    for number, name in enumerate(ids, start=2):
        if name in seen:
            raise TableError(f"{path}: ID {name!r} stands in lines {seen[name]} and {number}; keep one")
        seen[name] = number
    labels = np.empty(len(rows), np.int8)
    for i, row in enumerate(rows):
        if row[label_at] not in ("0", "1", "0.0", "1.0"):
            raise TableError(
                f"{path}: label of {row[id_at]!r} is {row[label_at]!r}, expected 0 (no slide) or 1 (slide)"
            )
        labels[i] = int(float(row[label_at]))
    if labels.min() == labels.max():
        raise TableError(f"{path}: all {len(labels)} labels are {labels[0]}; training needs both classes")
    return ids, labels


def names_in(path: Path, header: list[str], rows: list[list[str]], column: str) -> tuple[str, ...] | None:
    """The names in an optional column (`group`, `event`), None where the file has no such column.

    Raises:
        TableError: the column stands there twice, or a row leaves it empty.
    """
    if column not in header:
        return None
    if header.count(column) != 1:
        raise TableError(f"{path}: expected one column {column!r}, found {header.count(column)}; keep one")
    at = header.index(column)
    names = tuple(row[at].strip() for row in rows)
    if "" in names:
        name = rows[names.index("")][header.index("ID")]
        raise TableError(f"{path}: {column} of {name!r} is empty; name one for every row, or remove the column")
    return names
