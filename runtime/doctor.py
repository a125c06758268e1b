"""One block of facts about this machine and installation, to paste into a report."""

from __future__ import annotations

import os
import platform

import numpy as np
import rasterio

from lsd.runtime import __version__
from lsd.runtime.bundle import Bundle
from lsd.runtime.native.library import description
from lsd.runtime.versions import installed

OPTIONAL = ("lightgbm", "xgboost-cpu", "xgboost", "treelite", "tl2cgen", "scikit-learn", "torch", "onnxruntime")


def facts(bundle: Bundle | None = None) -> dict[str, str]:
    """Name -> value: versions, machine, limits, and the bundle if one is given. Reads only; names no user or host."""
    found = {
        "lsd-edge": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rasterio": rasterio.__version__,
        "GDAL": rasterio.__gdal_version__,
        "PROJ": getattr(rasterio, "__proj_version__", "unknown"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "GDAL_CACHEMAX": os.environ.get("GDAL_CACHEMAX", "default"),
        "native library": description(),
    }
    present = installed(OPTIONAL)
    found |= {package: present.get(package, "not installed") for package in OPTIONAL}
    if bundle is not None:
        manifest = bundle.manifest
        found["bundle"] = f"{manifest.name} {bundle.sha256[:16]} written by lsd-edge {manifest.lsd_version}"
        found["configurations"] = ", ".join(configuration.name for configuration in manifest.configurations)
    return found


def block(bundle: Bundle | None = None) -> str:
    """The facts as aligned text."""
    found = facts(bundle)
    width = max(map(len, found))
    return "\n".join(["lsd-run --doctor", *(f"{name:<{width}}  {value}" for name, value in found.items())])


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"
