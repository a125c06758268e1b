"""Files as the kernel shows them under /sys and /proc, and NVIDIA's library with one GPU; nothing of it is measured."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any


def write_files(root: Path, files: dict[str, str | int]) -> Path:
    """Write relative path -> content with a newline behind it, as the kernel does; returns the root."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n", encoding="utf-8")
    return root


def write_rapl(root: Path, package_uj: int, dram_uj: int, most_uj: int = 262_143_328_850) -> Path:
    """A package with its cores and memory, and the whole platform."""
    zones = {"intel-rapl:0": ("package-0", package_uj), "intel-rapl:0:0": ("core", package_uj // 2)}
    zones |= {"intel-rapl:0:1": ("dram", dram_uj), "intel-rapl:1": ("psys", 2 * package_uj)}
    files: dict[str, str | int] = {}
    for zone, (name, energy_uj) in zones.items():
        place = f"class/powercap/{zone}"
        files |= {f"{place}/name": name, f"{place}/energy_uj": energy_uj, f"{place}/max_energy_range_uj": most_uj}
    return write_files(root, files)


def write_ina(root: Path, rails: dict[str, tuple[int, int]]) -> Path:
    """A Jetson's power monitor: rail -> millivolts, milliamperes; and a channel that is not wired."""
    place = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    files: dict[str, str | int] = {f"{place}/in4_label": "sum of shunt voltages"}
    for number, (label, (volts_mv, amperes_ma)) in enumerate(rails.items(), start=1):
        files |= {f"{place}/in{number}_label": label, f"{place}/in{number}_input": volts_mv}
        files |= {f"{place}/curr{number}_input": amperes_ma}
    return write_files(root, files)


class NvmlLibrary:
    """`libnvidia-ml.so.1` with one GPU; functions named in `failing` answer NVML_ERROR_NOT_SUPPORTED (3)."""

    def __init__(self, failing: tuple[str, ...] = ()) -> None:
        self.failing = failing
        self.energy_mj = 5_000_000
        self.reasons = 0
        self.values = {"nvmlDeviceGetTemperature": 41, "nvmlDeviceGetEnforcedPowerLimit": 700_000}

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 3 if "nvmlInit_v2" in self.failing else 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *arguments: 3 if name in self.failing else self._answer(name, *arguments)

    def _answer(self, name: str, *arguments: Any) -> int:
        target = getattr(arguments[-1], "_obj", None)  # of ctypes.byref
        if name == "nvmlDeviceGetCount_v2":
            target.value = 1
        elif name == "nvmlDeviceGetHandleByIndex_v2":
            target.value = 0xB0A4D
        elif name == "nvmlSystemGetDriverVersion":
            arguments[0].value = b"575.57"
        elif name == "nvmlDeviceGetName":
            arguments[1].value = b"NVIDIA made up"
        elif name == "nvmlDeviceGetMemoryInfo":
            target.total, target.free, target.used = 80 * 2**30, 79 * 2**30, 2**30
        elif name == "nvmlDeviceGetTotalEnergyConsumption":
            target.value = self.energy_mj
        elif name == "nvmlDeviceGetCurrentClocksThrottleReasons":
            target.value = self.reasons
        elif name == "nvmlDeviceGetClockInfo":
            target.value = {0: 1980, 2: 2619}[arguments[1]]
        else:
            target.value = self.values[name]
        assert target is None or isinstance(target, (ctypes._SimpleCData, ctypes.Structure))
        return 0
