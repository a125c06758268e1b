"""Treelite-compiled C of a forest through TL2cgen, built with the system's compilers (`lsd-export build --with-c`)."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lsd.runtime.errors import BackendError

# machine as platform.machine() names it -> its cross compiler (Debian package gcc-aarch64-linux-gnu)
CROSS_COMPILERS = {"x86_64": "x86_64-linux-gnu-gcc", "aarch64": "aarch64-linux-gnu-gcc"}
TREES_PER_SOURCE_FILE = 100  # 12,000 trees in one file take gcc minutes and gigabytes


def compiler_for(machine: str) -> str:
    """Path of the C compiler that builds for `machine`; the native one where it is this machine.

    Raises:
        BackendError: it is not installed (the message names the package), or the machine is not supported.
    """
    if machine not in CROSS_COMPILERS:
        raise BackendError(f"cannot compile for {machine!r}, known machines: {', '.join(CROSS_COMPILERS)}")
    name = "gcc" if machine == platform.machine() else CROSS_COMPILERS[machine]
    found = shutil.which(name)
    if found is None:
        package = "gcc" if name == "gcc" else f"gcc-{machine.replace('_', '-')}-linux-gnu"
        raise BackendError(f"--with-c for {machine} needs {name}: apt-get install {package}")
    return found


def generate_c(model: Any, folder: Path) -> list[Path]:
    """C sources of a Treelite model, written by TL2cgen.

    Args:
        model: treelite.Model.
        folder: where main.c, header.h and the split translation units go; must exist.
    Returns:
        the .c files, sorted.
    Raises:
        BackendError: TL2cgen is not installed.
    """
    try:
        import tl2cgen
    except ImportError as error:
        raise BackendError("--with-c needs TL2cgen (x86-64 only): pip install 'lsd-edge[c]'") from error
    parts = max(1, model.num_tree // TREES_PER_SOURCE_FILE)
    tl2cgen.generate_c_code(model, dirpath=str(folder), params={"parallel_comp": parts} if parts > 1 else {})
    return sorted(folder.glob("*.c"))


def compile_c(sources: list[Path], machine: str, output: Path, shared: bool = True) -> None:
    """Build sources for `machine`: a shared library, or a static program (to run under an emulator).

    Floating-point contraction is off: a fused multiply-add would round differently on aarch64.

    Raises:
        BackendError: no compiler, or it failed.
    """
    kind = ["-shared", "-fPIC"] if shared else ["-static"]
    command = [compiler_for(machine), "-O2", "-ffp-contract=off", *kind, "-o", str(output), *map(str, sources), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(f"{Path(command[0]).name} failed for {machine}: {(done.stderr.splitlines() or ['?'])[0]}")


def compiled_forests(model: Any, machines: tuple[str, ...]) -> dict[str, bytes]:
    """machine -> shared library of the forest; raises as `generate_c` and `compile_c`."""
    for machine in machines:
        compiler_for(machine)  # before the minutes of work
    with tempfile.TemporaryDirectory(prefix="lsd-c-") as name:
        folder = Path(name)
        sources = generate_c(model, folder)
        libraries = {}
        for machine in machines:
            compile_c(sources, machine, folder / f"{machine}.so")
            libraries[machine] = (folder / f"{machine}.so").read_bytes()
        return libraries
