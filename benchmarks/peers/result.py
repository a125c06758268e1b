"""The file of a comparison: conditions, cases as they are done, peers that were not measured with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lsd.benchmarks.peers.turns import Timed, ratio
from lsd.runtime.doctor import facts
from lsd.runtime.native.library import absence
from lsd.runtime.versions import installed

PACKAGES = ("scipy", "onnx", "openvino", "timm", "tensorrt", "tensorrt_rtx", "nvforest-cu13", "matplotlib")


class AbsentError(Exception):
    """A peer cannot be measured here; the text says why, in one line."""


def conditions_of(commit: str, **settings: Any) -> dict[str, Any]:
    """What a result holds beside its figures: versions, machine, settings of this comparison."""
    native = absence()
    return {
        "commit": commit,
        **facts(),
        **installed(PACKAGES),
        "native library": "used" if native is None else f"none: {native}",
        **settings,
    }


class ResultFile:
    """JSON that is whole after every case, so that an interrupted run goes on where it stopped."""

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        """Take up the file if it is there and was made under the same conditions; else begin anew."""
        self.path, self.conditions = path, conditions
        self.cases: dict[str, dict[str, Any]] = {}
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored.get("conditions") == conditions:
                self.cases = stored["cases"]

    def has(self, case: str) -> bool:
        """Whether the case was done before."""
        return case in self.cases

    def put(self, case: str, found: dict[str, Any]) -> None:
        """Keep a case and write the file."""
        self.cases[case] = found
        partial = self.path.with_name(f"{self.path.name}.partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(
            json.dumps({"conditions": self.conditions, "cases": self.cases}, indent=1, allow_nan=False) + "\n",
            encoding="utf-8",
        )
        partial.replace(self.path)


def case_of(
    timed: dict[str, Timed],
    ours: str,
    exactness: dict[str, dict[str, Any]],
    not_measured: dict[str, str],
) -> dict[str, Any]:
    """One case as the file keeps it.

    Args:
        ours: the peer that all others are divided by; without it no ratio is stated.
        exactness: name -> how far its answers are from the reference.
        not_measured: name -> why.
    """
    peers = {}
    for name, one in timed.items():
        peers[name] = {**one.to_json(), **exactness.get(name, {})}
        if ours in timed and name != ours:
            peers[name]["times_ours"] = ratio(one, timed[ours])
    return {"ours": ours if ours in timed else None, "peers": peers, "not_measured": not_measured}


def show(case: str, found: dict[str, Any]) -> None:
    """One case as a table on stdout, the fastest first, what was not measured below it."""
    click.echo(f"\n{case}")
    rows = sorted(found["peers"].items(), key=lambda row: float(row[1]["median_us"]))
    for name, row in rows:
        times = f"{row['times_ours']['median']:.4g} x" if "times_ours" in row else "="
        spread = f"{row['least_us']:.4g} .. {row['most_us']:.4g}"
        click.echo(f"  {name:<26}{row['median_us']:>11.4g} us{times:>13}   {spread:<24}{row.get('exactness', '')}")
    for name, reason in found["not_measured"].items():
        click.echo(f"  {name:<26} not measured: {reason}")
