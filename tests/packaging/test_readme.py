"""The commands of the README run, in their order, on small stand-ins for what they name."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from encoder_runs import spread_run
from patch_sets import learnable_pixels, write_tiny_recipe
from tables import write_table
from tiles import ORIGIN, optical, write_band_folder, write_tiff

from lsd.benchmarks.bench.command import main as lsd_bench
from lsd.export import encoder_gate
from lsd.export.cli.main import main as lsd_export
from lsd.runtime.cli.run import main as lsd_run
from lsd.train.cli.main import main as lsd_train

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = {"lsd-train": lsd_train, "lsd-export": lsd_export, "lsd-run": lsd_run, "lsd-bench": lsd_bench}
SCENE = "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419"
QUICK = {  # seconds instead of minutes
    "default": "quick",
    "partial": "quick",
    "small-convnet": "tiny.json",
    "small-vit": "tiny.json",
}
TILE_PX = 512


def blocks():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def write_patches_like(table: Path, folder: Path, prefix: str = "") -> list[tuple[str, int]]:
    """Patches with the IDs and labels of a table."""
    folder.mkdir()
    with table.open(encoding="utf-8", newline="") as lines:
        rows = [(prefix + row["ID"], int(row["label"])) for row in csv.DictReader(lines)]
    pixels, kinds = learnable_pixels(len(rows))
    of_label = {label: iter(np.flatnonzero(np.resize(kinds == label, 4 * len(rows))) % len(rows)) for label in (0, 1)}
    for name, label in rows:
        np.save(folder / f"{name}.npy", pixels[next(of_label[label])].transpose(1, 2, 0))
    return rows


def write_labels(file: Path, header: str, rows) -> None:
    file.write_text("\n".join([header, *(f"{name},{value}" for name, value in rows)]) + "\n", encoding="utf-8")


def write_labelled_tile() -> None:
    """A tile of 64 patches and the outlines of slides in every third of them."""
    write_tiff(Path("labelled") / f"{SCENE}.tif", optical(TILE_PX, TILE_PX), ["blue", "green", "red", "nir"])
    features = []
    for number in range(0, 64, 3):
        x, y = ORIGIN.c + 640 * (number % 8) + 100, ORIGIN.f - 640 * (number // 8) - 100
        ring = [[x, y], [x + 200, y], [x + 200, y - 200], [x, y - 200], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {}, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    Path("slides.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))


def write_stand_ins(tmp_path: Path) -> None:
    table = write_table(Path("table.csv"), 120, seed=1)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "reference").symlink_to(PROJECT / "bundles" / "reference")
    bands = dict(zip(("B02", "B03", "B04", "B08"), (band[None] for band in optical()), strict=True))
    for folder in ("tiles", "demo/tiles", "downloads"):
        write_band_folder(tmp_path / folder / SCENE, bands)
    rows = write_patches_like(table, Path("patches"))
    write_labels(Path("patches/labels.csv"), "ID,label", rows)
    write_labels(Path("their_oof.csv"), "ID,p", [(name, 0.2 + 0.6 * label) for name, label in rows])
    write_labels(Path("new_labels.csv"), "ID,label", write_patches_like(table, Path("new_patches"), "new"))
    write_labelled_tile()
    write_tiny_recipe(Path("tiny.json"), epochs=1)


def test_readme_commands_run_as_written(tmp_path, monkeypatch):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: one command builds an engine")
    monkeypatch.setattr(encoder_gate, "CHECKED_PATCHES", 64)
    monkeypatch.chdir(tmp_path)
    write_stand_ins(tmp_path)
    ran = []
    for line in blocks():
        name, *words = shlex.split(line)
        if name == "make":
            continue
        if words[:2] == ["build", "runs/convnet"]:
            spread_run(Path("runs/convnet"))  # after one epoch it says the same of everything, which the gate refuses
        done = CliRunner().invoke(COMMANDS[name], [QUICK.get(word, word) for word in words])
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
        ran.append(name)
    assert set(ran) == set(COMMANDS)
    assert (tmp_path / "products" / "summary.json").is_file()
    assert (tmp_path / "event" / "merged" / "merged.json").is_file()
    assert (tmp_path / "evaluation" / "report.json").is_file()
    assert json.loads((tmp_path / "surrogates" / "dataset.json").read_text())["synthetic"] is True
