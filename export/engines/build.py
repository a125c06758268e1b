"""One plan from one ONNX graph: reused if it is there, else built in a child process and put beside its report."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from lsd.export.engines.child import LOG_NAME, PLAN_NAME, RESULT_NAME
from lsd.export.engines.report import EngineReport, expected_s
from lsd.export.engines.request import GRAPH_NAME, EngineRequest
from lsd.runtime import __version__, errors
from lsd.runtime.backends.tensorrt_library import TensorRTLibrary, find_library
from lsd.runtime.commit import prepare_output, write_bytes
from lsd.runtime.engine_file import REPORT_SCHEMA, read_plan, read_report, write_engine
from lsd.runtime.engine_key import EngineKey
from lsd.runtime.errors import BackendError, LsdError
from lsd.runtime.progress import Mode, Progress

CHILD = (sys.executable, "-m", "lsd.export.engines.child")
_REQUEST_NAME = "request.json"
_LAST_LINES = 3


def build_engine(
    request: EngineRequest,
    folder: Path,
    overwrite: bool = False,
    progress: Mode = "off",
    say: Callable[[str], None] = lambda line: None,
    command: Sequence[str] = CHILD,
) -> EngineReport:
    """Build the plan of `request` into `folder`, or reuse the one that is there.

    Args:
        folder: engine cache; plan and report appear in it together or not at all.
        overwrite: build even if the plan is there.
        say: gets a line on what is reused and how long a build is likely to take.
        command: that builds; the path of a request file is added to it.
    Raises:
        BackendError: no TensorRT, it cannot parse or build the graph or lacks an option, or its process died: the
            message names the folder with request, graph, log and the command to repeat.
        BundleError: the graph is no encoder.
        GateError: the plan does not compute in the asked precision.
        OutputError: the folder cannot be written.
    """
    library = find_library()
    library.refuse_unsupported(request.version_compatible, request.hardware_compatible)
    content = request.content()
    key = _key_of(request, library, hashlib.sha256(content).hexdigest())
    prepare_output(folder)
    plan = folder / key.file_name(request.name)
    if not overwrite and (found := _reusable(plan, request, say)) is not None:
        return found
    seconds = expected_s(folder, request.name, library.flavour, request.precision)
    told = "unknown (no earlier build here)" if seconds is None else f"about {seconds:.0f} s, as earlier ones"
    say(f"{request.name}: building for {key}; expected duration: {told}")
    work = Path(tempfile.mkdtemp(prefix=f".{plan.name[:80]}.", dir=folder))
    try:
        _fill(work, request, content, request.timing_cache or _timing_cache(folder, library, key))
        result = _in_child([*command, str(work / _REQUEST_NAME)], work, request.name, plan, progress)
        document = {
            "schema_version": REPORT_SCHEMA,
            "name": request.name,
            "key": asdict(key),
            "options": request.options(),
            **result,
            "lsd_version": __version__,
        }
        write_engine(plan, (work / PLAN_NAME).read_bytes(), document)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return EngineReport(plan, read_report(plan), reused=False)


def _key_of(request: EngineRequest, library: TensorRTLibrary, sha256: str) -> EngineKey:
    version = library.version + "+" * request.version_compatible
    # AMPERE_PLUS: compute capability 8.0 and above
    capability = "sm80+" if request.hardware_compatible else library.target()
    return EngineKey(library.flavour, version, capability, request.precision, request.batch, sha256)


def _timing_cache(folder: Path, library: TensorRTLibrary, key: EngineKey) -> Path | None:
    """Timings hold for one version on one kind of GPU."""
    if not library.has_timing_cache:
        return None
    return folder / f"timings.{library.flavour}-{library.version}.{key.compute_capability}.cache"


def _reusable(plan: Path, request: EngineRequest, say: Callable[[str], None]) -> EngineReport | None:
    if not plan.exists():
        return None
    try:
        read_plan(plan)
        report = read_report(plan)
    except LsdError as error:
        say(f"{request.name}: not reused: {error}")
        return None
    if report.get("options") != request.options():
        say(f"{request.name}: not reused: was built with {report.get('options')}, asked for {request.options()}")
        return None
    say(f"{request.name}: reused {plan.name}; --overwrite builds it again")
    return EngineReport(plan, report, reused=True)


def _fill(work: Path, request: EngineRequest, content: bytes, timing_cache: Path | None) -> None:
    """Everything that the child needs, in one folder."""
    write_bytes(work / GRAPH_NAME, content)
    for name, data in request.external.items():
        write_bytes(work / name, data)
    write_bytes(work / _REQUEST_NAME, request.to_json(timing_cache and timing_cache.resolve()).encode())


def _in_child(command: list[str], work: Path, name: str, plan: Path, progress: Mode) -> dict[str, Any]:
    """Run the child and show its progress; what it found about the plan that it wrote."""
    with (work / LOG_NAME).open("ab") as log, Progress(progress) as shown:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace"
        ) as process:
            try:
                for line in process.stdout or ():
                    _show(line, name, shown)
                code = process.wait()
            finally:
                process.kill()  # does nothing unless this process was interrupted
        if not (work / RESULT_NAME).is_file():
            _crashed(command, work, name, plan, code)
        result: dict[str, Any] = json.loads((work / RESULT_NAME).read_text(encoding="utf-8"))
        if "error" in result:
            raise getattr(errors, result["error"])(result["message"])
    return result


def _show(line: str, name: str, shown: Progress) -> None:
    try:
        event = json.loads(line)
        phase = f"{name}: {event['name']}"
    except (ValueError, KeyError, TypeError):  # a line of the library's own
        return
    shown.advance(1 if event.get("event") == "step" else 0, phase)


def _crashed(command: list[str], work: Path, name: str, plan: Path, code: int) -> NoReturn:
    """Keep the child's folder under a name of its own, with the command to repeat; say how it died."""
    kept = plan.with_name(f"{plan.name}.crashed")
    shutil.rmtree(kept, ignore_errors=True)
    work.rename(kept)
    again = shlex.join([*command[:-1], str(kept / _REQUEST_NAME)])
    write_bytes(kept / "command.txt", (again + "\n").encode())
    how = f"exit code {code}"
    if code < 0:
        how = signal.Signals(-code).name
        how += ", mostly for lack of memory: try --memory-limit-mb" if how == "SIGKILL" else ""
    lines = (kept / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    raise BackendError(
        f"{name}: the builder died ({how}); its last lines: {' | '.join(lines) or 'none'}; to repeat it: {again}"
    )
