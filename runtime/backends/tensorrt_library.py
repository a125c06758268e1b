"""TensorRT or TensorRT-RTX, whichever is installed: the one place for what differs between their versions.

TensorRT 10.x (the 10.3 of JetPack 6 included) and 11.x are the module `tensorrt`, TensorRT-RTX is `tensorrt_rtx`. All
are driven the same way: a strongly typed network whose precision lives in the ONNX graph. Imported only when asked for.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lsd.runtime.errors import BackendError

Flavour = Literal["tensorrt", "tensorrt-rtx"]

MODULES: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # in the order of preference
# tensors by name, strongly typed networks and parser errors that name their node: all there since these versions
OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (10, 0), "tensorrt-rtx": (1, 0)}
ANY_GPU = "any"
_INSTALL = (
    "install one: pip install tensorrt-rtx (RTX GPUs, and building without a GPU) or pip install tensorrt (servers); "
    "on a Jetson it comes with JetPack: make the environment with --system-site-packages"
)
# CUresult cuDeviceGetAttribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


class LibraryLog:
    """What the library said while it parsed, built or loaded. Safe from its threads: each line is one append.

    warnings: all of them, in order. errors: the last twenty. listing: layers of the engine as the builder lists them at
    its most verbose level (TensorRT-RTX does, without a GPU), else empty.
    """

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        """`write` gets each line from INFO up, for a log file."""
        self.warnings: list[str] = []
        self.errors: deque[str] = deque(maxlen=20)
        self.listing = ""
        self._write = write

    def keep(self, severity: str, message: str) -> None:
        """Take one message; severity is the library's name for it (INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE)."""
        if severity == "VERBOSE":
            if message.startswith("Layers:"):
                self.listing = message
            return
        if severity == "WARNING":
            self.warnings.append(" ".join(message.split()))
        elif severity.endswith("ERROR"):
            self.errors.append(" ".join(message.split()))
        if self._write is not None:
            self._write(f"{severity} {message}")

    def last_error(self) -> str:
        """The last error on one line, or that there was none."""
        return self.errors[-1] if self.errors else "the library gave no reason"


class ProgressListener(Protocol):
    """Hears how far a build is; `step` returns False to stop the build."""

    def phase(self, name: str, steps: int) -> None:
        """A phase of `steps` steps begins; phases nest."""

    def step(self, name: str) -> bool:
        """One step of the phase is done."""


