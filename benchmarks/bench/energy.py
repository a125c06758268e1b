"""Energy counters of this machine, and what a measurement drew from them.

RAPL: /sys/class/powercap (Linux kernel, Documentation/power/powercap/powercap.rst). NVML: `nvml`. Jetson: the INA3221
power monitors under /sys/bus/i2c/drivers/ina3221 (NVIDIA Jetson Linux Developer Guide, Power and Performance), whose
power is sampled, since they do not count energy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lsd.benchmarks.bench.nvml import Gpu
from lsd.runtime.bands import PATCH_GSD_M, PATCH_SIZE_PX

PATCH_KM2 = (PATCH_SIZE_PX * PATCH_GSD_M / 1000) ** 2
_SAMPLE_S = 0.05
_WHOLE_MODULE = ("VDD_IN", "SYS_VIN", "POM_5V_IN")  # rails through which all others are fed


class Meter(Protocol):
    """A counter of one part of the machine.

    name: of what it counts, e.g. `RAPL package-0 0`. in_sum: False where another meter counts the same energy.
    """

    name: str
    in_sum: bool

    def joules(self) -> float:
        """Energy since some time before; only differences mean something."""
        ...

    def close(self) -> None:
        """Stop counting."""
        ...


@dataclass
class Rapl:
    """One powercap zone; its counter wraps around, which is seen as long as it is asked once in between."""

    folder: Path
    name: str
    in_sum: bool
    _last_uj: int = 0
    _total_uj: int = 0

    def joules(self) -> float:
        """Energy since the meter was opened."""
        now_uj = int((self.folder / "energy_uj").read_text())
        step = now_uj - self._last_uj
        if step < 0:
            step += int((self.folder / "max_energy_range_uj").read_text()) + 1
        self._last_uj, self._total_uj = now_uj, self._total_uj + step
        return self._total_uj / 1e6

    def close(self) -> None:
        """Nothing to stop."""


@dataclass
class NvmlEnergy:
    """The board of one GPU."""

    gpu: Gpu
    name: str
    in_sum: bool = True

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        return self.gpu.energy_j() or 0.0

    def close(self) -> None:
        """Nothing to stop."""


@dataclass
class Ina:
    """One rail of a Jetson: millivolts times milliamperes, sampled 20 times a second by a thread of its own."""

    volts_mv: Path
    amperes_ma: Path
    name: str
    in_sum: bool
    _total_j: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s, self._power_w = time.monotonic(), self._read_w()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """Energy since the meter was opened, up to now."""
        with self._lock:
            now_s, power_w = time.monotonic(), self._read_w()
            self._total_j += (now_s - self._at_s) * (power_w + self._power_w) / 2
            self._at_s, self._power_w = now_s, power_w
            return self._total_j

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self.joules()

    def _read_w(self) -> float:
        return int(self.volts_mv.read_text()) * int(self.amperes_ma.read_text()) / 1e6


def open_meters(gpus: Sequence[Gpu], gpu_reason: str, sys: Path = Path("/sys")) -> tuple[list[Meter], dict[str, str]]:
    """Every meter that can be read, and the reason for each kind that cannot."""
    found: list[Meter] = []
    reasons: dict[str, str] = {}
    for kind, (meters, reason) in {
        "RAPL": _rapl(sys / "class" / "powercap"),
        "NVML": _nvml(gpus, gpu_reason),
        "Jetson INA3221": _ina(sys / "bus" / "i2c" / "drivers" / "ina3221"),
    }.items():
        found += meters
        if reason:
            reasons[kind] = reason
    return found, reasons


def _rapl(root: Path) -> tuple[list[Meter], str]:
    """Packages and their memory; cores and graphics are parts of a package, `psys` holds everything."""
    zones = sorted(root.glob("intel-rapl:*")) if root.is_dir() else []
    meters: list[Meter] = []
    for zone in zones:
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith(("package", "dram", "psys")):
                continue
            meter = Rapl(zone, f"RAPL {name} {zone.name.partition(':')[2]}", not name.startswith("psys"))
            meter._last_uj = int((zone / "energy_uj").read_text())
        except PermissionError:
            return [], f"no right to read {zone.name}/energy_uj; run as root, or make it readable"
        except (OSError, ValueError) as error:
            return [], f"{zone.name} cannot be read ({error})"
        meters.append(meter)
    return meters, "" if meters else "no zones under /sys/class/powercap (a virtual machine, or no driver)"


def _nvml(gpus: Sequence[Gpu], reason: str) -> tuple[list[Meter], str]:
    meters: list[Meter] = [
        NvmlEnergy(gpu, f"NVML {gpu.name} {number}") for number, gpu in enumerate(gpus) if gpu.energy_j() is not None
    ]
    return meters, reason or ("" if meters else "the GPU does not count its energy")


def _ina(root: Path) -> tuple[list[Meter], str]:
    """Rails by their labels; where one feeds the whole module, it alone goes into the sum."""
    rails: dict[str, tuple[Path, Path]] = {}
    for label in sorted(root.glob("*/hwmon/hwmon*/in*_label")) if root.is_dir() else []:
        number = label.name[len("in") : -len("_label")]
        volts, amperes = (label.with_name(f"{kind}{number}_input") for kind in ("in", "curr"))
        try:
            name = label.read_text().strip()
            int(volts.read_text()), int(amperes.read_text())
        except (OSError, ValueError):  # a channel that is not wired
            continue
        rails[name] = volts, amperes
    whole = next((name for name in _WHOLE_MODULE if name in rails), None)
    meters: list[Meter] = [
        Ina(volts, amperes, f"INA3221 {name}", whole is None or name == whole)
        for name, (volts, amperes) in rails.items()
    ]
    return meters, "" if meters else "no INA3221 under /sys/bus/i2c/drivers (not a Jetson)"


class Drawn:
    """Joules and seconds of a stretch, by meter; filled when the stretch ends."""

    def __init__(self) -> None:
        self.joules: dict[str, float] = {}
        self.seconds = 0.0


@contextmanager
def drawn(meters: Sequence[Meter]) -> Iterator[Drawn]:
    """Count what the meters count in the block."""
    found, before, begun_s = Drawn(), [meter.joules() for meter in meters], time.monotonic()
    yield found
    found.seconds = time.monotonic() - begun_s
    found.joules = {meter.name: meter.joules() - was for meter, was in zip(meters, before, strict=True)}


def energy(meters: Sequence[Meter], reasons: dict[str, str], idle: Drawn, busy: Drawn, patches: int) -> dict[str, Any]:
    """The figures of a stretch in which so many patches were answered, beside the power of the machine at rest.

    Returns:
        {"meters": name -> {"joules", "watts", "idle_watts", "in_sum"}, "joules_per_patch", "joules_per_km2" of all
        that is in the sum, rest included; reasons of meters that there are not}; or why nothing was measured.
    """
    if not meters:
        return {"not_measured": "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items())}
    each = {
        meter.name: {
            "joules": busy.joules[meter.name],
            "watts": busy.joules[meter.name] / busy.seconds,
            "idle_watts": idle.joules[meter.name] / idle.seconds,
            "in_sum": meter.in_sum,
        }
        for meter in meters
    }
    whole_j = sum(one["joules"] for one in each.values() if one["in_sum"])
    return {
        "meters": each,
        "joules_per_patch": whole_j / patches,
        "joules_per_km2": whole_j / (patches * PATCH_KM2),
        "patches": patches,
        "seconds": busy.seconds,
        "not_there": reasons,
    }
