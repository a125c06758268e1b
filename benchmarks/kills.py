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

from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.train.encoder_run import WEIGHTS_NAME
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


def killed(words: list[str], run: Path, start_s: float, work_s: float, times: int) -> list[dict[str, Any]]:
    """Start and kill the command at random moments, then let it finish; where each life ended.

    Args:
        start_s, work_s: what it takes to begin, and to train undisturbed: lives are long enough to move on by about 3/4
            of the work in all.
    Raises:
        RuntimeError: it came to an end before it had been killed so often, or failed.
    """
    rng = np.random.default_rng(SEED)
    lives: list[dict[str, Any]] = []
    folder = workplace_of(run)
    while len(lives) < times:
        life_s = start_s + float(rng.uniform(0, 1.5 * work_s / times))
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate(timeout=life_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        else:
            raise RuntimeError(f"ended by itself after {len(lives)} kills: {said.decode()[-500:]}")
        finished = sum(1 for _ in folder.glob("folds/*/done.npz"))
        lives.append({"after_s": round(life_s, 2), "folds_finished": finished})
        click.echo(f"kill {len(lives)}: {lives[-1]}", err=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return lives


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
    start_s = _timed([sys.executable, "-c", "import lsd.train.encoder_training, sklearn.model_selection"])
    whole_s = _timed(command(patches, recipe, whole, epochs))
    lives = killed(command(patches, recipe, stopped, epochs), stopped, start_s, whole_s - start_s, times)
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
