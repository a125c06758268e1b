"""The build itself, in a process of its own: `python -m lsd.export.engines.child REQUEST.json`.

A crash of the builder ends this process only. Beside the request it leaves `builder.log`, then `engine.plan`, and
`result.json` last: what was found, or the error. Stdout carries one JSON line for each phase and step.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from lsd.export.engines.inspect import Inspection, inspect_plan, layers_of_network
from lsd.export.engines.request import EngineRequest, request_from_file
from lsd.runtime.backends.contract import INPUT, OUTPUT
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary, find_library
from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.commit import write_bytes
from lsd.runtime.engine_layers import require_precision, shares
from lsd.runtime.errors import BackendError, BundleError, LsdError

PLAN_NAME, RESULT_NAME, LOG_NAME = "engine.plan", "result.json", "builder.log"
_PATCH = (PATCH_SIZE_PX, PATCH_SIZE_PX)


class _Reporter:
    """Tells the parent about phases and steps; once the parent is gone it stops the build."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._alone = False

    def phase(self, name: str, steps: int) -> None:
        self._tell({"event": "phase", "name": name, "steps": steps})

    def step(self, name: str) -> bool:
        self._tell({"event": "step", "name": name})
        return not self._alone

    def _tell(self, event: dict[str, object]) -> None:
        try:
            self._stream.write(json.dumps(event) + "\n")
            self._stream.flush()
        except OSError:  # called by the library, which must not see an exception
            self._alone = True


def build_plan(
    request: EngineRequest, library: TensorRTLibrary, log: LibraryLog, reporter: _Reporter
) -> tuple[bytes, dict[str, Any]]:
    """Parse, check, build and inspect.

    Returns:
        the plan, and what the report says about it.
    Raises:
        BackendError: the graph cannot be parsed, the plan cannot be built, or not be loaded on the GPU that is here.
        BundleError: the graph has other inputs or outputs than an encoder.
        GateError: it does not have the precision asked for.
    """
    library.refuse_unsupported(request.version_compatible, request.hardware_compatible)
    builder = library.module.Builder(library.logger(log))
    network = library.network(builder)
    bands = _parse(request, library, log, network)
    types = layers_of_network(network)
    require_precision(types, request.precision, request.name)  # the network binds the builder: minutes earlier
    config = builder.create_builder_config()
    library.configure(config, request.memory_limit_mb, request.version_compatible, request.hardware_compatible)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((patches, bands, *_PATCH) for patches in request.batch))
    config.add_optimization_profile(profile)
    timings = _take_timings(request, library, config)
    monitor = library.watch(config, reporter)
    started_s = time.perf_counter()
    built = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - started_s
    del monitor
    if built is None:
        raise BackendError(f"{request.name}: {library.title} cannot build it: {log.last_error()}")
    plan = bytes(built)
    found = inspect_plan(library, plan, types, log, request.precision, request.name, request.version_compatible)
    if request.timing_cache is not None:
        partial = request.timing_cache.with_name(f".{request.timing_cache.name}.partial")
        write_bytes(partial, library.timing_cache(config))
        partial.replace(request.timing_cache)
    return plan, _described(found, seconds, timings, log)


def _described(found: Inspection, seconds: float, timings: str, log: LibraryLog) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "state": found.state,
        "evidence": found.evidence,
        "reason": found.reason,
        "shares": shares(found.layers),
        "layers": [layer.to_json() for layer in found.layers],
        "timing_cache": timings,
        "warnings": log.warnings,
    }


def _parse(request: EngineRequest, library: TensorRTLibrary, log: LibraryLog, network: Any) -> int:
    """Fill the network from the ONNX file; number of bands of its input."""
    parser = library.module.OnnxParser(network, library.logger(log))
    if not parser.parse_from_file(str(request.onnx)):
        reason = (library.parse_errors(parser) or [log.last_error()])[0]
        raise BackendError(
            f"{request.name}: {library.title} cannot parse the graph, {reason}; export the encoder again"
        )
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    found = [(one.name, tuple(one.shape), one.dtype.name) for one in (*inputs, *outputs)]
    bands = int(inputs[0].shape[1]) if len(inputs) == 1 and len(inputs[0].shape) == 4 else 0
    expected = [(INPUT, (-1, bands, *_PATCH), "FLOAT"), (OUTPUT, (-1,), "FLOAT")]
    if bands < 1 or found != expected:
        raise BundleError(
            f"{request.name}: expected input {INPUT} float32 (n, band, 64, 64) and output {OUTPUT} float32 (n,), found "
            f"{found}; export the encoder again"
        )
    return bands


def _take_timings(request: EngineRequest, library: TensorRTLibrary, config: Any) -> str:
    """Attach the timing cache; what the report says about it."""
    if request.timing_cache is None:
        return "none: this library measures no kernels when it builds"
    stored = request.timing_cache.read_bytes() if request.timing_cache.exists() else b""
    if library.attach_timing_cache(config, stored):
        return f"{request.timing_cache.name}: {len(stored)} bytes reused"
    return f"{request.timing_cache.name}: {'refused by the library, ' if stored else ''}begun anew"


def main(arguments: list[str]) -> int:
    """Build what the request file asks for; the exit code is that of the error."""
    path = Path(arguments[0])
    request = request_from_file(path)
    with path.with_name(LOG_NAME).open("a", encoding="utf-8") as lines:

        def write(line: str) -> None:
            try:
                lines.write(line + "\n")
                lines.flush()
            except (OSError, ValueError):  # a full disk shows when the plan is written, on a line of its own
                return

        result: dict[str, Any]
        code = 0
        try:
            plan, result = build_plan(request, find_library(), LibraryLog(write), _Reporter(sys.stdout))
            write_bytes(path.with_name(PLAN_NAME), plan)
        except LsdError as error:
            result, code = {"error": type(error).__name__, "message": str(error)}, error.exit_code
        write_bytes(path.with_name(RESULT_NAME), json.dumps(result).encode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
