"""From training runs to a bundle through the commands: build, inspect, verify, and lsd-run with what they made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Outcome, files, invoke
from tables import write_table
from tiles import L2A_NEW, optical, write_tiff

from lsd.export.cli.main import main as lsd_export
from lsd.runtime.cli.run import main as lsd_run
from lsd.runtime.manifest import manifest_from_bytes
from lsd.train.cli.main import main as lsd_train

GOLDEN = Path(__file__).parent / "data"
RECIPE = {
    "name": "tiny",
    "description": "Five rounds of either library.",
    "members": [
        {"id": "boosted", "library": "lightgbm", "feature_set": "second-order", "rounds": 5,
         "parameters": {"num_leaves": 6, "learning_rate": 0.3, "min_data_in_leaf": 4}},
        {"id": "other", "library": "xgboost", "feature_set": "table-85", "rounds": 5, "parameters": {"max_depth": 3}},
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders `all` and `optical`, trained on a synthetic table and marked so."""
    place = tmp_path_factory.mktemp("runs")
    (place / "tiny.json").write_text(json.dumps(RECIPE))
    table = write_table(place / "table.csv", 200)
    said = ["--data-name", "rows made up for tests", "--licence", "CC0-1.0", "--synthetic", "--folds", 3, "-qq"]
    for bands in ("all", "optical"):
        done = invoke(
            lsd_train, "forest", "--table", table, "--recipe", place / "tiny.json", "--bands", bands, *said,
            "-o", place / bands,
        )  # fmt: skip
        assert done.code == 0, done.err
    return place


def build(runs: Path, out: Path, *more: object, names: tuple[str, ...] = ("all", "optical")) -> Outcome:
    said = ["--licence", "CC-BY-SA 4.0", "--description", "Made for a test."]
    return invoke(lsd_export, "build", *(runs / name for name in names), "-o", out, *said, *more)


