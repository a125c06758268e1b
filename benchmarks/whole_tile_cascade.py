"""A whole tile with a cascade bundle, forests alone, and the notebook way beside it on a sample: one run, one machine.

    python -m lsd.benchmarks.whole_tile_cascade runs/bundle-cascade --forests bundles/reference \
        --notebook runs/cascade-ensemble --patches runs/surrogates --folder /tmp/tile -o result.json

The content is made up, so that times count while answers and shares of exits mean nothing. Each way is written to the
JSON when it is done; given again with the same commit, machine, bundles and tile, the command goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from lsd.benchmarks.notebook_way import BATCH, Notebook, timed
from lsd.benchmarks.whole_tile import measured
from lsd.benchmarks.whole_tile_input import Content, inputs
from lsd.runtime.bands import BAND_NAMES, PATCH_SIZE_PX
from lsd.runtime.bundle import Bundle, open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.command import LsdCommand
from lsd.runtime.commit import write_bytes
from lsd.runtime.doctor import facts
from lsd.runtime.errors import GateError, UsageError
from lsd.runtime.exits import CERTIFIED, OFF
from lsd.runtime.patches import PatchGrid

NOTE = "SYNTHETIC content: the times count; answers, and shares of patches that leave, say nothing about real ground"
LARGEST_DIFFERENCE = 1e-4  # of probabilities, between the chain and the notebook way without flips: float32 networks


def exit_words(bundle: Bundle, asked: str, content: Content) -> str:
    """What lsd-run is given for `off`, `certified`, `LO,HI`, or `N%`: limits that N % of the content's patches pass.

    Raises:
        UsageError: no such share, or no configuration of the bundle has an exit.
    """
    if not asked.endswith("%"):
        return asked
    try:
        share = float(asked[:-1]) / 100
    except ValueError:
        share = -1.0
    with_exit = [one for one in bundle.manifest.configurations if one.exit is not None]
    if not 0 < share < 1 or not with_exit:
        raise UsageError(
            f"exit {asked!r}: expected a share above 0 % and below 100 %, and a bundle with exits (lsd-train cascade); "
            f"{bundle.manifest.name!r} has {len(with_exit)} configurations with one"
        )
    chain, (configuration, *_) = Chain(bundle, opened={}), with_exit
    exit = chain.exits[configuration.name]
    (part,) = (one for one in configuration.parts if one.name == exit.part)
    rows = chain.features(configuration, content.patches, BAND_NAMES, part.members)
    margins = {member: chain.forests[member].margins(rows[member]) for member in part.members}
    p = chain.first_probability(configuration, exit, margins)
    low = min(float(np.quantile(np.minimum(p, 1.0 - p), share)), 0.5)
    return f"{low!r},{1.0 - low!r}"


def by_stage(bundle: Bundle, found: dict[str, Any]) -> dict[str, Any]:
    """The result of one run with patches by who answered them, and microseconds a patch."""
    patches, left, dark = (found.pop(key) for key in ("patches", "patches_left_early", "patches_not_scored"))
    asked = {one.name for one in bundle.manifest.configurations if set(one.members) & set(bundle.manifest.encoders)}
    with_networks = sum(count for name, count in found["configurations"].items() if name in asked)
    stages = {
        "left_at_the_forest": left,
        "networks_asked": with_networks - left,
        "forests_alone": patches - dark - with_networks,
        "not_scored": dark,
    }
    seconds = {**found["seconds"], "wall": found["wall_s"]}
    us = {stage: round(1e6 * value / patches, 1) for stage, value in seconds.items()}
    return {"patches": patches, "patches_by_stage": stages, **found, "microseconds_a_patch": us}


def notebook_way(run: Path, bundle: Bundle, content: Content, sample: int, patches: int) -> dict[str, Any]:
    """Times of the notebook way on a sample, and a tile of so many patches at this rate.

    Raises:
        GateError: without flips it does not say what the bundle says, so that the two are not comparable.
    """
    import torch

    chosen = content.patches[np.linspace(0, len(content.patches) - 1, sample, dtype=int)]
    notebook = Notebook(run)
    found = timed(notebook, chosen)
    chain = Chain(bundle, exits=OFF)
    (configuration,) = (one for one in bundle.manifest.configurations if one.name == notebook.ensemble.configuration)
    rows = chain.features(configuration, chosen, BAND_NAMES)
    margins = {member: chain.forests[member].margins(values) for member, values in rows.items()}
    ours = chain.probabilities(configuration, margins, chain.encoded(configuration, chosen, BAND_NAMES))
    difference = float(np.abs(ours - found.one_view).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise GateError(
            f"{run} and the bundle differ by {difference:.3g} (at most {LARGEST_DIFFERENCE:g}): give the ensemble that "
            "the bundle was made of"
        )
    return {
        "sample": sample,
        "turns": sample // BATCH,
        "threads": torch.get_num_threads(),
        "largest_difference_without_flips": difference,
        "note": "not counted: reading, cutting, loading models; four flips, which the bundle does without",
        **found.to_json(patches),
    }


class Results:
    """The JSON file, written after every way; what an earlier try of the same kind left is kept."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.document: dict[str, Any] = {"note": NOTE, **about, "ways": {}}
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if {key: before.get(key) for key in about} == json.loads(json.dumps(about)):
                self.document = before

    def lacks(self, way: str) -> bool:
        """Whether it is still to be measured."""
        return way not in self.document["ways"]

    def add(self, way: str, found: dict[str, Any]) -> None:
        """Take it in."""
        self.document["ways"][way] = found
        write_bytes(self.path, (json.dumps(self.document, indent=1, allow_nan=False) + "\n").encode())


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--forests", type=click.Path(path_type=Path), help="Bundle of forests alone, for one more way.")
@click.option("--notebook", type=click.Path(path_type=Path), help="Ensemble's run of BUNDLE, for the notebook way.")
@click.option("--sample", default=64, show_default=True, help=f"Patches of it, a multiple of {BATCH}.")
@click.option(
    "--exit", "exits", multiple=True, default=(CERTIFIED, "85%"), show_default=True,
    help="As for lsd-run, or N%: limits that N % of the made-up patches pass. May be given again.",
)  # fmt: skip
@click.option(
    "--patches", type=click.Path(path_type=Path), help="Made-up patches (lsd-train surrogate).  [default: simulated]"
)
@click.option("--size", "size_px", default=10_980, show_default=True, help="Width and height of the tile in pixels.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tile and products go.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--commit", default="not stated", help="Commit that is measured, for the record.")
def main(
    bundle: Path,
    forests: Path | None,
    notebook: Path | None,
    sample: int,
    exits: tuple[str, ...],
    patches: Path | None,
    size_px: int,
    folder: Path,
    output: Path,
    commit: str,
) -> None:
    """Time lsd-run by exit on a made-up tile, and the notebook way on a sample of its patches."""
    if sample < BATCH or sample % BATCH:
        raise UsageError(f"--sample must be a multiple of {BATCH}, is {sample}")
    content, opened = Content(patches), open_bundle(bundle)
    tile, _ = inputs(folder / str(size_px), "folder", False, size_px, content)
    about: dict[str, Any] = {
        "conditions": {"commit": commit, **facts()},
        "tile": {"size_px": size_px, "content": content.name},
        "bundle": {"name": opened.manifest.name, "sha256": opened.sha256},
    }
    results = Results(output, about)
    if forests is not None and results.lacks("forests alone"):
        results.add("forests alone", by_stage(open_bundle(forests), measured(forests, tile, folder / "products")))
    for asked in exits:
        if results.lacks(f"exit {asked}"):
            words = exit_words(opened, asked, content)
            found = by_stage(opened, measured(bundle, tile, folder / "products", ("--exit", words)))
            results.add(f"exit {asked}", {"exit": words, **found})
    if notebook is not None and results.lacks("notebook"):
        grid = PatchGrid(size_px, size_px, PATCH_SIZE_PX)
        results.add("notebook", notebook_way(notebook, opened, content, sample, grid.rows * grid.columns))
    click.echo(_table(results.document["ways"]))


def _table(ways: dict[str, Any]) -> str:
    """One line a way."""
    lines = [f"{'way':<16} {'wall s':>8} {'us a patch':>11}  stages"]
    for way, found in ways.items():
        if way == "notebook":
            seconds, us = found["extrapolated_seconds"], found["microseconds_a_patch_all"]
            stages = {stage: one["mean"] for stage, one in found["microseconds_a_patch"].items()}
            lines.append(f"{way:<16} {seconds['mean']:>8} {us['mean']:>11}  extrapolated; us a patch: {stages}")
        else:
            us = found["microseconds_a_patch"]
            lines.append(f"{way:<16} {found['wall_s']:>8} {us['wall']:>11}  {found['patches_by_stage']}, us: {us}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
