"""A run of lsd-run whose machine loses power, at every point of its writing, on every kind of disk, recovers.

    python -m lsd.benchmarks.power_cuts bundles/reference --folder /tmp/cuts -o benchmarks/results/power_cuts.json

One run is recorded with all its writes, renames and forced writes (lsd.benchmarks.write_log). The log is cut after
every step; what a disk may then hold (lsd.benchmarks.disk_states) is written into a fresh folder, and the same command
runs on it. States that are equal are run once.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from lsd.benchmarks.disk_states import MEANING, MODELS, Disk, Model
from lsd.benchmarks.run_kills import command, products, rows, write_tiles
from lsd.benchmarks.write_log import Step, recorded, tree_of, write_tree
from lsd.runtime.bundle import open_bundle
from lsd.runtime.cli.run import main as lsd_run
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.stream.output import STATE_FOLDER

OUT = "out"  # the output folder, in the folder whose log is taken
PART = 40  # states that a process takes at a time
Cut = tuple[int, Model]


@dataclass(frozen=True)
class Scenario:
    """A recorded run.

    bundle, source: what it ran on. before: what the folder above the output held at first. steps: what the run did to
    it. products: key of a tile -> its files, path -> SHA-256, for tiles of this run and those that it replaced. after:
    products of the whole run. keys: folder -> key of this run.
    """

    name: str
    bundle: Path
    source: Path
    before: Mapping[str, bytes | None]
    steps: Sequence[Step]
    products: Mapping[str, Mapping[str, str]]
    after: Mapping[str, str]
    keys: Mapping[str, str]


@dataclass
class State:
    """One thing that a disk may hold. promised: folder -> key that the journal had forced to disk as done."""

    promised: Mapping[str, str]
    cuts: list[Cut] = field(default_factory=list)


def scenarios(bundle: Path, folder: Path, tiles: int, size_px: int) -> list[Scenario]:
    """Into a folder that is not there, into one that is, and over the products of an older input."""
    new = _scenario("new output folder", bundle, folder / "new", tiles, size_px, {})
    there = _scenario("output folder is there", bundle, folder / "there", tiles, size_px, {OUT: None})
    place = folder / "over"
    write_tiles(place / "tiles", tiles, size_px + 64)
    older = _record(bundle, place, {OUT: None})[1]
    return [new, there, _scenario("newer input replaces products", bundle, place, tiles, size_px, older)]


def _scenario(
    name: str, bundle: Path, place: Path, tiles: int, size_px: int, before: Mapping[str, bytes | None]
) -> Scenario:
    source = write_tiles(place / "tiles", tiles, size_px)
    older = _products_of_keys(write_tree(before, place / "older") / OUT) if f"{OUT}/{STATE_FOLDER}" in before else {}
    steps, tree = _record(bundle, place, before)
    out = write_tree(tree, place / "whole") / OUT
    keys = {row.folder: row.key for row in rows(out).values()}
    return Scenario(name, bundle, source, before, steps, {**older, **_products_of_keys(out)}, products(out), keys)


def _record(
    bundle: Path, place: Path, before: Mapping[str, bytes | None]
) -> tuple[list[Step], Mapping[str, bytes | None]]:
    """Steps of a run on `place/tiles`, and what they leave; replayed without a cut they leave the same."""
    root = write_tree(before, place / "recorded")
    steps = recorded(command(bundle, place / "tiles", root / OUT), root)
    tree = tree_of(root)
    shutil.rmtree(root)
    *_, (_, disk) = walk(before, steps)
    if disk.tree("killed") != {path: content for path, content in tree.items() if not path.endswith("-shm")}:
        raise RuntimeError("the log is not whole: replayed without a cut it leaves another folder than the run did")
    return steps, tree


def _products_of_keys(out: Path) -> dict[str, dict[str, str]]:
    files = products(out)
    return {row.key: _of(row.folder, files) for row in rows(out).values() if row.state == "done"}


def _of(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith(f"{folder}/")}


def walk(before: Mapping[str, bytes | None], steps: Sequence[Step]) -> Iterator[tuple[int, Disk]]:
    """The disk after 0, 1, 2... steps; always the same object."""
    disk = Disk(before)
    yield 0, disk
    for number, step in enumerate(steps, start=1):
        disk.apply(step)
        yield number, disk


def states_of(scenario: Scenario) -> list[State]:
    """All states that differ, each with the cuts and models that lead to it, in the order in which they occur."""
    found: dict[tuple[str, str], State] = {}
    promised: dict[str, str] = {}
    for number, disk in walk(scenario.before, scenario.steps):
        step = scenario.steps[number - 1] if number else None
        if number == 0 or (step is not None and step.kind == "force" and f"{STATE_FOLDER}/journal" in step.path):
            promised = _done(disk.tree("killed"))
        for model in MODELS:
            identity = _digest(disk.tree(model)), json.dumps(promised)
            found.setdefault(identity, State(promised)).cuts.append((number, model))
    return list(found.values())


def _done(tree: Mapping[str, bytes | None]) -> dict[str, str]:
    """Folder -> key of the tiles that the journal in a tree has as done."""
    state = f"{OUT}/{STATE_FOLDER}"
    kept = {path: content for path, content in tree.items() if path == OUT or path.startswith(state)}
    with tempfile.TemporaryDirectory() as place:
        out = write_tree(kept, Path(place) / "tree") / OUT
        return {row.folder: row.key for row in rows(out).values() if row.state == "done"}


def _digest(tree: Mapping[str, bytes | None]) -> str:
    digest = hashlib.sha256()
    for path, content in sorted(tree.items()):
        digest.update(f"{path}\0{'folder' if content is None else len(content)}\0".encode())
        digest.update(content or b"")
    return digest.hexdigest()


def replayed(scenario: Scenario, states: Sequence[State], place: Path) -> Iterator[tuple[State, list[str]]]:
    """Run the command on some states of `states_of`, in order; each with what went wrong, nothing if it recovered.

    Args:
        place: folder for the trees, removed one by one.
    """
    wanted = {state.cuts[0]: state for state in states}
    for number, disk in walk(scenario.before, scenario.steps):
        for model in MODELS:
            if (state := wanted.get((number, model))) is not None:
                root = write_tree(disk.tree(model), place / f"{number}-{model}")
                yield state, [*before_run(scenario, root / OUT, state.promised), *after_run(scenario, root / OUT)]
                shutil.rmtree(root)


def before_run(scenario: Scenario, out: Path, promised: Mapping[str, str]) -> list[str]:
    """What is wrong with the state itself: half a folder under its name, or a journal that is ahead of or behind it."""
    try:
        known = rows(out)
    except sqlite3.DatabaseError as error:
        return [f"the journal cannot be read: {error}"]
    wrong, files = [], products(out)
    for folder in sorted(path.name for path in out.glob("[!.]*") if path.is_dir()):
        whole = [mine for one in scenario.products.values() if (mine := _of(folder, one))]
        if _of(folder, files) not in whole:
            wrong.append("a folder under its final name is not whole")
    for row in known.values():
        if row.state == "done" and _of(row.folder, files) != scenario.products[row.key]:
            wrong.append("the journal has a tile as done that is not there, or not whole")
    for folder, key in promised.items():
        now = known.get(folder)
        if now is None or (now.state == "begun" and now.key == key):
            wrong.append("a tile that was done is not done any more")
    return wrong


def after_run(scenario: Scenario, out: Path) -> list[str]:
    """Run the command, and what is wrong with its outcome."""
    words = command(scenario.bundle, scenario.source, out)[3:]
    ran = CliRunner().invoke(lsd_run, words)
    if ran.exit_code:
        return [f"exit code {ran.exit_code}: {ran.exception!r} {ran.output}"[:500].replace(str(out), OUT)]
    wrong = []
    if products(out) != scenario.after:
        wrong.append("products differ")
    if {row.folder: row.key for row in rows(out).values() if row.state == "done"} != scenario.keys:
        wrong.append("the journal has not all tiles as done")
    if hidden := [path.name for path in out.glob(".*") if path.name != STATE_FOLDER]:
        wrong.append(f"left behind: {', '.join(sorted(hidden))}")
    for name in ("summary.json", "index.html"):
        if not (out / name).is_file() or not (out / name).stat().st_size:
            wrong.append(f"no {name}")
    return wrong


def operation(scenario: Scenario, cut: Cut) -> str:
    """The last step before a cut, in words: `move TILE.partial`."""
    if cut[0] == 0:
        return "nothing yet"
    step = scenario.steps[cut[0] - 1]
    path = re.sub(r"\.?S2A_\w+", "TILE", step.path.removeprefix(f"{OUT}/"))
    return f"{step.kind} {'the output folder' if path == OUT else path}"


def _tried(scenario: Scenario, place: Path, states: Sequence[State]) -> list[list[str]]:
    """What went wrong with each of some states, in order."""
    return [wrong for _, wrong in replayed(scenario, states, place)]


def measured(scenario: Scenario, place: Path, most: int | None = None, jobs: int = 1) -> dict[str, Any]:
    """Replay the states of a scenario, all or so many spread evenly, in so many processes, and count."""
    states = states_of(scenario)
    chosen = states if most is None else states[:: max(1, len(states) // most)]
    parts = [chosen[first : first + PART] for first in range(0, len(chosen), PART)]
    cuts: Counter[str] = Counter()
    failed: list[dict[str, Any]] = []
    recovered: Counter[str] = Counter()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(partial(_tried, scenario, place), parts)
        for count, (part, outcomes) in enumerate(zip(parts, found, strict=True), start=1):
            for state, wrong in zip(part, outcomes, strict=True):
                for cut in state.cuts:
                    cuts[operation(scenario, cut)] += 1
                    recovered[cut[1]] += not wrong
                if wrong:
                    where = Counter(f"{operation(scenario, cut)} | {cut[1]}" for cut in state.cuts)
                    failed.append({"wrong": wrong, "first_cut": state.cuts[0][0], "at": dict(where)})
            click.echo(f"{scenario.name}: part {count} of {len(parts)}, {len(failed)} not recovered", err=True)
    return {
        "steps": dict(Counter(step.kind for step in scenario.steps)),
        "cuts": len(scenario.steps) + 1,
        "cuts_and_models": (len(scenario.steps) + 1) * len(MODELS),
        "states_that_differ": len(states),
        "states_replayed": len(chosen),
        "states_recovered": len(chosen) - len(failed),
        "recovered_by_model": dict(recovered),
        "cuts_and_models_by_operation": dict(cuts.most_common()),
        "not_recovered": failed,
    }


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tiles and states go; new.")
@click.option("--tiles", default=3, show_default=True, help="Tiles of a run.")
@click.option("--size", "size_px", default=64, show_default=True, help="Width and height of a tile in pixels.")
@click.option("--most", type=int, help="States to replay of each scenario.  [default: all]")
@click.option("--jobs", default=1, show_default=True, help="Processes that replay.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(
    bundle: Path, folder: Path, tiles: int, size_px: int, most: int | None, jobs: int, output: Path, commit: str
) -> None:
    """Cut the power at every point of three runs, and recover (needs strace; some 2,000 runs of a second or less)."""
    folder = folder.resolve()
    recordings = scenarios(bundle, folder, tiles, size_px)
    found = {one.name: measured(one, folder / "states", most, jobs) for one in recordings}
    result = {
        "conditions": {"commit": commit, **facts(open_bundle(bundle)), "tiles": tiles, "size_px": size_px},
        "models": MEANING,
        "scenarios": found,
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, one in found.items():
        click.echo(
            f"{name}: {one['states_recovered']} of {one['states_replayed']} states recovered; they stand for "
            f"{sum(one['cuts_and_models_by_operation'].values())} of {one['cuts_and_models']} cuts and models"
        )
    if any(one["not_recovered"] for one in found.values()):
        raise SystemExit(3)


if __name__ == "__main__":
    main()
