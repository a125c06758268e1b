"""The native library (runtime/native/*.c), which setup.cfg cannot declare; docs/native.md explains how it is built.

CC chooses the compiler, a cross compiler too: `CC=aarch64-linux-gnu-gcc python -m build --wheel`. `CC=` builds without
the library, as happens where there is no compiler; numpy does the work then. `python setup.py build_native` rebuilds in
place, for an editable install.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

SOURCES = Path(__file__).resolve().parent / "runtime" / "native"
LIBRARY, RECORD = "liblsd_native.so", "library.json"
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-pthread")


@cache
def built() -> dict[str, bytes]:
    """File name -> content: the library and its record, or a record that says why there is no library.

    Raises:
        SystemExit: the compiler that CC names does not do it.
    """
    asked = os.environ.get("CC")
    if asked == "":
        return _without("built with an empty CC, that is without")
    compiler = shlex.split(asked or "cc")
    try:
        return _compiled(compiler)
    except FileNotFoundError:
        reason = f"there is no C compiler {compiler[0]!r} here"
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = f"{compiler[0]} did not compile it: {next((line for line in said if 'error' in line), said[-1])}"
    if asked:
        sys.exit(f"CC={asked}: {reason}")
    return _without(reason)


def _compiled(compiler: list[str]) -> dict[str, bytes]:
    code = sorted(path.name for path in SOURCES.glob("*.c"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / LIBRARY
        _said_by([*compiler, *FLAGS, "-o", str(file), *code, "-lm"])
        content = file.read_bytes()
    record = {
        "file": LIBRARY,
        "sha256": _sha256(content),
        "machine": _said_by([*compiler, "-dumpmachine"]).split("-")[0],  # as platform.machine() says there
        "compiler": _said_by([*compiler, "--version"]).splitlines()[0],
        "flags": list(FLAGS),
        "sources": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(SOURCES.glob("*.[ch]"))
        },
    }
    return {LIBRARY: content, RECORD: _as_json(record)}


def _without(reason: str) -> dict[str, bytes]:
    print(f"lsd-edge: no native library ({reason}); numpy will do its work", file=sys.stderr)
    return {RECORD: _as_json({"file": None, "reason": reason})}


def _said_by(command: list[str]) -> str:
    return subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=True).stdout.strip()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _as_json(record: dict[str, object]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def _write(folder: Path) -> None:
    """Put the files there, each whole or not at all: a process may have the old library open."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (LIBRARY, RECORD):
        (folder / name).unlink(missing_ok=True)
    for name, content in built().items():
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").replace(folder / name)


class BuildNative(Command):
    """Compile in place, into runtime/native."""

    description = "compile the native library in place"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012

    def initialize_options(self) -> None:
        """No options."""

    def finalize_options(self) -> None:
        """No options."""

    def run(self) -> None:
        """Compile and write; where that fails the old library stays."""
        if LIBRARY not in built():
            sys.exit(1)
        _write(SOURCES)
        print(f"runtime/native: {', '.join(built())}")


class BuildPython(build_py):
    """`build_py`, and the library beside the modules: in place for an editable install."""

    def run(self) -> None:
        """Copy the modules, then write the library."""
        super().run()
        _write(SOURCES if self.editable_mode else self._folder)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The files written."""
        mine = [] if self.editable_mode else [str(self._folder / name) for name in built()]
        return [*super().get_outputs(include_bytecode), *mine]

    @property
    def _folder(self) -> Path:
        return Path(self.build_lib) / "lsd" / "runtime" / "native"


class Wheel(bdist_wheel):
    """Any Python 3, on the machine that the library is for; on any machine without one."""

    def get_tag(self) -> tuple[str, str, str]:
        """`py3-none-PLATFORM`, or `py3-none-any`."""
        if LIBRARY not in built():
            return "py3", "none", "any"
        here, machine = platform.machine(), json.loads(built()[RECORD])["machine"]
        return "py3", "none", super().get_tag()[2].replace(here, machine)


class WithNative(Distribution):
    """A distribution that is not pure Python if it holds the library."""

    def has_ext_modules(self) -> bool:
        """True if the library is in it; nothing is compiled where only names and sources are wanted."""
        return not {"sdist", "egg_info", "dist_info"} & set(self.commands) and LIBRARY in built()


setup(distclass=WithNative, cmdclass={"build_native": BuildNative, "build_py": BuildPython, "bdist_wheel": Wheel})
