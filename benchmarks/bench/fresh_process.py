"""A process of its own: how long until it answers its first patch, and how much memory it takes at most.

`python -m lsd.benchmarks.bench.fresh_process JSON` is the process; it prints what it measured as JSON on stdout.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsd.runtime.errors import BackendError

BATCHES = 8  # scored after the first patch, until memory grows no more


def first_patch(bundle: Path, options: Any) -> dict[str, Any]:
    """Start a process that opens a bundle as lsd-run does, self-test included, and answers a patch, then batches.

    Files that were read before are in the system's cache: the process is cold, the disk is not. Making the patch is not
    counted.

    Args:
        options: `BenchOptions`.
    Returns:
        {"seconds": {"python and imports", "bundle, chain and self-test", "first patch", "whole"}, "self_test_s": the
        self-test alone, again, warm, "peak_mb": {"opened", "first patch", "batches"} (2**20 bytes, VmHWM of proc(5)) or
        why not, "patches_mb": of these, held by lsd-bench itself}.
    Raises:
        BackendError: the process failed, which this one did not.
    """
    asked = json.dumps({"bundle": str(bundle), "options": asdict(options)})
    begun_s = time.monotonic()  # of the whole system (clock_gettime(2)): the other process reads the same
    done = subprocess.run(
        [sys.executable, "-m", __name__, asked], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BackendError(f"the fresh process ended with exit code {done.returncode}: {_said(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout)
    found["seconds"]["python and imports"] -= begun_s
    found["seconds"]["whole"] = sum(found["seconds"].values())
    return found


def run_tile(bundle: Path, tile: Path, output: Path, words: list[str]) -> dict[str, Any]:
    """lsd-run over one tile in a process of its own.

    Args:
        words: more of its command line.
    Returns:
        {"seconds": by stage, as lsd-run reports them, "whole_s": of the process, "patches": number, "scored": number,
        "peak_mb": 2**20 bytes, VmHWM, or why not}.
    Raises:
        BackendError: lsd-run failed.
    """
    command = [str(bundle), str(tile), "-o", str(output), "--overwrite", "--json", "--progress", "off", *words]
    code = (
        "import sys; from lsd.runtime.cli.run import main\n"
        "try: main(prog_name='lsd-run')\n"
        f"finally: from {__name__} import peak_mb; print('peak', peak_mb(), file=sys.stderr)"
    )
    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    whole_s = time.monotonic() - begun_s
    if done.returncode:
        raise BackendError(f"lsd-run ended with exit code {done.returncode}: {_said(done.stderr)}")
    summary = json.loads(done.stdout)
    peak = re.search(r"^peak ([\d.]+)$", done.stderr, re.MULTILINE)
    totals = summary["totals"]
    return {
        "seconds": summary["tiles"][0]["seconds"],
        "whole_s": whole_s,
        "patches": totals["patches"],
        "scored": totals["patches"] - totals["not_scored"],
        "peak_mb": {"not_measured": "no VmHWM in /proc/self/status"} if peak is None else float(peak[1]),
    }


def peak_mb(status: Path = Path("/proc/self/status")) -> float | None:
    """Peak resident memory of this process since it began to be this program, MB of 2**20 bytes; None: not told.

    getrusage(2) would tell the parent's memory where that was larger when the process was forked.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) / 1024


def _said(stderr: str) -> str:
    """What a process said before it failed, without the frames of a traceback."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith((" ", "Traceback", "peak "))]
    return " ".join(lines) or "no message"


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    from lsd.benchmarks.bench.content import synthetic_patches
    from lsd.benchmarks.bench.options import BenchOptions
    from lsd.benchmarks.bench.subject import Subject, configuration_of
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.cli.serving_of import serving_of
    from lsd.runtime.parity import check_golden

    imported_s = time.monotonic()
    path, options = Path(asked["bundle"]), BenchOptions(**asked["options"])
    serving, _ = serving_of(path, options.run, None)
    opened_s, opened_mb = time.monotonic(), peak_mb()
    configuration = configuration_of(serving.chain.manifest, options.configuration)
    pixels = synthetic_patches(max(options.batch_size, 1), configuration.bands)
    bundle = open_bundle(path, without_encoders=True)
    subject = Subject(bundle, serving.chain, serving.context, configuration, pixels)
    ready_s = time.monotonic()
    subject.query(1)(1)
    answered_s, first_mb = time.monotonic(), peak_mb()
    batches = subject.query(options.batch_size)
    for _ in range(BATCHES):
        batches(options.batch_size)
    batches_mb = peak_mb()
    again_s = time.monotonic()
    check_golden(bundle, serving.chain)
    peaks = {"opened": opened_mb, "first patch": first_mb, "batches": batches_mb}
    return {
        "seconds": {
            "python and imports": imported_s,
            "bundle, chain and self-test": opened_s - imported_s,
            "first patch": answered_s - ready_s,
        },
        "self_test_s": time.monotonic() - again_s,
        "peak_mb": {"not_measured": "no VmHWM in /proc/self/status"} if batches_mb is None else peaks,
        "patches_mb": pixels.nbytes / 2**20,
    }


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