@dataclass(frozen=True)
class TensorRTLibrary:
    """The installed library. Threads may share it, but not what it makes.

    module: the imported Python module. version: as it states it, e.g. 10.3.0 or 1.7.1.116.
    """

    module: Any
    flavour: Flavour
    version: str

    @property
    def title(self) -> str:
        """For messages, e.g. `TensorRT-RTX 1.7.1.116`."""
        return f"{'TensorRT' if self.flavour == 'tensorrt' else 'TensorRT-RTX'} {self.version}"

    @property
    def has_timing_cache(self) -> bool:
        """Whether measured kernel timings can be kept between builds.

        TensorRT-RTX measures nothing when it builds: kernels are compiled when the engine is loaded. It has the
        functions, but they do nothing and may ask for a GPU (its documentation, "Timing Cache Migration").
        """
        return self.flavour == "tensorrt" and hasattr(self.module, "ITimingCache")

    def target(self) -> str:
        """What a plan built here runs on: `any`, or the compute capability of the first GPU, e.g. `sm87`.

        Raises:
            BackendError: TensorRT builds for the GPU in the machine, and there is none.
        """
        if self.flavour == "tensorrt-rtx":
            return ANY_GPU
        found = compute_capability()
        if found is None:
            raise BackendError(
                f"{self.title} builds for the GPU in this machine, found none (no CUDA driver or no device); build on "
                "the machine that will run it"
            )
        return found

    def refuse_unsupported(self, version_compatible: bool, hardware_compatible: bool) -> None:
        """Raise BackendError if the library cannot build such a plan."""
        flags = self.module.BuilderFlag
        if version_compatible and (self.flavour == "tensorrt-rtx" or not hasattr(flags, "VERSION_COMPATIBLE")):
            # 1.7 has the flag, and then fails for a lean runtime (libnvinfer_lean) that is no part of it
            raise BackendError(f"{self.title} builds no version-compatible plans; drop --version-compatible")
        if hardware_compatible and self.flavour == "tensorrt-rtx":
            raise BackendError(
                f"{self.title} knows no --hardware-compatible: its plans are for every GPU it supports; drop the option"
            )
        if hardware_compatible and not hasattr(self.module, "HardwareCompatibilityLevel"):
            raise BackendError(f"{self.title} builds no hardware-compatible plans; drop --hardware-compatible")

    def logger(self, log: LibraryLog) -> Any:
        """An ILogger that hands every message to `log`."""
        base = self.module.ILogger

        class Logger(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                log.keep(severity.name, message)

        return Logger()

    def network(self, builder: Any) -> Any:
        """An empty, strongly typed network: TensorRT 10 needs the flag, 11 has nothing else and ignores it."""
        typed = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return builder.create_network(0 if typed is None else 1 << int(typed))

    def parse_errors(self, parser: Any) -> list[str]:
        """One line an error: node, operator, reason."""
        lines = []
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            node = error.node_name() or f"number {error.node()}"
            place = f"node {node!r} ({error.node_operator()}): " if error.node() >= 0 else ""
            lines.append(place + " ".join(str(error.desc()).split()))
        return lines

    def configure(
        self, config: Any, memory_limit_mb: int | None, version_compatible: bool, hardware_compatible: bool
    ) -> None:
        """Set a builder configuration. Precision is no flag here: it is in the graph.

        TF32 is switched off: a product of ten-bit mantissas is not the FP32 that was asked for (it is on by default).
        """
        trt = self.module
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector names layers without types
        config.clear_flag(trt.BuilderFlag.TF32)
        if memory_limit_mb is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, memory_limit_mb << 20)
        if version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS

    def watch(self, config: Any, listener: ProgressListener) -> Any:
        """Report the build's progress to `listener`; the monitor, to be kept until the build ends, or None where the
        library has none."""
        if not hasattr(self.module, "IProgressMonitor"):
            return None
        base = self.module.IProgressMonitor

        class Monitor(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                listener.phase(phase_name, num_steps)

            def step_complete(self, phase_name: str, step: int) -> bool:
                return listener.step(phase_name)

            def phase_finish(self, phase_name: str) -> None:
                pass

        config.progress_monitor = monitor = Monitor()
        return monitor

    def attach_timing_cache(self, config: Any, stored: bytes) -> bool:
        """Give the builder earlier timings, or an empty cache if it refuses them; True if they were taken."""
        cache = config.create_timing_cache(stored)
        taken = bool(stored) and cache is not None and config.set_timing_cache(cache, False)
        if not taken:
            config.set_timing_cache(config.create_timing_cache(b""), False)
        return taken

    def timing_cache(self, config: Any) -> bytes:
        """The timings after a build."""
        return bytes(config.get_timing_cache().serialize())

    def load(self, plan: bytes, log: LibraryLog, version_compatible: bool = False) -> Any:
        """The engine of a plan whose hash was checked (`lsd.runtime.engine_file.read_plan`). Needs a GPU.

        version_compatible: such a plan brings its own lean runtime, host code, which has to be allowed.

        Raises:
            BackendError: the library refuses it; the message ends with its reason.
        """
        runtime = self.module.Runtime(self.logger(log))
        if version_compatible:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{self.title} cannot load the plan: {log.last_error()}")
        return engine

    def layer_information(self, engine: Any) -> str:
        """JSON of the engine inspector; `lsd.runtime.engine_layers` reads it."""
        inspector = engine.create_engine_inspector()
        return str(inspector.get_engine_information(self.module.LayerInformationFormat.JSON))


def find_library() -> TensorRTLibrary:
    """Import `tensorrt`, else `tensorrt_rtx`.

    Raises:
        BackendError: neither is installed, can be loaded and is new enough; the message has the reason for each.
    """
    refused = []
    for flavour, name in MODULES.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = "not installed" if error.name == name else f"lacks {error.name}"
            refused.append(f"{name}: {missing}")
            continue
        except (ImportError, OSError) as error:  # the bindings are there, a shared library is not
            refused.append(f"{name}: cannot be loaded ({error})")
            continue
        version = str(getattr(module, "__version__", "unknown"))
        if _numbers(version) < OLDEST[flavour]:
            oldest = ".".join(map(str, OLDEST[flavour]))
            refused.append(f"{name}: is {version}, at least {oldest} is needed")
            continue
        broken = [reason for reason in refused if not reason.endswith("not installed")]
        if broken:
            logging.getLogger(__name__).warning("using %s %s because of %s", name, version, "; ".join(broken))
        return TensorRTLibrary(module, flavour, version)
    raise BackendError(f"no usable TensorRT here ({'; '.join(refused)}); {_INSTALL}")


def compute_capability() -> str | None:
    """Compute capability of the first GPU that the CUDA driver shows, e.g. `sm87`; None without driver or GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    for failed in (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device),
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device),
    ):
        if failed:
            return None
    return f"sm{major.value}{minor.value}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
