"""How our native forests scale over threads, in a process that nothing else shares.

    python -m lsd.benchmarks.forest_scaling --cache FOLDER -o result.json

Apart from `lsd.benchmarks.peers forests`, where the OpenMP threads of other libraries still spin on the second core
when ours begins.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click

from lsd.benchmarks.peers.forest_models import SIZES, models, rows_of
from lsd.benchmarks.peers.result import conditions_of
from lsd.runtime.command import LsdCommand
from lsd.runtime.forest.native import NativeForest

WARM_UP = 2


@click.command(cls=LsdCommand)
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of models; trained where absent.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--threads", default=2, show_default=True, help="Beside one.")
@click.option("--rows", "n_rows", default=10_240, show_default=True, help="Of a call.")
@click.option("--turns", default=15, show_default=True, help="Calls of each.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(cache: Path, output: Path, threads: int, n_rows: int, turns: int, commit: str) -> None:
    """Time one thread and several in turns."""
    rows, found = rows_of(n_rows, 1), {}
    for model in models(cache, list(SIZES)):
        forests = {count: NativeForest(model.table, count) for count in (1, threads)}
        spent_s: dict[int, list[float]] = {count: [] for count in forests}
        for turn in range(WARM_UP + turns):
            for count, forest in forests.items():
                begun_s = time.perf_counter()
                forest.margins(rows)
                if turn >= WARM_UP:
                    spent_s[count].append(time.perf_counter() - begun_s)
        ratios = [one / several for one, several in zip(spent_s[1], spent_s[threads], strict=True)]
        us_a_row = {str(count): round(1e6 * statistics.median(one) / n_rows, 3) for count, one in spent_s.items()}
        times = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        found[model.name] = {"us_a_row": us_a_row, "times_faster": {key: round(one, 3) for key, one in times.items()}}
        click.echo(f"{model.name:<12} {us_a_row} us a row; {threads} threads are {times['median']:.2f} times faster")
    conditions = conditions_of(commit, threads=threads, rows=n_rows, turns=turns)
    output.write_text(json.dumps({"conditions": conditions, "models": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
