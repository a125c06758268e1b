"""A Sentinel-2-sized tile through lsd-run: seconds by stage and peak memory of the whole process.

    python -m lsd.benchmarks.whole_tile bundles/reference --size 10980 --folder /tmp/tile
    python -m lsd.benchmarks.whole_tile bundles/reference --layout safe --radar --folder /tmp/tile

The tile is made up (`lsd.benchmarks.whole_tile_input`): it measures reading, statistics, forests, networks and writing,
and says nothing about detections. Files stay in the folder for the next run. With exits, and beside the notebook way:
`lsd.benchmarks.whole_tile_cascade`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from lsd.benchmarks.whole_tile_input import Content, inputs, written
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import UsageError

__all__ = ["main", "measured", "written"]
LAYOUTS = ("folder", "safe")


def measured(bundle: Path, tile: Path, products: Path, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """One run of lsd-run in a process of its own, by its `--json`: patches, seconds by stage, memory.

    Args:
        words: more options of lsd-run.
    Returns:
        patches, those that left early, configurations, seconds by stage (`read` overlaps the others), wall_s, last
        line, and peak_rss_mb: the most memory of any child process so far.
    Raises:
        UsageError: the run failed.
    """
    code = "from lsd.runtime.cli.run import main; main()"
    call = [str(bundle), str(tile), "-o", str(products), "--overwrite", "--json", "--progress", "off", *words]
    begun_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - begun_s
    if done.returncode:
        raise UsageError(f"lsd-run ended with exit code {done.returncode}: {done.stderr.strip() or 'no message'}")
    summary = json.loads(done.stdout)
    (one,) = summary["tiles"]
    return {
        "patches": summary["totals"]["patches"],
        "patches_not_scored": summary["totals"]["not_scored"],
        "patches_left_early": one["counts"].get("exited", 0),
        "configurations": one["configurations"],
        "seconds": summary["totals"]["seconds"],
        "wall_s": round(wall_s, 3),
        "last_line": done.stderr.strip().splitlines()[-1],
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--size", "size_px", default=10_980, show_default=True, help="Width and height of the tile in pixels.")
@click.option("--layout", type=click.Choice(LAYOUTS), default=LAYOUTS[0], show_default=True, help="Of the input.")
@click.option("--radar", is_flag=True, help="With --layout safe: a radar scene before and one after an event, too.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tile and products go.")
def main(bundle: Path, size_px: int, layout: str, radar: bool, folder: Path) -> None:
    """Time lsd-run on a made-up tile; prints JSON."""
    if radar and layout != "safe":
        raise UsageError("--radar needs --layout safe: layout folder holds radar bands already")
    content = Content()
    tile, bands = inputs(folder / str(size_px), layout, radar, size_px, content)
    about = {"size_px": size_px, "layout": f"{layout} and radar" if radar else layout, "bands": bands}
    found = measured(bundle, tile, folder / "products")
    click.echo(json.dumps({**about, "content": content.name, **found, "conditions": facts()}, indent=1))


if __name__ == "__main__":
    main()
