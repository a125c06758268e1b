"""The report of one engine: what the command prints, and how long an earlier build took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsd.runtime.engine_file import UNPROVEN, read_report
from lsd.runtime.errors import BackendError


@dataclass(frozen=True)
class EngineReport:
    """One engine, as built or found.

    plan: its file. document: what the JSON beside it holds. reused: it was there already.
    """

    plan: Path
    document: dict[str, Any]
    reused: bool

    @property
    def proven(self) -> bool:
        """True if its layers were inspected on a GPU."""
        return bool(self.document["state"] != UNPROVEN)

    def to_json(self) -> dict[str, Any]:
        """For --json: the document and where the plan lies."""
        return {"plan": str(self.plan), "reused": self.reused, **self.document}

    def line(self) -> str:
        """For the table."""
        found = self.document
        shares = ", ".join(f"{share:.0%} {precision}" for precision, share in found["shares"].items())
        done = "reused" if self.reused else f"built in {found['seconds']:.1f} s"
        return (
            f"{self.plan.name}: {done}, {found['plan_bytes'] / 1e6:.2f} MB, computing layers {shares} "
            f"({found['evidence']}), {found['state']}"
        )


def expected_s(folder: Path, name: str, flavour: str, precision: str) -> float | None:
    """Seconds that the build is likely to take: the longest of this encoder, library and precision that the reports in
    `folder` know, else of any encoder; None if there is none."""
    same: list[float] = []
    similar: list[float] = []
    for plan in folder.glob("*.plan"):
        try:
            report = read_report(plan)
            built = (report["key"]["flavour"], report["key"]["precision"])
            seconds = float(report["seconds"])
        except (BackendError, KeyError, TypeError, ValueError):  # damaged: it is only asked how long it took
            continue
        if built == (flavour, precision):
            (same if report.get("name") == name else similar).append(seconds)
    return max(same or similar, default=None)
