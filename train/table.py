"""Read a feature table: one row a patch, one column a statistic."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.errors import BundleError, TableError
from lsd.runtime.features.sets import split
from lsd.train.samples import Samples, ids_and_labels, names_in, read_rows, sha256_of

# The published table of the data set calls bands by number and kurtosis `kurt` (METHOD, real numbers to test against)
_NUMBERED = {f"band{number}": band for number, band in enumerate(BAND_NAMES, start=1)}


def canonical(column: str) -> str | None:
    """`band4_kurt` -> `nir_kurtosis`; our own names stay; None for a column that is no statistic."""
    channel, _, statistic = column.rpartition("_")
    name = f"{_NUMBERED.get(channel, channel)}_{'kurtosis' if statistic == 'kurt' else statistic}"
    try:
        split(name)
    except BundleError:
        return None
    return name


def read_table(path: Path, needed: Iterable[str], wanted: Iterable[str] = ()) -> Samples:
    """Samples from a CSV or CSV.gz with the columns `ID`, `label` and statistics by our names or the published ones.

    Columns `group` and `event` are read where they are there.

    Args:
        needed: statistics that the feature sets use.
        wanted: statistics to read too where the table has them; all others are left out.
    Raises:
        TableError: a missing column or one given twice, a value that is no finite float32 number (empty or NaN is
            missing), labels (see `ids_and_labels`), an empty group or event.
    """
    header, rows = read_rows(path)
    ids, labels = ids_and_labels(path, header, rows)
    columns: dict[str, int] = {}
    for at, column in enumerate(header):
        name = canonical(column)
        if name is not None and name in columns:
            raise TableError(f"{path}: columns {header[columns[name]]!r} and {column!r} are both {name}; keep one")
        if name is not None:
            columns[name] = at
    statistics = {}
    for name in dict.fromkeys([*needed, *(name for name in wanted if name in columns)]):
        if name not in columns:
            raise TableError(
                f"{path}: has no column {name!r} (nor its published name), which this recipe needs for these bands; "
                "add it, or choose another recipe or fewer bands"
            )
        statistics[name] = _numbers(path, name, [row[columns[name]] for row in rows])
    groups, events = (names_in(path, header, rows, column) for column in ("group", "event"))
    return Samples(ids, labels, statistics, path.name, sha256_of(path), groups, events)


def _numbers(path: Path, name: str, texts: list[str]) -> NDArray[np.float32]:
    try:
        values = np.array([float(text) if text else np.nan for text in texts], np.float64)
    except ValueError as error:
        raise TableError(f"{path}: column {name!r}: {error}; expected numbers, empty for missing") from error
    too_large = np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)
    if too_large.size:
        raise TableError(
            f"{path}: column {name!r}: {texts[too_large[0]]} is no finite float32 number; expected empty for missing"
        )
    return values.astype(np.float32)
