"""A folder of surrogate patches, one for each row of a feature table, laid out as a folder of real patches is.

    DIR/ID.npy          float32 (64, 64, 12), bands in canonical order, stored DN and dB; 0 would be nodata
    DIR/labels.csv      ID, label; group and event where the table has such columns
    DIR/dataset.json    name, licence, synthetic: true, what it was made from and with which seed
    DIR/closeness.json  see lsd.train.surrogate_closeness
    DIR/skipped.csv     ID, reason; only if there are rows that no pixels can have

The pixels are synthetic. They test machinery; a model trained on them means nothing on real ground.
"""

from __future__ import annotations

import csv
import hashlib
import io
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime import __version__
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.commit import write_bytes
from lsd.runtime.errors import TableError
from lsd.runtime.features.sets import named_statistics
from lsd.train.datasets.npy import ABOUT_NAME, LABELS_NAME, read_patch
from lsd.train.save import json_bytes
from lsd.train.surrogate import INDICES, STATISTICS, marginals, rows_of, surrogates
from lsd.train.surrogate_closeness import closeness
from lsd.train.table import read_table

CLOSENESS_NAME, SKIPPED_NAME = "closeness.json", "skipped.csv"
NOTE = (
    "Synthetic pixels, made to test machinery: each patch has the band statistics of one row of a feature table and a "
    "made-up texture. Models trained on it mean nothing on real ground."
)

Array = NDArray[np.float64]

_ROWS_PER_BATCH = 16


