"""A run of lsd-run that is killed again and again ends with the products of one that was left alone.

    python -m lsd.benchmarks.run_kills bundles/reference --folder /tmp/kills -o benchmarks/results/run_kills.json

`lsd-run` is started as a process of its own and killed (SIGKILL) after a random time, 200 times over; then it may
finish. The tiles are small and made up: noise that measures nothing but whether a product is lost.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import rasterio
from affine import Affine

from lsd.runtime.bundle import open_bundle
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.sinks.stac import COLLECTION_NAME
from lsd.runtime.stream.journal import JOURNAL_NAME
from lsd.runtime.stream.output import STATE_FOLDER

SEED = 6
LAST_PRODUCT = "item.json"  # what is left after it: forced writes, the rename, the row in the journal
COMMIT_S = 0.015  # about how long that takes
Kind = Literal["any", "at commit", "after commit"]
NATIVE = "rasterio"  # mapped into the process once the slow part of the import has begun
_CODE = "from lsd.runtime.cli.run import main; main()"
_COLUMNS = "folder, key, state, attempts, begun_utc, ended_utc"


@dataclass(frozen=True)
class Row:
    """A tile as the journal has it; times in seconds since 1970, `ended_s` None while it is begun."""

    folder: str
    key: str
    state: str
    attempts: int
    begun_s: float
    ended_s: float | None


@dataclass(frozen=True)
class Pace:
    """What an undisturbed run takes, in seconds of wall time: start to first tile, a tile, and the whole."""

    start_s: float
    tile_s: float
    whole_s: float


def write_tiles(folder: Path, count: int, size_px: int) -> Path:
    """So many optical tiles of noise, each another; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "width": size_px, "height": size_px, "count": 4, "dtype": "uint16"}
    for number in range(count):
        time_of_day = f"{8 + number // 3600:02}{number // 60 % 60:02}{number % 60:02}"
        name = f"S2A_MSIL2A_20220706T{time_of_day}_N0400_R007_T33NZA_20220706T153419.tif"
        pixels = np.random.default_rng(number).integers(1100, 1800, (4, size_px, size_px)).astype(np.uint16)
        place = Affine(10, 0, 500_000 + 10 * size_px * number, 0, -10, 4_600_000)
        with rasterio.open(folder / name, "w", crs="EPSG:32633", transform=place, **profile) as file:
            file.write(pixels)
            file.descriptions = ("red", "green", "blue", "nir")
    return folder


def command(bundle: Path, source: Path, out: Path) -> list[str]:
    """The run, as its user starts it."""
    return [sys.executable, "-c", _CODE, *map(str, (bundle, source, "-o", out, "--progress", "off", "-qq"))]


