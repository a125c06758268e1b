"""Energy meters and the state of the machine, on files as the kernel shows them and a stand-in for NVIDIA's library."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_machine import NvmlLibrary, write_files, write_ina, write_rapl

from lsd.benchmarks.bench import machine
from lsd.benchmarks.bench.energy import Drawn, Rapl, drawn, energy, open_meters
from lsd.benchmarks.bench.nvml import gpus

NO_GPU = ((), "no driver")


def opened(sys, found=NO_GPU):
    return open_meters(*found, sys)


def test_a_machine_without_any_meter_says_why(tmp_path):
    meters, reasons = opened(tmp_path)
    assert meters == [] and set(reasons) == {"RAPL", "NVML", "Jetson INA3221"}
    nothing = energy(meters, reasons, Drawn(), Drawn(), 100)
    assert set(nothing) == {"not_measured"} and "no driver" in nothing["not_measured"]


def test_rapl_counts_packages_and_their_memory_once(tmp_path):
    meters, reasons = opened(write_rapl(tmp_path, 1_000_000, 500_000))
    assert [(one.name, one.in_sum) for one in meters] == [
        ("RAPL package-0 0", True),
        ("RAPL dram 0:1", True),
        ("RAPL psys 1", False),
    ]
    assert "RAPL" not in reasons
    with drawn(meters) as found:
        write_rapl(tmp_path, 41_000_000, 10_500_000)
    assert found.joules == {"RAPL package-0 0": 40.0, "RAPL dram 0:1": 10.0, "RAPL psys 1": 80.0}
    idle, found.seconds = Drawn(), 10.0
    idle.joules, idle.seconds = dict.fromkeys(found.joules, 1.0), 1.0
    used = energy(meters, reasons, idle, found, 100)
    assert used["joules_per_patch"] == pytest.approx(0.5)  # the platform's energy holds the others'
    assert used["joules_per_km2"] == pytest.approx(0.5 / 0.4096)
    assert used["meters"]["RAPL package-0 0"] == {"joules": 40.0, "watts": 4.0, "idle_watts": 1.0, "in_sum": True}


def test_a_counter_that_wraps_around_goes_on(tmp_path):
    write_files(tmp_path, {"energy_uj": 900, "max_energy_range_uj": 999})
    meter = Rapl(tmp_path, "package-0", True, 900)
    write_files(tmp_path, {"energy_uj": 100})
    assert meter.joules() == pytest.approx(200e-6)
    write_files(tmp_path, {"energy_uj": 150})
    assert meter.joules() == pytest.approx(250e-6)


def test_a_counter_that_only_root_may_read_is_said_to_be(tmp_path, monkeypatch):
    write_rapl(tmp_path, 1, 1)
    read = Path.read_text

    def refused(file, *words, **more):
        if file.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(file))
        return read(file, *words, **more)

    monkeypatch.setattr(Path, "read_text", refused)
    meters, reasons = opened(tmp_path)
    assert meters == [] and "run as root" in reasons["RAPL"]


def test_the_rail_that_feeds_a_jetson_stands_for_all(tmp_path):
    meters, reasons = opened(write_ina(tmp_path, {"VDD_IN": (5000, 2000), "VDD_CPU_GPU_CV": (5000, 1000)}))
    try:
        assert {one.name: one.in_sum for one in meters} == {"INA3221 VDD_IN": True, "INA3221 VDD_CPU_GPU_CV": False}
        assert "Jetson INA3221" not in reasons
        whole = meters[0]
        outer_s = time.monotonic()
        before = whole.joules()
        inner_s = time.monotonic()
        time.sleep(0.12)  # two samples of the thread
        inner_s = time.monotonic() - inner_s
        spent_j = whole.joules() - before
        outer_s = time.monotonic() - outer_s
        assert 10.0 * inner_s <= spent_j + 1e-9 and spent_j <= 10.0 * outer_s + 1e-9  # 10 W, however busy the machine
    finally:
        for meter in meters:
            meter.close()
    assert not any(one._thread.is_alive() for one in meters)


def test_rails_of_a_jetson_without_a_common_one_are_added(tmp_path):
    meters, _ = opened(write_ina(tmp_path, {"CPU": (5000, 100), "GPU": (5000, 100)}))
    assert [one.in_sum for one in meters] == [True, True]
    for meter in meters:
        meter.close()


def test_nvml_counts_the_board(tmp_path):
    library = NvmlLibrary()
    found, reason = gpus(lambda _: library)
    assert reason == "" and [(one.name, one.driver) for one in found] == [("NVIDIA made up", "575.57")]
    meters, _ = opened(tmp_path, (found, reason))
    with drawn(meters) as spent:
        library.energy_mj += 1500
    assert spent.joules == {"NVML NVIDIA made up 0": pytest.approx(1.5)}
    library.reasons = 0x4 | 0x40
    assert found[0].state() == {
        "graphics_mhz": 1980,
        "memory_mhz": 2619,
        "temperature_c": 41,
        "power_limit_w": 700.0,
        "used_mb": 1024.0,
        "throttled_by": ["power cap in software", "thermal, in hardware"],
    }


def test_what_a_gpu_does_not_tell_is_none_and_no_energy_is_no_meter(tmp_path):
    failing = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetClockInfo", "nvmlDeviceGetMemoryInfo")
    found = gpus(lambda _: NvmlLibrary(failing))
    state = found[0][0].state()
    assert state["graphics_mhz"] is None and state["used_mb"] is None and state["temperature_c"] == 41
    meters, reasons = opened(tmp_path, found)
    assert meters == [] and reasons["NVML"] == "the GPU does not count its energy"


def test_without_nvidias_library_there_is_no_gpu():
    def absent(name):
        raise OSError(name)

    assert gpus(absent) == ((), "no libnvidia-ml.so.1 here (NVIDIA's driver)")
    assert gpus(lambda _: NvmlLibrary(("nvmlInit_v2",))) == ((), "nvmlInit_v2 answers 3")


def test_a_snapshot_tells_what_the_kernel_shows(tmp_path):
    cpu = "devices/system/cpu"
    sys = write_files(
        tmp_path / "sys",
        {
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": 1_200_000,
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": 2_400_000,
            f"{cpu}/cpu0/cpufreq/scaling_governor": "schedutil",
            f"{cpu}/cpu0/thermal_throttle/core_throttle_count": 3,
            f"{cpu}/cpu0/thermal_throttle/package_throttle_count": 4,
            "class/thermal/thermal_zone0/temp": 41_000,
            "class/thermal/thermal_zone1/temp": 55_500,
            "class/devfreq/17000000.gpu/cur_freq": 918_000_000,
            "firmware/acpi/platform_profile": "balanced",
        },
    )
    proc = write_files(
        tmp_path / "proc",
        {"loadavg": "0.25 0.1 0.1 1/99 1234", "stat": "cpu 1 2 3 4 5 6 7 800 0 0", "self/schedstat": "1 2500000000 3"},
    )
    assert machine.snapshot([], sys, proc) == {
        "cpu_mhz": {"min": 1200.0, "max": 2400.0},
        "gpu_mhz": 918.0,
        "hottest_c": 55.5,
        "throttle_count": 7,
        "load_1_min": 0.25,
        "steal_s": 800 / os.sysconf("SC_CLK_TCK"),
        "waited_s": 2.5,
        "gpus": [],
    }
    mode = machine.power_mode(sys)
    assert (mode["governor"], mode["profile"]) == ("schedutil", "balanced")


def test_a_snapshot_of_a_machine_that_tells_nothing(tmp_path):
    found = machine.snapshot([], tmp_path, tmp_path)
    assert found.pop("gpus") == [] and set(found.values()) == {None}
    assert set(machine.throttling({**found, "gpus": []}, {**found, "gpus": []})["cpu"]) == {"not_measured"}
    proc = write_files(tmp_path, {"cpuinfo": "processor : 0\ncpu MHz\t\t: 2100.5\ncpu MHz\t\t: 1000.0"})
    assert machine.snapshot([], tmp_path, proc)["cpu_mhz"] == {"min": 1000.0, "max": 2100.5}


def test_what_may_have_spoilt_a_measurement_is_named():
    quiet = {"throttle_count": 5, "load_1_min": 0.0, "steal_s": 1.0, "waited_s": 1.0, "gpus": []}
    assert machine.disturbances(quiet, quiet, 10.0) == []
    hot = {**quiet, "throttle_count": 8, "steal_s": 10.0, "waited_s": 6.0, "gpus": [{"throttled_by": ["power brake"]}]}
    found = machine.disturbances({**quiet, "load_1_min": 99.0}, hot, 10.0)
    assert [line.split()[0:2] for line in found] == [
        ["the", "machine"],
        ["the", "host"],
        ["other", "programs"],
        ["the", "processor"],
        ["the", "GPU's"],
    ]
    assert "waited 50.0 %" in found[2] and "throttled 3 times" in found[3] and "power brake" in found[4]


@pytest.mark.parametrize(
    ("script", "mode"),
    [
        ("echo 'NV Power Mode: MAXN_SUPER'; echo 2", "MAXN_SUPER"),
        ("echo nothing", {"not_measured": "nvpmodel -q tells no mode"}),
        ("exit 3", None),
    ],
)
def test_the_power_mode_of_a_jetson(script, mode, tmp_path, monkeypatch):
    tool = tmp_path / "nvpmodel"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = machine.power_mode(tmp_path)["nvpmodel"]
    assert found == mode if mode is not None else "failed" in found["not_measured"]
