"""The commands of the README run, in their order, on small stand-ins for what they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from tables import write_table
from tiles import optical, write_band_folder

from lsd.export.cli.main import main as lsd_export
from lsd.runtime.cli.run import main as lsd_run
from lsd.train.cli.main import main as lsd_train

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = {"lsd-train": lsd_train, "lsd-export": lsd_export, "lsd-run": lsd_run}


def blocks():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_readme_commands_run_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(Path("table.csv"))
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "reference").symlink_to(PROJECT / "bundles" / "reference")
    bands = dict(zip(("B02", "B03", "B04", "B08"), (band[None] for band in optical()), strict=True))
    for folder in ("tiles", "demo/tiles", "downloads"):
        write_band_folder(tmp_path / folder / "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419", bands)
    ran = []
    for line in blocks():
        name, *words = shlex.split(line)
        if name == "make":
            continue
        quick = ["quick" if word in ("default", "partial") else word for word in words]  # seconds instead of minutes
        done = CliRunner().invoke(COMMANDS[name], quick)
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
        ran.append(name)
    assert set(ran) == set(COMMANDS)
    assert (tmp_path / "products" / "summary.json").is_file()
    assert (tmp_path / "event" / "merged" / "merged.json").is_file()