def rows(out: Path) -> dict[str, Row]:
    """Folder -> what the journal says, read from a copy: opening a journal after a kill would repair it."""
    with tempfile.TemporaryDirectory() as place:
        for name in (JOURNAL_NAME, f"{JOURNAL_NAME}-wal", f"{JOURNAL_NAME}-journal"):
            if (out / STATE_FOLDER / name).exists():
                shutil.copy(out / STATE_FOLDER / name, place)
        with closing(sqlite3.connect(Path(place) / JOURNAL_NAME)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'tiles'").fetchone():
                return {}
            found = database.execute(f"SELECT {_COLUMNS} FROM tiles").fetchall()
    return {
        folder: Row(folder, key, state, attempts, _seconds(begun), None if ended is None else _seconds(ended))
        for folder, key, state, attempts, begun, ended in found
    }


def _seconds(utc: str) -> float:
    return datetime.fromisoformat(utc.replace("Z", "+00:00")).timestamp()


def products(out: Path) -> dict[str, str]:
    """SHA-256 of every file that must not depend on interruptions, by its path in the output."""
    files = [file for file in sorted(out.glob("*/*")) if not file.parent.name.startswith(".")]
    files += [out / COLLECTION_NAME] if (out / COLLECTION_NAME).exists() else []
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def outcome(out: Path) -> dict[str, str]:
    """Products of a run that ended, and its summary without what depends on time and history."""
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    kept = [{key: value for key, value in tile.items() if key != "seconds"} for tile in summary["tiles"]]
    text = json.dumps(sorted(kept, key=lambda tile: str(tile["id"])))
    return {**products(out), "summary.json without timings": hashlib.sha256(text.encode()).hexdigest()}


def undisturbed(words: list[str], out: Path) -> Pace:
    """Let the run finish, and how long its parts took."""
    begun, begun_s = time.time(), time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - begun_s
    known = rows(out).values()
    first_s, last_s = min(row.begun_s for row in known), max(row.ended_s or 0 for row in known)
    return Pace(first_s - begun, (last_s - first_s) / len(known), whole_s)


def where(out: Path, process: int, imported: bool, begun_s: float, tiles: int) -> str:
    """What a process was about when it was killed, from what it left.

    Args:
        process: its id, which the lock names once the output is open.
        imported: whether GDAL was in its memory.
        begun_s: when it was started, in seconds since 1970.
    """
    lock = out / STATE_FOLDER / "lock"
    if not imported:
        return "import"
    if not lock.exists() or not lock.read_text().startswith(f"process {process} "):
        return "import, bundle, self-test"
    known = rows(out)
    for row in known.values():
        if row.state == "begun" and row.begun_s >= begun_s - 0.001:
            partial = out / f".{row.folder}.partial"
            if (out / row.folder).exists():
                return "renamed, not yet in the journal"
            if not partial.exists():
                return "read"
            files = sorted(partial.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            return f"write {files[-1].name.removesuffix('-journal')}" if files else "score"
    done = [row for row in known.values() if row.state == "done"]
    if len(done) == tiles:
        return "summary, collection, page"
    since = any(row.begun_s >= begun_s - 0.001 for row in done)
    return "between tiles" if since else "journal, tiles known from before"


def killed(
    words: list[str], out: Path, times: int, pace: Pace, shares: Mapping[Kind, float], rng: np.random.Generator,
    whole: Mapping[str, str]
) -> list[dict[str, Any]]:  # fmt: skip
    """Start and kill the command at random moments until it has been killed so often or has ended.

    After each kill: what the journal has as done is whole and was not touched again, and no folder is half there.

    Args:
        shares: of the kinds of lives. `any` ends at any moment between its start and, by `pace`, the end of its first
            tile. `at commit` ends within `COMMIT_S` after the last product of a tile was written: rename and commit
            are too short to be hit often by chance. `after commit` ends within two tiles after it committed one.
        whole: outcome of an undisturbed run.
    Returns:
        one record a kill; the last one has `ended` if the run came to its end instead.
    Raises:
        RuntimeError: the run failed by itself.
    """
    lives: list[dict[str, Any]] = []
    before, tiles = _stamps(out), len({name.split("/")[0] for name in whole if "/" in name})
    while len(lives) < times:
        kind = rng.choice(list(shares), p=list(shares.values()))
        longest_s = {"any": pace.start_s + pace.tile_s, "at commit": COMMIT_S, "after commit": 2 * pace.tile_s}[kind]
        begun_s, begun = time.time(), time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and not _is_due(kind, out, begun_s):
            time.sleep(0.001)
        try:
            _, said = process.communicate(timeout=float(rng.uniform(0, longest_s)))
        except subprocess.TimeoutExpired:
            imported = NATIVE in Path(f"/proc/{process.pid}/maps").read_text()
            process.kill()
            process.communicate()
        else:
            if process.returncode:
                raise RuntimeError(f"failed after {len(lives)} kills: {said.decode()[-500:]}")
            return [*lives, {"ended": True, "after_s": round(time.monotonic() - begun, 3)}]
        after_s = time.monotonic() - begun
        after = _stamps(out)
        committed = [row for folder, (row, _) in after.items() if folder not in before]
        lives.append(
            {
                "after_s": round(after_s, 3),
                "kind": str(kind),
                "hit": where(out, process.pid, imported, begun_s, tiles),
                "committed": len(committed),
                "done": len(after),
                "lost_s": round(after_s - sum((row.ended_s or 0) - row.begun_s for row in committed), 3),
                "touched_again": [folder for folder, stamp in before.items() if after.get(folder) != stamp],
                "not_whole": _not_whole(out, after, whole),
            }
        )
        before = after
    return lives


def _is_due(kind: Kind, out: Path, begun_s: float) -> bool:
    """Whether a process that was started at `begun_s` has come to where the last part of its life begins."""
    if kind == "any":
        return True
    places = {"at commit": f".*.partial/{LAST_PRODUCT}", "after commit": f"[!.]*/{LAST_PRODUCT}"}
    for file in out.glob(places[kind]):
        with suppress(FileNotFoundError):  # it was renamed just now
            if file.stat().st_mtime >= begun_s:
                return True
    return False


def _stamps(out: Path) -> dict[str, tuple[Row, int]]:
    """Folder of every tile that is done -> its row in the journal and its folder's number on the disk."""
    done = [row for row in rows(out).values() if row.state == "done"]
    return {row.folder: (row, _inode(out / row.folder)) for row in done}


def _inode(folder: Path) -> int:
    return folder.stat().st_ino if folder.exists() else 0


def _not_whole(out: Path, done: Mapping[str, Any], whole: Mapping[str, str]) -> list[str]:
    """Folders, done or only visible, whose files are not those of the undisturbed run."""
    found = products(out)
    visible = {path.name for path in out.glob("[!.]*") if path.is_dir()}
    return [folder for folder in sorted({*visible, *done}) if _of(folder, found) != _of(folder, whole)]


def _of(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith(f"{folder}/")}


def measured(bundle: Path, source: Path, folder: Path, times: int, pace: Pace, advancing: float) -> dict[str, Any]:
    """Kill runs until there were `times` kills; a run that came to its end is compared and followed by a new one.

    Args:
        folder: gets one output folder a run, beside `whole`, the undisturbed one.
        advancing: share of lives that commit a tile before they are killed, 0..0.6.
    """
    rng = np.random.default_rng(SEED)
    whole = outcome(folder / "whole")
    at_commit = min(0.25, advancing)
    shares: dict[Kind, float] = {"any": 1 - at_commit - advancing, "at commit": at_commit, "after commit": advancing}
    lives: list[dict[str, Any]] = []
    differing: list[str] = []
    run, spent_s = 0, 0.0
    while len(lives) < times:
        run += 1
        out = folder / f"killed-{advancing:g}-{run}"
        words = command(bundle, source, out)
        found = killed(words, out, times - len(lives), pace, shares, rng, whole)
        lives += [{"run": run, **life} for life in found if "ended" not in life]
        spent_s += sum(life["after_s"] for life in found)
        if "ended" not in found[-1]:
            begun_s = time.monotonic()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            spent_s += time.monotonic() - begun_s
        ours = outcome(out)
        differing += [f"run {run}: {name}" for name in sorted({*whole, *ours}) if whole.get(name) != ours.get(name)]
        click.echo(f"run {run}: {len(lives)} kills so far, {len(differing)} files differ", err=True)
    lost = [life["lost_s"] for life in lives]
    return {
        "shares": shares,
        "runs": run,
        "kills": len(lives),
        "files_compared": run * len(whole),
        "files_that_differ": differing,
        "tiles_done_twice": sum(len(life["touched_again"]) for life in lives),
        "tiles_not_whole": sum(len(life["not_whole"]) for life in lives),
        "hit": dict(Counter(life["hit"] for life in lives).most_common()),
        "lives_that_committed": sum(life["committed"] > 0 for life in lives),
        "lost_a_kill_s": {
            "mean": round((spent_s - run * pace.whole_s) / len(lives), 3),  # of wall time, beside undisturbed runs
            "median_of_lives": round(statistics.median(lost), 3),
            "max_of_lives": max(lost),
        },
        "lives": lives,
    }


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tiles and runs go; new.")
@click.option("--tiles", default=20, show_default=True, help="Tiles of a run.")
@click.option("--size", "size_px", default=256, show_default=True, help="Width and height of a tile in pixels.")
@click.option("--times", default=200, show_default=True, help="Number of kills, for each --advancing.")
@click.option(
    "--advancing",
    multiple=True,
    type=click.FloatRange(0, 0.6),
    default=(0.03, 0.5),
    show_default=True,
    help="Share of lives that commit a tile before they are killed; 0.03 spreads 200 kills over a run of 20 tiles.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(
    bundle: Path,
    folder: Path,
    tiles: int,
    size_px: int,
    times: int,
    advancing: tuple[float, ...],
    output: Path,
    commit: str,
) -> None:
    """Compare runs that are killed 200 times with one that is not (a quarter of an hour)."""
    source = write_tiles(folder / "tiles", tiles, size_px)
    pace = undisturbed(command(bundle, source, folder / "whole"), folder / "whole")
    parts = [measured(bundle, source, folder, times, pace, one) for one in advancing]
    result = {
        "conditions": {"commit": commit, **facts(open_bundle(bundle)), "tiles": tiles, "size_px": size_px},
        "undisturbed": {name: round(value, 3) for name, value in asdict(pace).items()},
        "parts": parts,
    }
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    wrong = [name for part in parts for name in part["files_that_differ"]]
    kinds = ("tiles_done_twice", "tiles_not_whole")
    wrong += [f"{part[kind]} {kind}" for part in parts for kind in kinds if part[kind]]
    for part in parts:
        same = part["files_compared"] - len(part["files_that_differ"])
        click.echo(
            f"{part['kills']} kills in {part['runs']} runs; {same} of {part['files_compared']} files identical; "
            f"{part['lost_a_kill_s']['mean']} s lost a kill"
        )
    if wrong:
        click.echo("\n".join(wrong), err=True)
        raise SystemExit(3)


if __name__ == "__main__":
    main()
