"""What the end-to-end tests of lsd-run share: a bundle on disk, a good tile, a tiny disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiles import L2A_NEW, optical, write_tiff

from bundles import random_bundle, write


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random forests for all bands and for optical; read-only."""
    return write(random_bundle(), tmp_path_factory.mktemp("bundles") / "random")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A source with one optical tile of 80 x 96 px that works."""
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    return tmp_path / "in"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a small tmpfs here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
