"""NVIDIA's management library, as far as lsd-bench asks it: through ctypes, so that no package is needed.

Functions and constants are those of nvml.h (NVML API reference, CUDA 12.6). A Jetson's GPU is not served by it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_CLOCKS = {"graphics_mhz": 0, "memory_mhz": 2}  # nvmlClockType_t: NVML_CLOCK_GRAPHICS, NVML_CLOCK_MEM
_GPU_TEMPERATURE = 0  # nvmlTemperatureSensors_t
# nvmlClocksEventReasons: bits under which the clock is lower than the work would have it
_THROTTLING = {
    0x4: "power cap in software",
    0x8: "hardware slowdown",
    0x20: "thermal, in software",
    0x40: "thermal, in hardware",
    0x80: "power brake",
}


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine. Threads may share it."""

    name: str
    driver: str
    _library: Any
    _handle: ctypes.c_void_p

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded, of the whole board; None where the GPU does not count (before Volta)."""
        millijoules = self._asked("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)
        return None if millijoules is None else millijoules / 1000

    def state(self) -> dict[str, Any]:
        """Clocks, temperature, memory in use, and why the clock is held down; None for what the GPU does not tell."""
        ask = self._asked
        memory = _Memory()
        known = self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)) == _SUCCESS
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
        return {
            **{key: ask("nvmlDeviceGetClockInfo", ctypes.c_uint, which) for key, which in _CLOCKS.items()},
            "temperature_c": ask("nvmlDeviceGetTemperature", ctypes.c_uint, _GPU_TEMPERATURE),
            "power_limit_w": _thousandth(ask("nvmlDeviceGetEnforcedPowerLimit", ctypes.c_uint)),
            "used_mb": memory.used / 2**20 if known else None,
            "throttled_by": None if reasons is None else [text for bit, text in _THROTTLING.items() if reasons & bit],
        }

    def _asked(self, function: str, kind: Any, *arguments: int) -> int | None:
        """What a function of nvml.h writes through its last argument; None where it fails or is not there."""
        value = kind()
        try:
            status = getattr(self._library, function)(self._handle, *arguments, ctypes.byref(value))
        except AttributeError:
            return None
        return int(value.value) if status == _SUCCESS else None


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that NVML knows, and why there are none ("" if there are).

    Args:
        load: opens a shared library, OSError where there is none.
    """
    try:
        library = load(LIBRARY)
        if (status := library.nvmlInit_v2()) != _SUCCESS:
            return (), f"nvmlInit_v2 answers {status}"
    except (OSError, AttributeError):
        return (), f"no {LIBRARY} here (NVIDIA's driver)"
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS or not count.value:
        return (), "NVML finds no GPU"
    driver = _text(lambda buffer, size: library.nvmlSystemGetDriverVersion(buffer, size))
    found = []
    for number in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == _SUCCESS:
            name = _text(lambda buffer, size, at=handle: library.nvmlDeviceGetName(at, buffer, size))  # type: ignore[misc]
            found.append(Gpu(name, driver, library, handle))
    return tuple(found), "" if found else "NVML opens no GPU"


def _text(fill: Callable[[Any, int], int]) -> str:
    buffer = ctypes.create_string_buffer(96)  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
    return buffer.value.decode("utf-8", "replace") if fill(buffer, 96) == _SUCCESS else "unknown"


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000
