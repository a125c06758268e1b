"""Products appear whole or not at all, whatever the disk does."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsd.runtime.commit import folder_name, prepare_output, tile_folder, write_bytes
from lsd.runtime.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_tile_appears_whole_under_its_name(tmp_path: Path):
    with tile_folder(tmp_path, "T33") as folder:
        write_bytes(folder / "a.txt", b"one")
        assert names(tmp_path) == [".T33.partial"]
    assert names(tmp_path) == ["T33"] and (tmp_path / "T33" / "a.txt").read_bytes() == b"one"


@pytest.mark.parametrize("error", [ValueError("bad tile"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_passes_on(tmp_path: Path, error: BaseException):
    with pytest.raises(type(error)), tile_folder(tmp_path, "T33") as folder:
        write_bytes(folder / "a.txt", b"one")
        raise error
    assert names(tmp_path) == []


def test_a_read_error_inside_the_block_is_not_called_a_write_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as caught, tile_folder(tmp_path, "T33"):
        (tmp_path / "absent.tif").read_bytes()
    assert not isinstance(caught.value, OutputError)


def test_products_are_replaced_only_when_asked(tmp_path: Path):
    with tile_folder(tmp_path, "T33") as folder:
        write_bytes(folder / "old", b"old")
    with pytest.raises(OutputError, match="is there already; give --overwrite"), tile_folder(tmp_path, "T33"):
        pytest.fail("the block must not run")
    with tile_folder(tmp_path, "T33", overwrite=True) as folder:
        write_bytes(folder / "new", b"new")
        assert names(tmp_path / "T33") == ["old"]  # still whole while the new ones are written
    assert names(tmp_path) == ["T33"] and names(tmp_path / "T33") == ["new"]


def test_a_failed_replacement_keeps_the_older_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with tile_folder(tmp_path, "T33") as folder:
        write_bytes(folder / "old", b"old")
    rename = Path.rename

    def refuse_new(source: Path, target: Path) -> Path:
        if source.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OutputError, match="Input/output error"), tile_folder(tmp_path, "T33", overwrite=True) as folder:
        write_bytes(folder / "new", b"new")
    assert names(tmp_path) == ["T33"] and names(tmp_path / "T33") == ["old"]


# Ends the process at the k-th rename or rmtree of a replacement, as a power cut would.
KILLED = """
import os, shutil, sys
from pathlib import Path
from lsd.runtime.commit import tile_folder, write_bytes
out, left = Path(sys.argv[1]), int(sys.argv[2])
def counted(call):
    def run(*args, **kwargs):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return call(*args, **kwargs)
    return run
Path.rename, shutil.rmtree = counted(Path.rename), counted(shutil.rmtree)
with tile_folder(out, "T33", overwrite=True) as folder:
    write_bytes(folder / "new", b"new")
"""


@pytest.mark.parametrize("step", range(4))
def test_a_process_that_dies_while_replacing_leaves_old_or_new(tmp_path: Path, step: int):
    with tile_folder(tmp_path, "T33") as folder:
        write_bytes(folder / "old", b"old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(step)], check=False)
    assert ended.returncode == (9 if step < 3 else 0)
    prepare_output(tmp_path)
    assert names(tmp_path / "T33") in ([["old"]] if step < 2 else [["new"]])
    with tile_folder(tmp_path, "T33", overwrite=True) as folder:  # leftovers do not matter
        write_bytes(folder / "newer", b"")
    assert names(tmp_path) == ["T33"] and names(tmp_path / "T33") == ["newer"]


def test_a_full_disk_is_one_line_and_leaves_no_half_tile(tiny_disk: Path):
    prepare_output(tiny_disk)
    with tile_folder(tiny_disk, "first") as folder:
        write_bytes(folder / "a", bytes(50_000))
    with pytest.raises(OutputError) as caught, tile_folder(tiny_disk, "second") as folder:
        write_bytes(folder / "a", bytes(50_000))
        write_bytes(folder / "b", bytes(500_000))
    assert "No space left on device; free space on that disk" in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.errno == errno.ENOSPC
    assert names(tiny_disk) == ["first"] and (tiny_disk / "first" / "a").stat().st_size == 50_000


def test_a_limit_on_file_size_is_an_output_error(tmp_path: Path):
    script = (
        "import resource, sys; from pathlib import Path; from lsd.runtime.commit import tile_folder, write_bytes\n"
        "from lsd.runtime.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with tile_folder(Path(sys.argv[1]), 'T33') as folder: write_bytes(folder / 'a', bytes(5000))\n"
        "except OutputError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "File too large; raise the limit on file size (ulimit -f)" in ran.stdout
    assert names(tmp_path) == []


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_an_output_below_a_file_is_refused(tmp_path: Path, below: str):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=f"cannot write {tmp_path}/{below}: .*; .*choose another folder with -o"):
        prepare_output(tmp_path / below)


def test_an_output_that_takes_no_file_is_refused():
    with pytest.raises(OutputError, match="cannot write /proc"):
        prepare_output(Path("/proc"))


def test_prepare_output_creates_and_leaves_nothing(tmp_path: Path):
    prepare_output(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


@given(st.text(min_size=0, max_size=300))
def test_a_folder_name_never_leaves_the_output_folder(tile_id: str):
    name = folder_name(tile_id)
    assert name and not name.startswith(".") and "/" not in name and "\\" not in name and "\0" not in name
    assert len(f".{name}.partial".encode()) <= 255
    assert name == folder_name(tile_id) and (Path("/out") / name).parent == Path("/out")


def test_changed_names_do_not_collide_and_good_ones_stay():
    assert folder_name("S2A_MSIL2A_20220706T085611_N0400") == "S2A_MSIL2A_20220706T085611_N0400"
    changed = {folder_name(tile_id) for tile_id in ("a/b", "a\\b", "a b", "a_b", "../a", ".a", "..", "")}
    assert len(changed) == 8
    assert folder_name("x" * 400) != folder_name("x" * 401)


def test_ids_that_try_to_escape_stay_inside(tmp_path: Path):
    out = tmp_path / "out"
    prepare_output(out)
    for tile_id in ("../escape", "/etc/passwd", ".hidden"):
        with tile_folder(out, tile_id) as folder:
            write_bytes(folder / "a", b"")
    assert names(tmp_path) == ["out"] and len(names(out)) == 3
