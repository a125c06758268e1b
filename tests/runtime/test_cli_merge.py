"""lsd-run merge: exit codes, streams, and the way it hangs beside lsd-run."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from scored_folders import named_tile, random_scores, write_scored
from tiles import truncate

from lsd.runtime.cli.dispatch import RunCommand
from lsd.runtime.cli.merge import merge

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def out(tmp_path):
    rng = np.random.default_rng(3)
    for name, x in (("a", 500_000.0), ("b", 501_000.0)):
        tile = named_tile(name, 200, 150, x=x)
        write_scored(tmp_path / "out", tile, random_scores(tile, 64, rng))
    return tmp_path / "out"


@click.command(cls=RunCommand)
@click.argument("bundle")
@click.argument("sources", nargs=-1, required=True)
def run(bundle: str, sources: tuple[str, ...]) -> None:
    """Stand in for lsd-run."""
    click.echo(f"ran {bundle} on {' '.join(sources)}")


def call(*words: object):
    return CliRunner().invoke(run, [str(word) for word in words])


def test_merge_writes_its_folder_and_says_where(out):
    done = call("merge", out)
    assert (done.exit_code, done.stderr.startswith("DONE | Runtime: "), done.stderr.count("\n")) == (0, True, 1)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tiles 2: detections ") and " km2 unseen; " in lines[1]
    assert lines[2].startswith(f"products: {out / 'merged'}/")
    names = {path.name for path in (out / "merged").iterdir()}
    assert names == {"detections.geojson", "merged.gpkg", "scores.tif", "merged.json"}


def test_json_is_the_summary(out):
    done = call("merge", out, "--json", "-qq")
    assert done.exit_code == 0 and done.stderr == ""
    assert json.loads(done.stdout) == json.loads((out / "merged" / "merged.json").read_text())


def test_again_needs_overwrite_and_changes_no_byte(out):
    assert call("merge", out).exit_code == 0
    before = {path.name: path.read_bytes() for path in (out / "merged").iterdir()}
    refused = call("merge", out)
    assert refused.exit_code == 2 and "give --overwrite" in refused.stderr
    assert call("merge", out, "--overwrite").exit_code == 0
    assert {path.name: path.read_bytes() for path in (out / "merged").iterdir()} == before


def test_another_folder_for_the_products(out, tmp_path):
    assert call("merge", out, "-o", tmp_path / "x" / "joined").exit_code == 0
    assert (tmp_path / "x" / "joined" / "merged.json").is_file() and not (out / "merged").exists()


@pytest.mark.parametrize("place", [".", ".."])
def test_the_tiles_are_never_overwritten(out, place):
    done = call("merge", out, "-o", out / place, "--overwrite")
    assert done.exit_code == 2 and "holds the tiles to merge" in done.stderr
    done = call("merge", out, "-o", out / "a", "--overwrite")
    assert done.exit_code == 2 and "holds no merged.json, so it is not replaced" in done.stderr
    assert (out / "a" / "scores.tif").is_file()


def test_a_tile_that_cannot_be_read_is_exit_code_1(out):
    truncate(out / "b" / "scores.tif", 0.1)
    done = call("merge", out)
    assert done.exit_code == 1 and done.stdout.startswith("tiles 1: ")
    assert "failed: b: " in done.stderr and done.stderr.splitlines()[-1].startswith("1 OF 2 TILES FAILED | ")


def test_what_the_last_run_could_not_score_is_a_line(out):
    (out / "summary.json").write_text(json.dumps({"tiles": [{"id": "z", "status": "failed", "error": "cut short"}]}))
    done = call("merge", out)
    assert done.exit_code == 0 and "look: z: not scored by the last run (cut short)" in done.stderr


def test_no_tiles_is_exit_code_2(tmp_path):
    done = call("merge", tmp_path / "absent")
    assert (done.exit_code, done.stdout) == (2, "") and "is no folder" in done.stderr


def test_lsd_run_keeps_its_own_words():
    assert call("bundle", "merge").stdout == "ran bundle on merge\n"
    assert call("./merge", "tile").stdout == "ran ./merge on tile\n"
    assert call("merge", "--help").stdout.startswith("Usage: run merge [OPTIONS] OUT")
    page = call("--help").stdout
    assert "Commands, in place of BUNDLE:" in page and "Join the tiles that lsd-run wrote" in page
    assert call().exit_code == 2


def test_the_console_script_reads_its_own_arguments(out, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lsd-run", "merge", str(out), "-qq"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("tiles 2: ")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lsd-run", "merge"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2 and "Usage: lsd-run merge [OPTIONS] OUT" in capsys.readouterr().err


def test_the_reference_page_lists_commands_by_first_word(monkeypatch):
    commands = runpy.run_path(str(PROJECT / "docs" / "commands.py"))
    monkeypatch.setitem(commands["COMMANDS"], "lsd-run", run)
    assert dict(commands["every_command"]())["lsd-run merge"] is merge
