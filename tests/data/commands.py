"""Run a command of the project as its user would: in this process, or in one of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

MODULES = {"lsd-run": "lsd.runtime.cli.run", "lsd-export": "lsd.export.cli.main", "lsd-train": "lsd.train.cli.main"}


@dataclass(frozen=True)
class Outcome:
    """Exit code and text of a command that ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.err
        return line


def invoke(command: click.Command, *arguments: Any) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            command.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def start(name: str, *arguments: Any, before: str = "") -> subprocess.Popen[str]:
    """Start a command in a process of its own; `before` is Python that runs there first."""
    script = f"{before}\nfrom {MODULES[name]} import main\nmain(prog_name={name!r})"
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a command started before."""
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def files(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file below a folder, hidden ones included, but for the notes of lsd-run."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(folder) for path in found}
    return {str(name): path.read_bytes() for path, name in names.items() if ".lsd-run" not in name.parts}
