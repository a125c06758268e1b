"""TensorRT plans on disk: `X.plan` and its report `X.plan.json`; a plan is loaded only after its hash was checked.

The report is written last and removed first, so a plan without one is the rest of an interrupted build and never used.
Its hash finds damage and mix-ups. It does not stop somebody who may write both files: engines are a local cache, built
where they run. Never take them from a stranger; a plan holds machine code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsd.runtime.commit import write_bytes
from lsd.runtime.engine_layers import EngineLayer, shares
from lsd.runtime.errors import BackendError, BundleHashError, OutputError

REPORT_SCHEMA = 1
PROVEN, UNPROVEN = "proven", "unproven"
_REBUILD = "build it again with lsd-export engine BUNDLE --overwrite"


def report_path(plan: Path) -> Path:
    """Where the report of a plan lies."""
    return plan.with_name(plan.name + ".json")


def read_report(plan: Path) -> dict[str, Any]:
    """The report of a plan: name, key, hashes, layers, state (`proven`: its layers were inspected on a GPU).

    Raises:
        BackendError: there is none, or it cannot be read.
    """
    path = report_path(plan)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BackendError(f"{plan}: its report {path.name} is not there, so it is not used; {_REBUILD}") from error
    except (OSError, ValueError) as error:
        raise BackendError(f"{path}: cannot be read as a report ({error}); {_REBUILD}") from error
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version != REPORT_SCHEMA:
        raise BackendError(f"{path}: expected a report of schema {REPORT_SCHEMA}, found {version}; {_REBUILD}")
    return dict(report)


def read_plan(plan: Path) -> bytes:
    """The bytes of a plan, their SHA-256 checked against its report.

    Raises:
        BackendError: plan or report is missing or cannot be read.
        BundleHashError: the plan is not the one that the report is of.
    """
    report = read_report(plan)
    try:
        content = plan.read_bytes()
    except OSError as error:
        raise BackendError(f"{plan}: cannot be read ({error.strerror}); {_REBUILD}") from error
    found, stated = hashlib.sha256(content).hexdigest(), str(report.get("plan_sha256"))
    if found != stated:
        raise BundleHashError(
            f"{plan}: was changed since it was built: SHA-256 is {found[:12]}..., its report states {stated[:12]}...; "
            f"{_REBUILD}"
        )
    return content


def write_engine(plan: Path, content: bytes, report: dict[str, Any]) -> None:
    """Put plan and report in place so that a reader finds both or neither.

    Raises:
        OutputError: the disk refuses; nothing of the new engine is left.
    """
    partial = plan.with_name(f".{plan.name}.partial")
    try:
        write_bytes(partial, content)
        report_path(plan).unlink(missing_ok=True)
        partial.replace(plan)
        _write_report(plan, {**report, "plan_sha256": hashlib.sha256(content).hexdigest(), "plan_bytes": len(content)})
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if not report_path(plan).exists():
            plan.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(f"cannot write {plan}: {error.strerror}; check that the folder is writable") from error
        raise


def record_proof(plan: Path, layers: Sequence[EngineLayer]) -> None:
    """Mark an engine as proven after its layers were inspected on a GPU and found right.

    Raises:
        BackendError: its report is missing.
        OutputError: the report cannot be replaced.
    """
    report = read_report(plan)
    proof = {"state": PROVEN, "reason": "", "evidence": "inspector", "shares": shares(layers)}
    _write_report(plan, {**report, **proof, "layers": [layer.to_json() for layer in layers]})


def _write_report(plan: Path, report: dict[str, Any]) -> None:
    partial = plan.with_name(f".{plan.name}.json.partial")
    try:
        write_bytes(partial, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
        partial.replace(report_path(plan))
    finally:
        partial.unlink(missing_ok=True)
