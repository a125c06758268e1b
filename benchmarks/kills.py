"""A training that is killed again and again ends with the weights of one that was left alone.

    python -m lsd.benchmarks.kills --patches DIR -o result.json

`lsd-train encoder` is started as a process of its own and killed (SIGKILL) after a random time, 20 times over; then it
may finish.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.encoder_run import WEIGHTS_NAME
from lsd.train.fitting.fold import STATE_NAME
from lsd.train.fitting.state import load_state
from lsd.train.fitting.workplace import workplace_of

SEED = 3


def command(patches: Path, recipe: str, run: Path, epochs: int) -> list[str]:
    """The training: three folds on one thread, a save after each step at the most two seconds apart."""
    words = ["encoder", "--patches", patches, "--recipe", recipe, "-o", run, "--epochs", epochs, "--folds", 3]
    words += ["--threads", 1, "--save-every-s", 0.5, "--progress", "off", "--synthetic", "--overwrite"]
    return [sys.executable, "-m", "lsd.train.cli.main", *map(str, words)]


def products(run: Path) -> dict[str, str]:
    """SHA-256 of everything that must not depend on interruptions."""
    files = [*sorted(run.glob(f"folds/*/{WEIGHTS_NAME}")), run / "oof.csv", run / "curves.csv", run / "report.json"]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def place(folder: Path) -> dict[str, Any]:
    """Where a stopped training stands: folds that are done, and steps of the one under way."""
    states = [load_state(file, torch.device("cpu")) for file in folder.glob(f"folds/*/{STATE_NAME}")]
    return {
        "folds_finished": sum(1 for _ in folder.glob("folds/*/done.npz")),
        "steps_of_next": max((int(state["numbers"]["step"]) for state in states), default=0),
    }


def killed(words: list[str], run: Path, work_s: float, times: int) -> list[dict[str, Any]]:
    """Start and kill the command at random moments, then let it finish; where each life ended.

    Every fourth life ends anywhere, most of these before the first step; the others some time after they saved for the
    first time, so that the training moves on.

    Args:
        work_s: what it takes undisturbed: lives are long enough for about 3/4 of it in all.
    Raises:
        RuntimeError: it came to an end before it had been killed so often, or failed.
    """
    rng = np.random.default_rng(SEED)
    lives: list[dict[str, Any]] = []
    folder = workplace_of(run)
    while len(lives) < times:
        begun_s, begun = time.monotonic(), time.time()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if len(lives) % 4 != 3:
            while process.poll() is None and not _saved_since(folder, begun):
                time.sleep(0.02)
        try:
            _, said = process.communicate(timeout=float(rng.uniform(0, 2 * work_s / times)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        else:
            raise RuntimeError(f"ended by itself after {len(lives)} kills: {said.decode()[-500:]}")
        lives.append({"after_s": round(time.monotonic() - begun_s, 2), **place(folder)})
        click.echo(f"kill {len(lives)}: {lives[-1]}", err=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return lives


def _saved_since(folder: Path, begun: float) -> bool:
    files = [*folder.glob(f"folds/*/{STATE_NAME}"), *folder.glob("folds/*/done.npz")]
    return any(file.stat().st_mtime > begun for file in files if file.exists())


@click.command(cls=LsdCommand)
@click.option("--patches", required=True, type=click.Path(path_type=Path), help="Folder of patches and labels.csv.")
@click.option("--recipe", required=True, help="An encoder recipe that trains in a minute.")
@click.option("--epochs", default=8, show_default=True, help="Epochs of each fold.")
@click.option("--times", default=20, show_default=True, help="Number of kills.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where the runs go.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(patches: Path, recipe: str, epochs: int, times: int, folder: Path, output: Path, commit: str) -> None:
    """Compare a training that is killed 20 times with one that is not (ten minutes)."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, stopped = folder / "whole", folder / "stopped"
    whole_s = _timed(command(patches, recipe, whole, epochs))
    lives = killed(command(patches, recipe, stopped, epochs), stopped, whole_s, times)
    ours, theirs = products(stopped), products(whole)
    same = {name: ours.get(name) == digest for name, digest in theirs.items()}
    result = {
        "conditions": {"commit": commit, **facts()},
        "undisturbed_s": round(whole_s, 1),
        "kills": lives,
        "files": same,
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    differing = [name for name, identical in same.items() if not identical]
    click.echo(f"{len(lives)} kills; {len(theirs) - len(differing)} of {len(theirs)} files identical {differing or ''}")
    if differing:
        raise SystemExit(3)


def _timed(words: list[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
