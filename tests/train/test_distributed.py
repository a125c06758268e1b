"""Two processes, started by torch's own launcher, give what one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
ALONE = [sys.executable]
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def fitted(launcher: list[str], folder: Path):
    folder.mkdir()
    done = subprocess.run(
        [*launcher, str(TESTS / "data" / "fit_in_processes.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(TESTS / "data"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "found.npz")


@pytest.mark.slow
def test_two_processes_give_the_loss_weights_and_probabilities_of_one(tmp_path):
    one, two = fitted(ALONE, tmp_path / "one"), fitted(TOGETHER, tmp_path / "two")
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)
    np.testing.assert_allclose(two["weight"], one["weight"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(two["p"], one["p"], atol=1e-6)
