"""Fixtures that every part shares: where the real data lies, and whether a tool is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before numpy and torch: as many threads as cores, in each worker, is slower
    os.environ.setdefault("OMP_NUM_THREADS", "1")

PROJECT = Path(__file__).resolve().parent.parent

# no deadline: machines are shared; CI tries the same examples every time, a developer's machine new ones
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("LSD_REQUIRE_TOOLS")))
settings.load_profile("project")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets: LSD_DATA, else ../shared/data beside the project; skips where neither is there."""
    for place in (os.environ.get("LSD_DATA"), PROJECT.parent / "shared" / "data"):
        if place and (Path(place) / "zindi-landslide").is_dir():
            return Path(place)
    pytest.skip("the real data sets are not here: neither LSD_DATA nor ../shared/data holds zindi-landslide/")


@pytest.fixture(scope="session")
def shared_schemas() -> Path:
    """Folder of the STAC extension schemas: LSD_SCHEMAS, else ../shared/schemas; skips where neither is there."""
    for place in (os.environ.get("LSD_SCHEMAS"), PROJECT.parent / "shared" / "schemas"):
        if place and (Path(place) / "mlm-v1.5.2.json").is_file():
            return Path(place)
    pytest.skip("the STAC schemas are not here: neither LSD_SCHEMAS nor ../shared/schemas holds mlm-v1.5.2.json")


@pytest.fixture(scope="session")
def need_tool():
    """Callable: path of a system tool; without it the test skips, or fails where LSD_REQUIRE_TOOLS is set (CI)."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            reason = f"the tool {name} is not installed (make system-deps, as root, installs it)"
            if os.environ.get("LSD_REQUIRE_TOOLS"):
                pytest.fail(reason)
            pytest.skip(reason)
        return found

    return find
