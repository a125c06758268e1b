"""From training runs to a bundle through the commands: build, inspect, verify, and lsd-run with what they made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import files, invoke
from tiles import L2A_NEW, optical, write_tiff

from lsd.export.cli.main import main as lsd_export
from lsd.runtime.cli.run import main as lsd_run
from lsd.runtime.manifest import manifest_from_bytes


def test_build_reports_every_stage_and_leaves_a_whole_bundle(build, tmp_path):
    done = build(tmp_path / "out" / "tiny")
    assert done.code == 0
    *stages, passed, where = done.out.splitlines()
    assert passed == f"{len(stages) - 1} of {len(stages) - 1} stages passed"
    assert where.startswith(f"bundle: {tmp_path / 'out' / 'tiny'}, ")
    assert done.err.splitlines()[-1].startswith("PASSED | Runtime: ")
    assert set(files(tmp_path / "out" / "tiny")) == {
        "MODEL_CARD.md", "certificate.json", "golden.npz", "manifest.json", "stac-item.json",
        *(f"forests/{name}-{member}.forest" for name in ("all", "optical") for member in ("boosted", "other")),
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny"]


def test_building_twice_gives_the_same_bytes(build, bundle, tmp_path):
    assert build(tmp_path / "tiny").code == 0
    assert files(tmp_path / "tiny") == files(bundle)


def test_a_bundle_is_replaced_only_when_asked_and_nothing_else_ever(build, tmp_path):
    out = tmp_path / "tiny"
    assert build(out).code == 0
    first = files(out)
    again = build(out)
    assert again.code == 2 and "is there already; give --overwrite" in again.error and files(out) == first
    assert build(out, "--overwrite", names=("optical",)).code == 0
    assert "forests/all-boosted.forest" not in files(out)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    other = build(tmp_path / "home", "--overwrite")
    assert other.code == 2 and "holds no manifest.json, so it is not replaced" in other.error
    assert files(tmp_path / "home") == {"letter.txt": b"dear"}


def test_the_folder_one_is_in_is_refused_in_one_line(build, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "letter.txt").write_text("dear")
    monkeypatch.chdir(tmp_path / "here")
    assert "is there already" in build(Path()).error
    assert "holds no manifest.json" in build(Path(), "--overwrite").error


def test_verify_and_inspect(bundle):
    verified = invoke(lsd_export, "verify", bundle)
    assert verified.code == 0 and verified.out.splitlines()[-1] == "10 of 10 stages passed"
    assert verified.err.startswith("PASSED | ")
    stages = json.loads(invoke(lsd_export, "verify", bundle, "--json").out)
    assert len(stages) == 10 and all(stage["passed"] for stage in stages)
    seen = invoke(lsd_export, "inspect", bundle)
    assert seen.code == 0 and "SYNTHETIC: trained on made-up data" in seen.out
    assert "all-boosted: weight 0.5, 5 trees of lightgbm, features second-order v1 (376, " in seen.out
    document = json.loads(invoke(lsd_export, "inspect", bundle, "--json").out)
    assert document["files"].keys() == set(files(bundle)) - {"manifest.json"}


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_spoilt_bundle_is_refused(bundle, tmp_path, command):
    for name, data in files(bundle).items():
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(data + b"\n" * (name == "MODEL_CARD.md"))
    done = invoke(lsd_export, command, tmp_path / "b")
    assert done.code == 2 and "MODEL_CARD.md was changed since export" in done.error and done.out == ""


def test_order_and_names_of_configurations(build, tmp_path):
    unordered = build(tmp_path / "b", names=("optical", "all"))
    assert unordered.code == 2 and "'optical' stands before 'all' and would always answer" in unordered.error
    twice = build(tmp_path / "b", names=("all", "all"))
    assert twice.code == 2 and "two runs are configuration 'all'; train one of them with another --name" in twice.error
    assert not (tmp_path / "b").exists()


def test_two_configurations_of_the_same_bands(runs, tmp_path):
    document = json.loads((runs / "optical" / "run.json").read_text())
    for name, data in files(runs / "optical").items():
        (tmp_path / "again" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "again" / name).write_bytes(data)
    (tmp_path / "again" / "run.json").write_text(json.dumps({**document, "configuration": "again"}))
    done = invoke(lsd_export, "build", runs / "optical", tmp_path / "again", "-o", tmp_path / "b")
    assert done.code == 2 and "'optical' stands before 'again' and would always answer in its place" in done.error


def test_no_run_folder(tmp_path):
    done = invoke(lsd_export, "build", tmp_path, "-o", tmp_path / "b")
    assert done.code == 2 and "no run folder (run.json is missing)" in done.error


@pytest.mark.parametrize("name", ["all", "optical"])
def test_what_training_chose_is_in_the_manifest(runs, bundle, name):
    run = json.loads((runs / name / "run.json").read_text())
    (one,) = [c for c in json.loads((bundle / "manifest.json").read_text())["configurations"] if c["name"] == name]
    assert {key: one[key] for key in ("bands", "calibration", "threshold", "metrics")} == {
        key: run[key] for key in ("bands", "calibration", "threshold", "metrics")
    }
    members = [f"{name}-boosted", f"{name}-other"]
    assert one["parts"] == [{"name": "forest", "members": members, "weights": run["weights"]}]
    assert one["combination"] == {"method": "mean", "weights": [1.0], "intercept": 0.0}
    assert one["prevalence"] == run["data"]["positives"] / run["data"]["samples"]


def test_the_card_says_what_must_be_said(bundle):
    card = (bundle / "MODEL_CARD.md").read_text()
    for words in (
        "Trained on synthetic data", "Licence of this bundle: CC-BY-SA 4.0", "rows made up for tests, licence CC0-1.0",
        "200 patches", "SHA-256", "| F1 | ", "What it must not be used for", "To say that ground is safe",
        "Whole clusters of similar ground left out", "if 1 % do",
    ):  # fmt: skip
        assert words in card
    (nested,) = [line for line in card.split("how the bundle decides")[1].splitlines() if line.startswith("| F1 |")][:1]
    f1 = (
        manifest_from_bytes((bundle / "manifest.json").read_bytes(), "b")
        .configurations[0]
        .metrics["nested"]["all"]["f1"]
    )
    assert f"{f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})" in nested and f1["low"] < f1["value"] < f1["high"]


def test_synthetic_is_said_by_everything_that_a_run_leaves(bundle, tmp_path):
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    ran = invoke(lsd_run, bundle, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert ran.code == 0 and "warning: this bundle was trained on synthetic data" in ran.err
    summary = json.loads(ran.out)
    assert summary["bundle"]["synthetic"] is True
    found = json.loads((tmp_path / "out" / L2A_NEW / "detections.geojson").read_text())
    assert found["bundle"]["synthetic"] is True and "made-up data" in found["note"]
