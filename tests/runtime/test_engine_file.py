"""Plans on disk: never loaded unchecked, never half there."""

from __future__ import annotations

import json

import pytest

from lsd.runtime import engine_file
from lsd.runtime.engine_file import read_plan, read_report, record_proof, report_path, write_engine
from lsd.runtime.engine_layers import EngineLayer
from lsd.runtime.errors import BackendError, BundleHashError, OutputError

REPORT = {"schema_version": 1, "name": "vit", "state": "unproven", "reason": "no GPU here", "evidence": "network"}


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "vit.plan"
    write_engine(path, b"a plan", REPORT)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_reads_back(plan):
    assert read_plan(plan) == b"a plan"
    assert read_report(plan)["plan_bytes"] == 6
    assert names(plan.parent) == ["vit.plan", "vit.plan.json"]


def test_a_changed_byte_is_refused(plan):
    plan.write_bytes(b"a plaN")
    with pytest.raises(BundleHashError, match=r"was changed since it was built.*lsd-export engine BUNDLE --overwrite"):
        read_plan(plan)


def test_a_plan_without_its_report_is_refused(plan):
    report_path(plan).unlink()
    with pytest.raises(BackendError, match=r"its report vit\.plan\.json is not there, so it is not used"):
        read_plan(plan)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 2}'])
def test_a_report_of_another_kind_is_refused(plan, content):
    report_path(plan).write_text(content)
    with pytest.raises(BackendError, match="build it again"):
        read_plan(plan)


def test_a_report_without_its_plan_is_refused(plan):
    plan.unlink()
    with pytest.raises(BackendError, match="cannot be read"):
        read_plan(plan)


def test_a_newer_engine_replaces_an_older_one(plan):
    write_engine(plan, b"another plan", {**REPORT, "name": "new"})
    assert read_plan(plan) == b"another plan" and read_report(plan)["name"] == "new"


@pytest.mark.parametrize("broken", ["plan", "report"])
def test_a_full_disk_leaves_plan_and_report_together_or_neither(tmp_path, monkeypatch, broken):
    write, made = engine_file.write_bytes, []

    def failing(path, data):
        made.append(path)
        write(path, data)
        if path.name.endswith("json.partial") == (broken == "report"):
            raise OutputError("disk full")

    monkeypatch.setattr(engine_file, "write_bytes", failing)
    with pytest.raises(OutputError, match="disk full"):
        write_engine(tmp_path / "vit.plan", b"a plan", REPORT)
    assert made and names(tmp_path) == []


def test_a_plan_that_cannot_be_written_leaves_the_older_one(plan, monkeypatch):
    def failing(path, data):
        raise OutputError("disk full")

    monkeypatch.setattr(engine_file, "write_bytes", failing)
    with pytest.raises(OutputError):
        write_engine(plan, b"another plan", REPORT)
    assert read_plan(plan) == b"a plan"


def test_a_proof_changes_the_state_and_not_the_hash(plan):
    record_proof(plan, [EngineLayer("conv", "CaskConvolution", "fp16"), EngineLayer("x", "Reformat", "fp32")])
    report = read_report(plan)
    assert (report["state"], report["evidence"], report["reason"]) == ("proven", "inspector", "")
    assert report["shares"] == {"fp16": 1.0} and len(report["layers"]) == 2
    assert read_plan(plan) == b"a plan"
    assert json.loads(report_path(plan).read_text())["name"] == "vit"
