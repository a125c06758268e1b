"""A bundle with Treelite-compiled C beside the tables: proved by verify, used by lsd-run when asked for."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest
import rasterio
from commands import files, invoke
from tiles import L2A_NEW, optical, write_tiff

from lsd.export.cli.main import main as lsd_export
from lsd.runtime.cli.run import main as lsd_run

MACHINE = platform.machine()
pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def compiled(build, need_tool, tmp_path_factory):
    need_tool("gcc")
    out = tmp_path_factory.mktemp("compiled") / "tiny"
    done = build(out, "--with-c", MACHINE)
    assert done.code == 0 and "compiled C against lightgbm" in done.out, done
    return out


def test_the_libraries_are_in_the_bundle_and_it_is_the_same_each_time(build, bundle, compiled, tmp_path):
    found = files(compiled)
    libraries = {name for name in found if name.endswith(f".{MACHINE}.so")}
    assert len(libraries) == 4
    same = set(files(bundle)) - {"manifest.json", "certificate.json", "stac-item.json"}
    assert {name: found[name] for name in same} == {name: files(bundle)[name] for name in same}
    assert build(tmp_path / "tiny", "--with-c", MACHINE).code == 0
    assert files(tmp_path / "tiny") == found


def test_verify_with_the_compiled_backend(compiled):
    done = invoke(lsd_export, "verify", compiled, "--backend", "compiled", "--json")
    stages = json.loads(done.out)
    assert done.code == 0 and all(stage["passed"] for stage in stages)
    margins = [stage for stage in stages if stage["stage"].startswith("margins")]
    assert len(margins) == 4 and {stage["tolerance"] for stage in margins} == {1e-4}


def test_a_run_with_the_compiled_backend_gives_the_same_products(compiled, tmp_path):
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(300, 200), ["red", "green", "blue", "nir"])
    found = {}
    for backend in ("table", "compiled"):
        out = tmp_path / backend
        ran = invoke(lsd_run, compiled, tmp_path / "in", "-o", out, "--backend", backend, "--stride", 32)
        assert ran.code == 0, ran.err
        assert json.loads((out / "summary.json").read_text())["options"]["backend"] == backend
        with rasterio.open(out / L2A_NEW / "scores.tif") as scores:
            found[backend] = scores.read()
    probability = 0  # generated XGBoost code adds float32 leaves in another order: the last bits may differ
    np.testing.assert_allclose(found["table"][probability], found["compiled"][probability], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["table"][1:], found["compiled"][1:])


def test_a_library_of_a_changed_byte_is_never_loaded(compiled, tmp_path, monkeypatch):
    for name, data in files(compiled).items():
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if name.endswith(".so") else data)
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("was loaded"))
    done = invoke(lsd_export, "verify", tmp_path / "b", "--backend", "compiled")
    assert done.code == 2 and ".so was changed since export" in done.error


def test_what_is_not_there_is_said(bundle, tmp_path):
    (tmp_path / "in").mkdir()
    for done in (
        invoke(lsd_export, "verify", bundle, "--backend", "compiled"),
        invoke(lsd_run, bundle, tmp_path / "in", "-o", tmp_path / "out", "--backend", "compiled"),
    ):
        assert done.code == 2 and f"holds no compiled forest of 'all-boosted' for {MACHINE} (found: none)" in done.error
        assert "use --backend table, or export with lsd-export build --with-c" in done.error


def test_an_unknown_machine_is_refused_before_any_work(build, tmp_path):
    done = build(tmp_path / "b", "--with-c", "riscv64")
    assert done.code == 2 and "cannot compile for 'riscv64', known machines: x86_64, aarch64" in done.error
    assert list(tmp_path.iterdir()) == []
