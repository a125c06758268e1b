"""Statistics: the 126 of the paper's trees, the notebook way, in numpy, by the native library, and a bare copy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.peers.notebook_statistics import notebook_statistics, under_runtime_names
from lsd.benchmarks.peers.result import ResultFile, case_of, conditions_of, show
from lsd.benchmarks.peers.turns import TURNS, Work, in_turns, repeated
from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.command import LsdCommand
from lsd.runtime.features.sets import PAPER_INDICES, named_statistics
from lsd.runtime.features.statistics import STATISTICS, channel_statistics, channels
from lsd.runtime.native.library import absence

PATCHES, SEED = 64, 7
OURS, OURS_ALONE, NUMPY, NOTEBOOK, COPY = "ours, native", "ours, one at a time", "numpy", "notebook way", "copy"
Patches = NDArray[np.float32]
Found = Mapping[str, NDArray[np.floating[Any]]]


def names_of(medians: bool) -> list[str]:
    """The statistics asked for: 126 with medians, 108 without."""
    wanted = [one for one in STATISTICS if medians or one != "median"]
    return [f"{channel}_{statistic}" for channel in (*BAND_NAMES, *PAPER_INDICES) for statistic in wanted]


def by_notebook(patches: Patches, medians: bool) -> list[dict[str, float]]:
    """Patch after patch, channel after channel."""
    return [notebook_statistics(patch, medians) for patch in patches]


def reference_of(patches: Patches, medians: bool) -> Found:
    """What the notebook way finds, by the runtime's names."""
    rows = [under_runtime_names(row) for row in by_notebook(patches, medians)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def by_numpy(patches: Patches, medians: bool) -> Found:
    """All patches of a channel together: the reference of our runtime, which it uses without the native library."""
    wanted = [one for one in STATISTICS if medians or one != "median"]
    found = {}
    for channel in (*BAND_NAMES, *PAPER_INDICES):
        values = channel_statistics(channels(patches, BAND_NAMES, [channel]), wanted)
        found.update({f"{channel}_{statistic}": values[:, 0, i] for i, statistic in enumerate(wanted)})
    return found


def by_runtime(patches: Patches, medians: bool) -> Found:
    """What lsd-run calls."""
    return named_statistics(patches, BAND_NAMES, names_of(medians))


def exactness(found: Found, reference: Found) -> dict[str, Any]:
    """Largest difference from the reference relative to its magnitude, or to 1; shares that round to one float32."""
    names = list(reference)
    a, b = (np.array([values[name] for name in names], np.float64) for values in (found, reference))
    most = float((np.abs(a - b) / np.maximum(np.abs(b), 1.0)).max())
    same = float((a.astype(np.float32) == b.astype(np.float32)).mean())
    return {
        "max_relative_difference": most,
        "equal_as_float32": same,
        "exactness": f"within {most:.0e}, {same:.2%} the same float32",
    }


def works_of(patches: Patches, medians: bool, native: bool) -> dict[str, Work]:
    """What each does in a turn, with one thread; a turn of all but the notebook way takes 20 ms or more."""
    few = patches[:8]
    target = np.empty_like(patches[0])
    singles = [patch[None] for patch in patches]

    def copy() -> None:
        for patch in patches:
            np.copyto(target, patch)

    def alone() -> None:
        for patch in singles:
            by_runtime(patch, medians)

    works = {
        NOTEBOOK: Work(lambda: by_notebook(few, medians), len(few)),
        NUMPY: Work(lambda: by_numpy(patches, medians), len(patches)),
        COPY: repeated(copy, len(patches)),
    }
    if native:
        works[OURS] = repeated(lambda: by_runtime(patches, medians), len(patches))
        works[OURS_ALONE] = repeated(alone, len(patches))
    return works


def measure(medians: bool, turns: int) -> dict[str, Any]:
    """With or without medians: everybody in turns, and how far each is from the notebook way."""
    patches = np.ascontiguousarray(simulated_patches(PATCHES, SEED))
    reason = absence()
    reference = reference_of(patches, medians)
    exact = {
        NUMPY: exactness(by_numpy(patches, medians), reference),
        NOTEBOOK: {"exactness": "the reference"},
        COPY: {"exactness": "no statistics: the floor"},
    }
    if reason is None:
        exact[OURS] = exact[OURS_ALONE] = exactness(by_runtime(patches, medians), reference)
    missing = {} if reason is None else {OURS: reason, OURS_ALONE: reason}
    timed = in_turns(works_of(patches, medians, native=reason is None), turns)
    return case_of(timed, OURS if reason is None else NUMPY, exact, missing)


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option("--turns", default=TURNS, show_default=True, help="Of every way.")
def statistics(output: Path, commit: str, turns: int) -> None:
    """Microseconds a patch of 12 bands, with all 126 statistics and without the 18 medians, one thread (a minute)."""
    settings = {"patches": PATCHES, "pixels": "simulated", "threads": 1, "turns": turns}
    result = ResultFile(output, conditions_of(commit, **settings))
    for case, medians in (("108 statistics, no medians", False), ("126 statistics", True)):
        if not result.has(case):
            result.put(case, measure(medians, turns))
        show(case, result.cases[case])
