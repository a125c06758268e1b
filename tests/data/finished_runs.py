"""Output folders as runs leave them, with journal, lock and state file but without products; also one in the making."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lsd.runtime.monitoring.state import RunState
from lsd.runtime.monitoring.state_file import StateFile
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import TileBegun, TileEnded
from lsd.runtime.stream.output import STATE_FOLDER, Output

SHA256 = "ab" * 32
STAGES_S = {"read": 0.5, "score": 2.0, "write": 0.25}


def done_tile(tile_id: str, exited: int | None = None) -> TileResult:
    """A tile of 100 patches: 5 slide, 7 look, 78 no slide, 10 not scored (6 cloud, 4 out of range)."""
    counts = {"patches": 100, "slide": 5, "look": 7, "no_slide": 78, "not_scored": 10, "cloud": 6, "out_of_range": 4}
    if exited is not None:
        counts["exited"] = exited
    return TileResult(tile_id, "done", counts, {"all": 60, "optical": 30}, 0.9, 41.0, 37.0, seconds=STAGES_S)


def failed_tile(tile_id: str, error: str = "file is truncated; download it again") -> TileResult:
    """A tile that failed while it was read."""
    return TileResult(tile_id, "failed", error=error, seconds={"read": 0.1})


def write_run(
    out: Path, results: Sequence[TileResult], begun: Sequence[str] = (), exit_code: int | None = 0
) -> RunState:
    """A run of this process that is over; exit_code None: its state file says that it still goes on."""
    state = RunState()
    with Output(out) as output, StateFile(out / STATE_FOLDER, state):
        state.ready("reference", SHA256, {"eva02": "onnxruntime fp32"})
        for result in results:
            output.journal.begin(result.id, result.id, "key", SHA256)
            state(TileBegun(result.id))
            output.journal.end(result.id, result)
            state(TileEnded(result))
        for tile_id in begun:
            output.journal.begin(tile_id, tile_id, "key", SHA256)
            state(TileBegun(tile_id))
        if exit_code is not None:
            state.ended(exit_code)
    return state


_ENDLESS = """
import sys, time
from pathlib import Path
from lsd.runtime.monitoring.state import RunState
from lsd.runtime.monitoring.state_file import StateFile
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import TileBegun, TileEnded
from lsd.runtime.stream.output import STATE_FOLDER, Output

out, state = Path(sys.argv[1]), RunState(watching=True)
with Output(out) as output, StateFile(out / STATE_FOLDER, state, every_s=0.05):
    state.ready("reference", "ab" * 32)
    for number in range(10**9):
        name = f"tile-{number}"
        output.journal.begin(name, name, "key", "ab" * 32)
        state(TileBegun(name))
        result = TileResult(name, "done", {"patches": 1, "slide": 1}, seconds={"read": 0.001})
        output.journal.end(name, result)
        state(TileEnded(result))
        if number == 20:
            print("under way", flush=True)
        time.sleep(0.001)
"""


@contextmanager
def endless_run(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes tile after tile into the journal; killed at the end if it still lives."""
    process = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "under way\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
