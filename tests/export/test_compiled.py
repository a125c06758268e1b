"""Treelite-compiled C: built for this machine and, run under qemu, for aarch64."""

from __future__ import annotations

import platform
import subprocess

import lightgbm
import numpy as np
import pytest
import xgboost

from lsd.export.adversarial import adversarial_rows
from lsd.export.compile_c import compile_c, compiled_forests, generate_c
from lsd.export.forest_from_treelite import forest_from_file, treelite_from_file
from lsd.runtime.errors import BackendError
from lsd.runtime.forest.compiled import CompiledForest
from lsd.runtime.forest.walk import TableWalk

MACHINE = platform.machine()
DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include "header.h"
/* stdin: rows of entries as the runtime lays them out; stdout: one margin a row */
int main(int argc, char** argv) {
  size_t n = strtoul(argv[1], NULL, 10);
  union Entry* row = malloc(n * sizeof *row);
  while (fread(row, sizeof *row, n, stdin) == n) {
    REAL margin = 0;
    predict(row, 1, &margin);
    fwrite(&margin, sizeof margin, 1, stdout);
  }
  return 0;
}
"""


@pytest.fixture(scope="module", params=["lightgbm", "xgboost"])
def trained(request, tmp_path_factory):
    """(library, model file, adversarial float32 rows)"""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 8)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.5).astype(int)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lightgbm":
        path = folder / "forest.txt"
        settings = {"objective": "binary", "num_leaves": 24, "verbose": -1, "num_threads": 1}
        lightgbm.train(settings, lightgbm.Dataset(rows, labels), 40).save_model(path)
    else:
        path = folder / "forest.ubj"
        settings = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1}
        xgboost.train(settings, xgboost.DMatrix(rows, labels), 40).save_model(path)
    hard = adversarial_rows(forest_from_file(path, request.param), rows, 800, 1)
    return request.param, path, hard


@pytest.mark.compiler
def test_compiled_for_this_machine_equals_the_table(trained, need_tool):
    need_tool("gcc")
    library, path, hard = trained
    code = compiled_forests(treelite_from_file(path, library), (MACHINE,))[MACHINE]
    found = CompiledForest(code, library, "forest").margins(hard)
    table = TableWalk(forest_from_file(path, library)).margins(hard)
    if library == "lightgbm":
        np.testing.assert_array_equal(found, table)
    else:  # generated code adds float32 leaves in another order
        np.testing.assert_allclose(found, table, rtol=0, atol=1e-5)


@pytest.mark.qemu
def test_cross_compiled_for_aarch64_gives_the_same_bits_under_qemu(trained, need_tool, tmp_path):
    qemu = need_tool("qemu-aarch64")
    need_tool("aarch64-linux-gnu-gcc")
    need_tool("gcc")
    library, path, hard = trained
    hard = np.where(np.abs(hard) <= 1e-35, np.float32(0), hard)
    value = np.float64 if library == "lightgbm" else np.float32
    entries = hard.astype(value)
    entries.view(np.int64 if value is np.float64 else np.int32)[np.isnan(entries)] = -1
    driver = tmp_path / "driver.c"
    sources = generate_c(treelite_from_file(path, library), tmp_path)
    driver.write_text(DRIVER.replace("REAL", "double" if library == "lightgbm" else "float"))
    margins = {}
    for machine, prefix in ((MACHINE, []), ("aarch64", [qemu])):
        program = tmp_path / machine
        compile_c([driver, *(source for source in sources if source != driver)], machine, program, shared=False)
        done = subprocess.run(
            [*prefix, program, str(hard.shape[1])], input=entries.tobytes(), capture_output=True, check=True
        )
        margins[machine] = np.frombuffer(done.stdout, value)
    assert len(margins["aarch64"]) == len(hard)
    np.testing.assert_array_equal(margins["aarch64"], margins[MACHINE])


@pytest.mark.compiler
def test_float32_features_avoid_the_doubles_that_generated_code_takes_for_missing(need_tool, tmp_path):
    """TL2cgen reads a double whose low 32 bits are all ones as missing. No float32 value, widened, has such bits."""
    need_tool("gcc")
    rows = np.linspace(0.1, 0.9, 400)[:, None]
    labels = (rows[:, 0] > 0.5).astype(int)
    rows[:80], labels[:80] = np.nan, 1  # missing means positive, small values mean negative
    settings = {"objective": "binary", "num_leaves": 4, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), 5)
    booster.save_model(tmp_path / "forest.txt")
    code = compiled_forests(treelite_from_file(tmp_path / "forest.txt", "lightgbm"), (MACHINE,))[MACHINE]
    compiled = CompiledForest(code, "lightgbm", "forest")
    unlucky = np.array([[0.3]])
    unlucky.view(np.uint64)[:] |= 0xFFFFFFFF

    result = np.zeros(1)
    compiled._predict(unlucky.ctypes.data, 1, result.ctypes.data)
    assert result[0] != booster.predict(unlucky, raw_score=True)[0], "the defect is gone: simplify compiled.py"
    lucky = unlucky.astype(np.float32)
    np.testing.assert_array_equal(compiled.margins(lucky), booster.predict(lucky, raw_score=True))

    bits = np.random.default_rng(1).integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    widened = values[np.isfinite(values)].astype(np.float64)
    assert ((widened.view(np.uint64) & 0x1FFFFFFF) == 0).all()  # 29 mantissa bits that a float32 does not have


def test_a_library_that_is_none_is_refused():
    with pytest.raises(BackendError, match=r"forests/x\.so cannot be loaded on this"):
        CompiledForest(b"not a library", "lightgbm", "forests/x.so")


def test_unknown_machine_is_refused(trained):
    with pytest.raises(BackendError, match="cannot compile for 'riscv64'"):
        compiled_forests(None, ("riscv64",))
