"""A survey is made once and kept with the run: a training that goes on reads it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from lsd.runtime.commit import write_bytes
from lsd.train.datasets.band_statistics import BandStatistics
from lsd.train.datasets.base import PatchDataset
from lsd.train.datasets.survey import Survey, survey
from lsd.train.save import json_bytes

STATISTICS_NAME, SKIPPED_NAME = "band_statistics.json", "skipped.csv"


def kept_survey(
    dataset: PatchDataset, folder: Path, strict: bool, advance: Callable[[int], object] = lambda n: None
) -> Survey:
    """The survey of a dataset, from the folder where it is there, else made and written.

    Args:
        strict: stop at a sample that cannot be used. advance: called with the number of samples looked at.
    Raises:
        PatchFileError: `strict`, and a sample cannot be used; or none can.
    """
    statistics, skipped = folder / STATISTICS_NAME, folder / SKIPPED_NAME
    if statistics.is_file():
        known = BandStatistics.from_json(json.loads(statistics.read_text(encoding="utf-8")))
        left_out = _read_skipped(skipped)
        names = {name for name, _ in left_out}
        kept = [i for i, name in enumerate(dataset.ids) if name not in names]
        return Survey(dataset.subset(kept), left_out, known)
    found = survey(dataset, advance, strict=strict)
    if found.skipped:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("ID", "reason"), *found.skipped])
        write_bytes(skipped, text.getvalue().encode())
    write_bytes(statistics, json_bytes(found.statistics.to_json()))
    return found


def _read_skipped(file: Path) -> tuple[tuple[str, str], ...]:
    if not file.is_file():
        return ()
    with file.open(encoding="utf-8", newline="") as lines:
        return tuple((row[0], row[1]) for row in list(csv.reader(lines))[1:])
