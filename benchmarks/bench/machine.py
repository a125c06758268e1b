"""The state of the machine while it is measured: power mode, clocks, heat, throttling, and who else runs on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsd.benchmarks.bench.nvml import Gpu

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS", "GDAL_CACHEMAX")
_MOST_TAKEN = 0.01  # share of the time, by others
_BUSY_LOAD = 0.5  # runnable processes a core, averaged over a minute, before a measurement begins


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Environment variables that steer threads and caches, where they are set."""
    return {name: os.environ[name] for name in _THREADS if name in os.environ}


def power_mode(sys: Path = Path("/sys")) -> dict[str, Any]:
    """What limits the machine's power: Jetson's nvpmodel, the governor of its clocks, the platform's profile."""
    governors = {
        text for file in (sys / "devices/system/cpu").glob("cpu*/cpufreq/scaling_governor") if (text := _text(file))
    }
    profile = _text(sys / "firmware/acpi/platform_profile")
    return {
        "nvpmodel": _nvpmodel(),
        "governor": ", ".join(sorted(governors)) or {"not_measured": "no cpufreq under /sys/devices/system/cpu"},
        "profile": profile or {"not_measured": "no platform_profile under /sys/firmware/acpi"},
    }


def snapshot(gpus: Sequence[Gpu], sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> dict[str, Any]:
    """Clocks (MHz), temperatures, counts of throttling events, load, and cores' time taken by others, as they are now.

    What the system does not tell is None. steal_s: time that a virtual machine's host gave to others, of all cores.
    waited_s: time that this thread was ready to run, and waited for a core.
    """
    cpu = sys / "devices/system/cpu"
    clocks = [_number(file) for file in sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    mhz = [value / 1000 for value in clocks if value is not None] or _mhz_of(_text(proc / "cpuinfo"))
    throttles = [_number(file) for file in cpu.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    temperatures = [_number(file) for file in sorted((sys / "class/thermal").glob("thermal_zone*/temp"))]
    hot = [value / 1000 for value in temperatures if value is not None]
    load = (_text(proc / "loadavg") or "").split()
    return {
        "cpu_mhz": {"min": min(mhz), "max": max(mhz)} if mhz else None,
        "gpu_mhz": _jetson_gpu_mhz(sys),
        "hottest_c": max(hot) if hot else None,
        "throttle_count": sum(value for value in throttles if value is not None) if throttles else None,
        "load_1_min": float(load[0]) if load else None,
        "steal_s": _steal_s(_text(proc / "stat")),
        "waited_s": _waited_s(_text(proc / "self/schedstat")),
        "gpus": [gpu.state() for gpu in gpus],
    }


def throttling(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the clocks were held down in between, as far as the machine counts it: {"cpu", "gpu"}."""
    first, last = before["throttle_count"], after["throttle_count"]
    gpu = [one["throttled_by"] for one in (*before["gpus"], *after["gpus"]) if one["throttled_by"] is not None]
    return {
        "cpu": {"not_measured": "no thermal_throttle under /sys/devices/system/cpu"}
        if first is None or last is None
        else {"events": last - first},
        "gpu": {"reasons": sorted({reason for reasons in gpu for reason in reasons})}
        if gpu
        else {"not_measured": "no GPU that tells it"},
    }


def disturbances(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> list[str]:
    """In words, what may have spoilt a measurement of so many seconds; none: nothing that the system tells."""
    found = []
    if before["load_1_min"] is not None and before["load_1_min"] > _BUSY_LOAD * cores():
        found.append(f"the machine was busy before: load {before['load_1_min']:.2f} on {cores()} cores")
    if before["steal_s"] is not None and after["steal_s"] is not None:
        share = (after["steal_s"] - before["steal_s"]) / (seconds * (os.cpu_count() or 1))
        if share > _MOST_TAKEN:
            found.append(f"the host took {100 * share:.1f} % of the cores' time for other machines")
    if before["waited_s"] is not None and after["waited_s"] is not None:
        share = (after["waited_s"] - before["waited_s"]) / seconds
        if share > _MOST_TAKEN:
            found.append(f"other programs ran: lsd-bench waited {100 * share:.1f} % of its time for a core")
    held = throttling(before, after)
    if held["cpu"].get("events"):
        found.append(f"the processor was throttled {held['cpu']['events']} times")
    if held["gpu"].get("reasons"):
        found.append(f"the GPU's clock was held down: {', '.join(held['gpu']['reasons'])}")
    return found


def _nvpmodel() -> Any:
    tool = shutil.which("nvpmodel") or shutil.which("nvpmodel", path="/usr/sbin")
    if tool is None:
        return {"not_measured": "no nvpmodel here (not a Jetson)"}
    try:
        done = subprocess.run([tool, "-q"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        return {"not_measured": f"nvpmodel -q failed ({error})"}
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found[1] if found else {"not_measured": "nvpmodel -q tells no mode"}


def _jetson_gpu_mhz(sys: Path) -> float | None:
    for name in (sys / "class/devfreq").glob("*"):
        if "gpu" in name.name or "ga10b" in name.name or "gv11b" in name.name:
            hertz = _number(name / "cur_freq")
            return None if hertz is None else hertz / 1e6
    return None


def _mhz_of(cpuinfo: str | None) -> list[float]:
    return [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", cpuinfo or "", re.MULTILINE)]


def _steal_s(stat: str | None) -> float | None:
    """Field 8 of the line `cpu` (proc(5)), in ticks."""
    fields = (stat or "").split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else None


def _waited_s(schedstat: str | None) -> float | None:
    """Second field, in nanoseconds (Linux kernel, Documentation/scheduler/sched-stats.rst)."""
    fields = (schedstat or "").split()
    return int(fields[1]) / 1e9 if len(fields) == 3 else None


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