@dataclass(frozen=True)
class Rows:
    """n rows of a feature table. Read-only.

    labels: int8 (n,). statistics: float64 (n, channel, 6), order of `surrogate.STATISTICS`, NaN where missing.
    channels: the 12 bands, then those of `ndvi` and `ndwi` that the table has. kept: `group`, `event`
    of each row, where the table has them.
    source, sha256, table_rows: the file, and how many rows it holds.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    statistics: Array
    channels: tuple[str, ...]
    kept: dict[str, tuple[str, ...]]
    source: str
    sha256: str
    table_rows: int

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, positions: Sequence[int] | NDArray[np.intp]) -> Rows:
        """These rows only, in this order."""
        at = [int(position) for position in positions]
        kept = {name: tuple(column[i] for i in at) for name, column in self.kept.items()}
        ids = tuple(self.ids[i] for i in at)
        return replace(self, ids=ids, labels=self.labels[at], statistics=self.statistics[at], kept=kept)


@dataclass(frozen=True)
class Written:
    """What `write_surrogates` left: number of patches, (ID, reason) of skipped rows, and the closeness report."""

    patches: int
    skipped: tuple[tuple[str, str], ...]
    closeness: dict[str, Any]


def read_surrogate_rows(path: Path) -> Rows:
    """The rows of a feature table that has the six statistics of all 12 bands.

    Raises:
        TableError: see `table.read_table`; or an ID cannot name a file.
    """
    needed = [f"{band}_{name}" for band in BAND_NAMES for name in STATISTICS]
    wanted = [f"{index}_{name}" for index in INDICES for name in STATISTICS]
    samples = read_table(path, needed, wanted)
    unfit = next((name for name in samples.ids if name in ("", ".", "..") or set(name) & set("/\\\0")), None)
    if unfit is not None:
        raise TableError(f"{path}: ID {unfit!r} cannot name a file; expected no slash and at least one other character")
    there = [index for index in INDICES if all(f"{index}_{name}" in samples.statistics for name in STATISTICS)]
    channels = (*BAND_NAMES, *there)
    kept = {name: names for name, names in (("group", samples.groups), ("event", samples.events)) if names is not None}
    statistics = rows_of(samples.statistics, channels)
    return Rows(samples.ids, samples.labels, statistics, channels, kept, samples.source, samples.sha256, len(samples))


def sample_of(rows: Rows, n: int, seed: int) -> Rows:
    """n rows in the order of the table, drawn so that the share of positives stays, with one of each class at least.

    Raises:
        TableError: the table has fewer rows, or n is below 2.
    """
    if not 2 <= n <= len(rows):
        raise TableError(f"expected 2..{len(rows)} rows (what {rows.source} holds), asked for {n}; give another --rows")
    rng = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(rows.labels == 1), np.flatnonzero(rows.labels == 0)
    share = round(n * len(positive) / len(rows))
    positives = min(max(share, 1, n - len(negative)), n - 1, len(positive))
    drawn = [rng.choice(positive, positives, replace=False), rng.choice(negative, n - positives, replace=False)]
    return rows.subset(np.sort(np.concatenate(drawn)))


def write_surrogates(
    folder: Path,
    rows: Rows,
    name: str,
    licence: str,
    seed: int = 0,
    jobs: int = 1,
    strict: bool = False,
    advance: Callable[[int], object] = lambda n: None,
) -> Written:
    """Make a patch of every row and write the folder described above into an existing, empty one.

    A patch depends on its row, its ID and the seed only, not on the other rows or on `jobs`.

    Args:
        jobs: processes.
        strict: a row that no pixels can have ends everything; otherwise it is left out and told.
        advance: called with the number of rows done since the last call.
    Raises:
        TableError: a row under `strict`, or too few rows remain. OutputError: the disk refuses.
    """
    parts: list[Array] = []
    skipped: dict[str, str] = {}
    with closing(_made(folder, rows, seed, jobs)) as batches:
        for found, reasons in batches:
            if strict and reasons:
                refused, reason = next(iter(reasons.items()))
                raise TableError(f"{rows.source}: {refused}: {reason}; correct it, or leave out --strict to skip it")
            parts.append(found)
            skipped.update(reasons)
            advance(len(found))
    made = np.flatnonzero([one not in skipped for one in rows.ids])
    left = rows.subset(made)
    if len(np.unique(left.labels)) < 2:
        raise TableError(
            f"{rows.source}: {len(left)} of {len(rows)} rows can be made into pixels; expected both classes among them"
            + (f"; the first left out is {next(iter(skipped))}: {next(iter(skipped.values()))}" if skipped else "")
        )
    report = closeness(left.statistics, np.concatenate(parts)[made], rows.channels)
    labels = {"ID": left.ids, "label": left.labels.tolist(), **left.kept}
    write_bytes(folder / LABELS_NAME, _csv(labels, zip(*labels.values(), strict=True)))
    if skipped:
        write_bytes(folder / SKIPPED_NAME, _csv(("ID", "reason"), skipped.items()))
    write_bytes(folder / CLOSENESS_NAME, json_bytes(report))
    document = {
        "name": name,
        "licence": licence,
        "synthetic": True,
        "note": NOTE,
        "made_from": {"source": rows.source, "sha256": rows.sha256, "samples": rows.table_rows},
        "patches": len(left),
        "positives": int(left.labels.sum()),
        "skipped": len(skipped),
        "seed": seed,
        "lsd_version": __version__,
    }
    write_bytes(folder / ABOUT_NAME, json_bytes(document))
    return Written(len(left), tuple(skipped.items()), report)


def _made(folder: Path, rows: Rows, seed: int, jobs: int) -> Generator[tuple[Array, dict[str, str]], None, None]:
    """Results of `_make`, batch by batch in the order of the rows; closed early, it starts no further batch."""
    firsts = range(0, len(rows), _ROWS_PER_BATCH)
    batches = [rows.subset(range(first, min(first + _ROWS_PER_BATCH, len(rows)))) for first in firsts]
    if jobs == 1:
        yield from (_make(folder, batch, seed) for batch in batches)
        return
    ignore_interrupts = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that can tidy up
    with ProcessPoolExecutor(jobs, get_context("spawn"), signal.signal, ignore_interrupts) as pool:
        yield from pool.map(_make, [folder] * len(batches), batches, [seed] * len(batches))


def _make(folder: Path, rows: Rows, seed: int) -> tuple[Array, dict[str, str]]:
    """Write patches and compute their statistics from the files.

    Returns:
        float64 (n, channel, 6), NaN for rows that no pixels can have, and ID -> reason of those.
    """
    from threadpoolctl import threadpool_limits

    found = np.full(rows.statistics.shape, np.nan)
    reasons: dict[str, str] = {}
    names = [f"{channel}_{name}" for channel in rows.channels for name in STATISTICS]
    with threadpool_limits(1):  # processes share the cores, and sums over threads have no fixed order
        for i, name in enumerate(rows.ids):
            try:
                patch = _patch_of(rows.statistics[i], rows.channels, generator_of(name, seed))
            except TableError:
                reasons[name] = _reason(rows.statistics[i])
                continue
            path = folder / f"{name}.npy"
            write_bytes(path, _npy(patch.transpose(1, 2, 0)))
            again = named_statistics(read_patch(path)[None], BAND_NAMES, names)
            found[i] = rows_of(again, rows.channels)[0]
    return found, reasons


def generator_of(name: str, seed: int) -> np.random.Generator:
    """The random numbers of one row: of the seed and 64 bits of the SHA-256 of its ID."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")])


def _patch_of(row: Array, channels: tuple[str, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """float32 (12, 64, 64) of float64 (channel, 6); an index whose spread is missing couples nothing."""
    spread = STATISTICS.index("std")
    indices = {index: row[None, i] for i, index in enumerate(channels) if index in INDICES and row[i, spread] >= 0}
    patch: NDArray[np.float32] = surrogates(row[None, : len(BAND_NAMES)], BAND_NAMES, rng, None, indices)[0]
    return patch


def _reason(row: Array) -> str:
    """Which band of a refused row (channel, 6) no pixels can have, and why."""
    for band, statistics in zip(BAND_NAMES, row, strict=False):
        try:
            marginals(statistics[None], np.array([False]))
        except TableError as error:
            return f"{band}: {error}"
    raise AssertionError("a refused row has a refused band")


def _npy(pixels: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(pixels), allow_pickle=False)
    return file.getvalue()


def _csv(header: Iterable[str], lines: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue().encode()
