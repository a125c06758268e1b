"""The lean side stays lean: what the runtime imports, and what a mere --help costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "lightgbm", "xgboost", "sklearn", "scipy", "matplotlib", "treelite", "tl2cgen", "pandas", "rio_cogeo")
# imported by the backend that uses them, when it is asked for
LAZY = ("onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda", "pycuda")
BLOCKED = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {(*HEAVY, *LAZY)!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
"""


def modules(folder):
    for file in sorted((PROJECT / folder).rglob("*.py")):
        parts = ["lsd", *file.relative_to(PROJECT).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def in_lean_python(code):
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_every_runtime_module_imports_with_numpy_rasterio_and_click_alone():
    names = list(modules("runtime"))
    assert len(names) > 20
    in_lean_python("import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names))


@pytest.mark.parametrize(
    "command",
    ["lsd.train.cli.main", "lsd.export.cli.main", "lsd.runtime.cli.run", "lsd.benchmarks.bench.command"],
)
def test_help_needs_no_heavy_package(command):
    code = f"import sys; sys.argv = ['x', '--help']; from {command} import main; main()"
    assert "Usage:" in in_lean_python(code)


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("runtime", ("lsd.train", "lsd.export", "lsd.benchmarks", *HEAVY)),
        ("train", ("lsd.export", "lsd.benchmarks")),
        ("export", ("lsd.benchmarks",)),
    ],
)
def test_arrows_point_one_way(folder, forbidden):
    for file in (PROJECT / folder).rglob("*.py"):
        for name in imported(file):
            assert not any(name == wrong or name.startswith(f"{wrong}.") for wrong in forbidden), f"{file}: {name}"
