"""Start-up: from the start of the process to the help of lsd-run and to the first patch scored, beside bare floors.

Not in turns with other libraries, but with what no Python program can do without: the interpreter, numpy, rasterio.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio
from affine import Affine

from lsd.benchmarks.peers.result import ResultFile, case_of, conditions_of, show
from lsd.benchmarks.peers.turns import TURNS, Work, in_turns
from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.runtime.command import LsdCommand
from lsd.runtime.errors import UsageError

SIDE_PATCHES = 3
WORDS = ("--s2-offset", "present", "--overwrite", "--progress", "off", "-q")
HELP, FIRST = "lsd-run --help", "first patch scored"
FLOORS = {"python": "pass", "import numpy": "import numpy", "import rasterio": "import rasterio"}
_LSD_RUN = "from lsd.runtime.cli.run import main; main()"
# Tells, on stderr, when the first call that scored a patch came back: time.monotonic is one clock for all processes
_FIRST_PATCH = """
import sys, time
from lsd.runtime.chain import Chain
begin = Chain.begin
def first(chain, *words, **more):
    answered = begin(chain, *words, **more)
    sys.stderr.write(f"first {time.monotonic()}\\n")  # in one piece: other threads talk, too
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


def first_patch_s(bundle: Path, tile: Path, folder: Path, options: Sequence[str] = ()) -> float:
    """Seconds from before the start of the process to the first patch scored, the self-test on this machine included.

    Raises:
        UsageError: the run scored nothing.
    """
    words = [str(bundle), str(tile), "-o", str(folder), *WORDS, *options]
    started_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _FIRST_PATCH, *words], capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        if line.startswith("first "):
            return float(line.split()[1]) - started_s
    raise UsageError(f"lsd-run scored no patch: {done.stderr.strip() or 'no message'}")


def measure(bundle: Path, turns: int) -> dict[str, Any]:
    """Everything in turns; microseconds a start."""
    python = [sys.executable, "-c"]
    works = {name: Work(lambda code=code: _run([*python, code]), 1) for name, code in FLOORS.items()}  # type: ignore[misc]
    works[HELP] = Work(lambda: _run([*python, _LSD_RUN, "--help"]), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tile = write_tile(folder / "tile.tif")
        found = case_of(in_turns(works, turns), HELP, {}, {})
        first_patch_s(bundle, tile, folder / "products")
        first = sorted(first_patch_s(bundle, tile, folder / "products") for _ in range(turns))
    found["first_patch_s"] = {"median": first[len(first) // 2], "least": first[0], "most": first[-1], "turns": turns}
    return found


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


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
    click.echo(f"  {FIRST}: {json.dumps(result.cases[case]['first_patch_s'])}")
