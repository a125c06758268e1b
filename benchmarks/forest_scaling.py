"""How our native forests scale over threads, and how far this machine lets anything scale.

    python -m lsd.benchmarks.forest_scaling --cache FOLDER -o result.json

Two ceilings are measured in the same turns, since the cores of a virtual machine share caches and clock with others:
the same forest in as many processes as threads, and integer arithmetic in them, which needs no memory. A figure is how
many times the work of one is done in its time. Apart from `lsd.benchmarks.peers forests`, where the OpenMP threads of
other libraries still spin on the second core when ours begins.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import click

from lsd.benchmarks.peers.forest_models import SIZES, models, rows_of
from lsd.benchmarks.peers.result import conditions_of
from lsd.runtime.command import LsdCommand
from lsd.runtime.forest.native import NativeForest

WARM_UP = 2
MODULUS, EXPONENT = 2**2048 - 1942289, 2**300 - 1  # a few milliseconds of multiplication in the first cache
Work = Callable[[], object]


def arithmetic() -> int:
    """Integer multiplication, a few KB."""
    return pow(3, EXPONENT, MODULUS)


def seconds_of(work: Work) -> float:
    """Of one call, by the clock."""
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s


def _serve(asked: Connection, work: Work) -> None:
    """Do the work whenever asked, and answer its seconds."""
    while asked.recv():
        asked.send(seconds_of(work))


@contextmanager
def processes(work: Work, count: int) -> Iterator[list[Connection]]:
    """Copies of this process that do the work when asked."""
    context = multiprocessing.get_context("fork")  # the forest is not read again
    pairs = [context.Pipe() for _ in range(count)]
    started = [context.Process(target=_serve, args=(theirs, work), daemon=True) for _, theirs in pairs]
    for one in started:
        one.start()
    yield [ours for ours, _ in pairs]
    for (ours, _), one in zip(pairs, started, strict=True):
        ours.send(False)
        one.join()


def times_faster_at_once(asked: Sequence[Connection]) -> float:
    """Each process alone, then all at once: the sum of their rates, in which a slow core delays no other."""

    def spent_s(by: Sequence[Connection]) -> list[float]:
        for one in by:
            one.send(True)
        return [float(one.recv()) for one in by]

    alone_s = [spent_s([one])[0] for one in asked]
    return sum(alone / together for alone, together in zip(alone_s, spent_s(asked), strict=True))


def summary(ratios: Sequence[float]) -> dict[str, float]:
    """Of paired turns."""
    found = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {key: round(one, 3) for key, one in found.items()}


@click.command(cls=LsdCommand)
@click.option("--cache", required=True, type=click.Path(path_type=Path), help="Folder of models; trained where absent.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--threads", default=2, show_default=True, help="Beside one.")
@click.option("--rows", "n_rows", default=10_240, show_default=True, help="Of a call.")
@click.option("--turns", default=31, show_default=True, help="Calls of each.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(cache: Path, output: Path, threads: int, n_rows: int, turns: int, commit: str) -> None:
    """Time one thread, several, and as many processes, in turns."""
    rows, found = rows_of(n_rows, 1), {}
    for model in models(cache, list(SIZES)):
        forests = {count: NativeForest(model.table, count) for count in (1, threads)}
        calls = {count: partial(forest.margins, rows) for count, forest in forests.items()}
        for call in calls.values():
            call()  # laid out before the processes are copied
        spent_s: dict[int, list[float]] = {count: [] for count in calls}
        works: dict[str, Work] = {"processes": calls[1], "arithmetic": arithmetic}
        ceilings: dict[str, list[float]] = {name: [] for name in works}
        with ExitStack() as running:
            asked = {name: running.enter_context(processes(work, threads)) for name, work in works.items()}
            for turn in range(WARM_UP + turns):
                for count, call in calls.items():
                    spent_s[count].append(seconds_of(call))
                for name, connections in asked.items():
                    ceilings[name].append(times_faster_at_once(connections))
                if turn < WARM_UP:
                    for kept in (*spent_s.values(), *ceilings.values()):
                        kept.clear()
        ratios = [one / several for one, several in zip(spent_s[1], spent_s[threads], strict=True)]
        us_a_row = {str(count): round(1e6 * statistics.median(one) / n_rows, 3) for count, one in spent_s.items()}
        times = {"threads": summary(ratios), **{name: summary(each) for name, each in ceilings.items()}}
        found[model.name] = {"us_a_row": us_a_row, "times_faster": times}
        medians = ", ".join(f"{name} {one['median']:.2f}" for name, one in times.items())
        click.echo(f"{model.name:<12} {us_a_row} us a row; times faster with {threads}: {medians}")
    conditions = conditions_of(commit, threads=threads, rows=n_rows, turns=turns)
    output.write_text(json.dumps({"conditions": conditions, "models": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
