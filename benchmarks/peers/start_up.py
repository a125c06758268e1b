"""Start-up: from the start of the process to the help of lsd-run and to the first patch scored, beside bare floors.

Not in turns with other libraries, but with what no Python program can do without: the interpreter, numpy, rasterio.
Bytecode is there, as pip leaves it when it installs a wheel, whatever PYTHONDONTWRITEBYTECODE says here; what the first
patch takes where every module of lsd-edge must be compiled first stands beside.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio
from affine import Affine

import lsd.runtime
from lsd.benchmarks.peers.result import ResultFile, case_of, conditions_of, show
from lsd.benchmarks.peers.turns import TURNS, Work, in_turns
from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import UsageError

SIDE_PATCHES = 3
WORDS = ("--s2-offset", "present", "--overwrite", "--progress", "off", "-q")
HELP, FIRST = "lsd-run --help", "first patch scored"
FIRST_NOT_COMPILED = "first patch scored, lsd.runtime not compiled yet"
FLOORS = {"python": "pass", "import numpy": "import numpy", "import rasterio": "import rasterio"}
_LSD_RUN = "from lsd.runtime.cli.run import main; main()"
# Tells, on stderr, when the first call that scored a patch came back: time.monotonic is one clock for all processes;
# and the processor's time by then
_FIRST_PATCH = """
import sys, time
from lsd.runtime.chain import Chain
begin = Chain.begin
def first(chain, *words, **more):
    answered = begin(chain, *words, **more)
    sys.stderr.write(f"first {time.monotonic()} {time.process_time()}\\n")  # in one piece: other threads talk, too
    Chain.begin = begin
    return answered
Chain.begin = first
from lsd.runtime.cli.run import main
main()
"""


def write_tile(path: Path) -> Path:
    """A GeoTIFF of nine simulated patches, all bands; returns its path."""
    side_px = SIDE_PATCHES * PATCH_SIZE_PX
    patches = simulated_patches(SIDE_PATCHES**2, seed=1).reshape(SIDE_PATCHES, SIDE_PATCHES, -1, *2 * (PATCH_SIZE_PX,))
    pixels = np.ascontiguousarray(patches.transpose(2, 0, 3, 1, 4)).reshape(-1, side_px, side_px)
    profile = {
        "driver": "GTiff", "width": side_px, "height": side_px, "count": len(pixels), "dtype": "float32",
        "crs": "EPSG:32633", "transform": Affine(10, 0, 399_960, 0, -10, 5_300_040),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
        file.descriptions = BAND_NAMES
    return path


@dataclass(frozen=True)
class FirstPatch:
    """wall_s: from before the start of the process to the first patch scored, the self-test on this machine included.
    processor_s: what its threads took by then, together."""

    wall_s: float
    processor_s: float


def with_bytecode(folder: Path) -> dict[str, str]:
    """This environment, where modules are compiled once, into a folder of their own."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder)}


def without_bytecode(compiled: Path, folder: Path) -> dict[str, str]:
    """This environment, where the modules of lsd.runtime must be compiled, every time, and no other.

    Args:
        compiled: bytecode of everything. folder: to be made, a copy without lsd.runtime.
    """
    package = Path(lsd.runtime.__file__).resolve().parent
    shutil.copytree(compiled, folder)
    shutil.rmtree(folder / package.relative_to(package.anchor))
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder)}


def first_patch(
    bundle: Path,
    tile: Path,
    folder: Path,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> FirstPatch:
    """One start of lsd-run.

    Raises:
        UsageError: the run scored nothing.
    """
    words = [str(bundle), str(tile), "-o", str(folder), *WORDS, *options]
    started_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_PATCH, *words], capture_output=True, text=True, check=False, env=environment
    )
    for line in done.stderr.splitlines():
        if line.startswith("first "):
            _, now_s, processor_s = line.split()
            return FirstPatch(float(now_s) - started_s, float(processor_s))
    raise UsageError(f"lsd-run scored no patch: {done.stderr.strip() or 'no message'}")


def measure(bundle: Path, turns: int) -> dict[str, Any]:
    """Everything in turns; microseconds a start, seconds to the first patch."""
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled = with_bytecode(folder / "compiled")
        commands = {**{floor: [*python, code] for floor, code in FLOORS.items()}, HELP: [*python, _LSD_RUN, "--help"]}
        works = {
            key: Work(lambda command=command: _run(command, compiled), 1)  # type: ignore[misc]
            for key, command in commands.items()
        }
        tile = write_tile(folder / "tile.tif")
        first_patch(bundle, tile, folder / "products", environment=compiled)
        found = case_of(in_turns(works, turns), HELP, {}, {})
        environments = {FIRST: compiled, FIRST_NOT_COMPILED: without_bytecode(folder / "compiled", folder / "others")}
        starts: dict[str, list[FirstPatch]] = {key: [] for key in environments}
        for _ in range(turns):
            for key, environment in environments.items():
                starts[key].append(first_patch(bundle, tile, folder / "products", environment=environment))
    for key, ones in starts.items():
        found[key] = {
            "wall_s": _spread([one.wall_s for one in ones]),
            "processor_s": _spread([one.processor_s for one in ones]),
            "turns": turns,
        }
    return found


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)


@click.command(cls=LsdCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
@click.option("--bundle", default=Path("bundles/reference"), show_default=True, type=click.Path(path_type=Path))
@click.option("--turns", default=TURNS, show_default=True, help="Starts of each.")
def start_up(output: Path, commit: str, bundle: Path, turns: int) -> None:
    """Time the start of lsd-run (half a minute)."""
    result = ResultFile(output, conditions_of(commit, turns=turns, bundle=bundle.name, patches=SIDE_PATCHES**2))
    case = "start"
    if not result.has(case):
        result.put(case, measure(bundle, turns))
    show(case, result.cases[case])
    for name in (FIRST, FIRST_NOT_COMPILED):
        click.echo(f"  {name}: {json.dumps(result.cases[case][name])}")