@pytest.fixture(scope="session")
def bundle(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    done = build(runs, out)
    assert done.code == 0, done.err
    return out


def test_build_reports_every_stage_and_leaves_a_whole_bundle(runs, tmp_path):
    done = build(runs, tmp_path / "out" / "tiny")
    assert done.code == 0
    *stages, passed, where = done.out.splitlines()
    assert passed == f"{len(stages) - 1} of {len(stages) - 1} stages passed"
    assert where.startswith(f"bundle: {tmp_path / 'out' / 'tiny'}, ")
    assert done.err.splitlines()[-1].startswith("PASSED | Runtime: ")
    assert set(files(tmp_path / "out" / "tiny")) == {
        "MODEL_CARD.md", "certificate.json", "golden.npz", "manifest.json",
        *(f"forests/{name}-{member}.forest" for name in ("all", "optical") for member in ("boosted", "other")),
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny"]


def test_building_twice_gives_the_same_bytes(runs, bundle, tmp_path):
    assert build(runs, tmp_path / "tiny").code == 0
    assert files(tmp_path / "tiny") == files(bundle)


def test_a_bundle_is_replaced_only_when_asked_and_nothing_else_ever(runs, tmp_path):
    out = tmp_path / "tiny"
    assert build(runs, out).code == 0
    first = files(out)
    again = build(runs, out)
    assert again.code == 2 and "is there already; give --overwrite" in again.error and files(out) == first
    assert build(runs, out, "--overwrite", names=("optical",)).code == 0
    assert "forests/all-boosted.forest" not in files(out)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    other = build(runs, tmp_path / "home", "--overwrite")
    assert other.code == 2 and "holds no manifest.json, so it is not replaced" in other.error
    assert files(tmp_path / "home") == {"letter.txt": b"dear"}


def test_the_folder_one_is_in_is_refused_in_one_line(runs, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "letter.txt").write_text("dear")
    monkeypatch.chdir(tmp_path / "here")
    assert "is there already" in build(runs, Path()).error
    assert "holds no manifest.json" in build(runs, Path(), "--overwrite").error


def test_verify_and_inspect(bundle):
    verified = invoke(lsd_export, "verify", bundle)
    assert verified.code == 0 and verified.out.splitlines()[-1] == "10 of 10 stages passed"
    assert verified.err.startswith("PASSED | ")
    stages = json.loads(invoke(lsd_export, "verify", bundle, "--json").out)
    assert len(stages) == 10 and all(stage["passed"] for stage in stages)
    seen = invoke(lsd_export, "inspect", bundle)
    assert seen.code == 0 and "SYNTHETIC: trained on made-up data" in seen.out
    assert "all-boosted: 5 trees of lightgbm, weight 0.5, features second-order v1 (376, " in seen.out
    document = json.loads(invoke(lsd_export, "inspect", bundle, "--json").out)
    assert document["files"].keys() == set(files(bundle)) - {"manifest.json"}


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_spoilt_bundle_is_refused(bundle, tmp_path, command):
    for name, data in files(bundle).items():
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(data + b"\n" * (name == "MODEL_CARD.md"))
    done = invoke(lsd_export, command, tmp_path / "b")
    assert done.code == 2 and "MODEL_CARD.md was changed since export" in done.error and done.out == ""


def test_order_and_names_of_configurations(runs, tmp_path):
    unordered = build(runs, tmp_path / "b", names=("optical", "all"))
    assert unordered.code == 2 and "'optical' stands before 'all' and would always answer" in unordered.error
    twice = build(runs, tmp_path / "b", names=("all", "all"))
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


def test_the_card_says_what_must_be_said(bundle):
    card = (bundle / "MODEL_CARD.md").read_text()
    for words in (
        "Trained on synthetic data", "Licence of this bundle: CC-BY-SA 4.0", "rows made up for tests, licence CC0-1.0",
        "200 patches", "SHA-256", "| F1 | ", "What it must not be used for", "To say that ground is safe",
        "Whole clusters of similar ground left out", "if 1 % do",
    ):  # fmt: skip
        assert words in card
    (nested,) = [line for line in card.split("how the bundle decides")[1].splitlines() if line.startswith("| F1 |")][:1]
    f1 = manifest_from_bytes((bundle / "manifest.json").read_bytes(), "b").configurations[0].metrics["nested"]["all"]["f1"]
    assert f"{f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})" in nested and f1["low"] < f1["value"] < f1["high"]


def test_synthetic_is_said_by_everything_that_a_run_leaves(bundle, tmp_path):
    write_tiff(tmp_path / "in" / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    ran = invoke(lsd_run, bundle, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert ran.code == 0 and "warning: this bundle was trained on synthetic data" in ran.err
    summary = json.loads(ran.out)
    assert summary["bundle"]["synthetic"] is True
    found = json.loads((tmp_path / "out" / L2A_NEW / "detections.geojson").read_text())
    assert found["bundle"]["synthetic"] is True and "made-up data" in found["note"]
    check_keys("summary_keys.txt", summary)


def test_keys_of_the_manifest_and_the_certificate(bundle):
    check_keys("manifest_keys.txt", json.loads((bundle / "manifest.json").read_text()))
    check_keys("certificate_keys.txt", json.loads((bundle / "certificate.json").read_text()))


# names that a bundle or a run chooses; below them the keys are the schema's again
FREE = ("files", "members", "feature_sets", "training", "training.*.versions", "versions", "inputs.training_rows",
        "bundle.configurations", "tiles[].configurations", "totals.seconds", "tiles[].seconds",
        "training.*.recipe.members[].parameters")  # fmt: skip


def keys_of(value: object, path: str = "") -> set[str]:
    """Dotted paths of all keys; `*` for a free name, `[]` for the items of a list."""
    if isinstance(value, dict):
        found = {f"{path}." if path else ""}
        for key, one in value.items():
            name = "*" if path in FREE else key
            found |= keys_of(one, f"{path}.{name}" if path else name)
        return found
    if isinstance(value, list):
        return set().union({f"{path}[]"}, *(keys_of(one, f"{path}[]") for one in value))
    return {path}


def check_keys(name: str, document: object) -> None:
    """A key that comes, goes or moves shows here: then raise the schema version, or add it to the golden file."""
    leaves = {key for key in keys_of(document) if not key.endswith(".")}
    assert sorted(leaves) == (GOLDEN / name).read_text().split()
