"""The folder that `lsd-train evaluate -o` leaves.

report.json        every figure with its interval, by run, configuration, scope and group
table.md           the runs side by side
predictions.csv    ID, label and the calibrated probability of each run
gallery-RUN.png    the worst errors of a run, where there are pixels and errors
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsd.runtime.commit import folder_name, write_bytes
from lsd.train.evaluation.errors import worst_errors
from lsd.train.evaluation.gallery import gallery_png
from lsd.train.evaluation.judged import Judged
from lsd.train.evaluation.subject import Subject
from lsd.train.evaluation.table import table_of
from lsd.train.run import REPORT_NAME
from lsd.train.save import json_bytes

TABLE_NAME, PREDICTIONS_NAME = "table.md", "predictions.csv"


def save_evaluation(
    folder: Path, report: Mapping[str, Any], subject: Subject, columns: Sequence[Judged], worst: int
) -> tuple[str, ...]:
    """Write every file into an existing, empty folder; returns the names of the galleries.

    Args:
        columns: each on all samples of `subject`. worst: errors of each kind in a gallery.
    """
    write_bytes(folder / REPORT_NAME, json_bytes(report))
    write_bytes(folder / TABLE_NAME, table_of(report, markdown=True).encode())
    write_bytes(folder / PREDICTIONS_NAME, _predictions(subject, columns).encode())
    if subject.dataset is None:
        return ()
    galleries = []
    for one in columns:
        found = worst_errors(one, subject.labels, worst)
        if found.false_positives or found.false_negatives:
            galleries.append(f"gallery-{folder_name(one.title.replace(': ', '-'))}.png")
            write_bytes(folder / galleries[-1], gallery_png(one, subject, found))
    return tuple(galleries)


def _predictions(subject: Subject, columns: Sequence[Judged]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ID", "label", *(one.title for one in columns)])
    writer.writerows(
        zip(subject.ids, subject.labels.tolist(), *(one.calibrated.tolist() for one in columns), strict=True)
    )
    return text.getvalue()
