"""Under which conditions a result was measured: what must be alike before two results are compared."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lsd.benchmarks.bench import content, machine
from lsd.benchmarks.bench.nvml import Gpu
from lsd.benchmarks.bench.options import BenchOptions
from lsd.runtime.bundle import Bundle
from lsd.runtime.doctor import facts
from lsd.runtime.exits import describe_exits, exits_in_use, exits_of_text
from lsd.runtime.manifest import Configuration
from lsd.runtime.native.library import description
from lsd.runtime.versions import installed

_OF_MACHINE = ("system", "processor", "memory")
_LIBRARIES = ("onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx", "cuda-python", "pycuda")


def conditions_of(
    bundle: Bundle, configuration: Configuration, options: BenchOptions, gpus: Sequence[Gpu]
) -> dict[str, Any]:
    """Plain JSON: bundle, options that say what answers, content, machine. Known before anything is measured."""
    known = facts()
    exits = exits_in_use(bundle.manifest, exits_of_text(options.exit))
    return {
        "bundle": {"name": bundle.manifest.name, "sha256": bundle.sha256},
        "configuration": configuration.name,
        "options": options.of_answers,
        "exits": describe_exits(exits).get(configuration.name),
        "content": content.NOTE,
        "machine": {
            **{name: known[name] for name in _OF_MACHINE},
            "cores": machine.cores(),
            "gpus": [gpu.name for gpu in gpus],
            "power_mode": machine.power_mode(),
            "environment": machine.environment(),
        },
    }


def versions() -> dict[str, str]:
    """Name -> version of what the answers and the measurement depend on; may differ between results, and is told."""
    known = {name: value for name, value in facts().items() if name not in (*_OF_MACHINE, "cores", "GDAL_CACHEMAX")}
    found = {name: value for name, value in known.items() if value != "not installed"}
    return {**found, **installed(_LIBRARIES), "native library": description()}


def file_stem(conditions: Mapping[str, Any], when: datetime) -> str:
    """Name of a result that holds its conditions: bundle, forests, networks, machine, cores, day.

    E.g. `reference-table-onnxruntime.fp32-x86_64-2cpu-2026-11-26`; what is not as by default follows the networks.
    """
    options, default = conditions["options"], BenchOptions().of_answers
    networks = [options["encoders"], options["precision"]]
    if options["provider"] != default["provider"]:
        networks.insert(1, options["provider"])
    extra = [
        f"{word}{options[key]}"
        for key, word in (("configuration", ""), ("encoder_batch", "batch"), ("threads", "threads"), ("exit", "exit"))
        if options[key] != default[key]
    ]
    cores = f"{conditions['machine']['cores']}cpu"
    parts = [conditions["bundle"]["name"], options["backend"], ".".join(networks), *extra, platform.machine(), cores]
    return "-".join([*(re.sub(r"[^A-Za-z0-9._+]+", "_", str(part)) for part in parts), f"{when:%Y-%m-%d}"])


def differences(a: Mapping[str, Any], b: Mapping[str, Any], within: str = "") -> list[str]:
    """What differs between two documents of conditions, as `name: a, b`; [] where they are alike."""
    found = []
    for key in dict.fromkeys([*a, *b]):
        one, other, name = a.get(key), b.get(key), f"{within}{key.replace('_', ' ')}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{name} ")
        elif one != other:
            found.append(f"{name}: {_short(one)}, {_short(other)}")
    return found


def _short(value: Any) -> str:
    text = "none" if value is None or value == [] else str(value)
    return f"{text[:16]}..." if re.fullmatch(r"[0-9a-f]{64}", text) else text
