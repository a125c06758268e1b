"""Faults planted between training and bundle: each is caught, no bundle is written, the exit code is 3."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from commands import files, invoke

from lsd.export.cli.main import main as lsd_export
from lsd.export.stages import table_of
from lsd.runtime.calibration import Calibration
from lsd.runtime.errors import GateError
from lsd.runtime.parity import require


def one_leaf(forest):
    """The leaf that adds most, moved by one part in a million."""
    values = forest.leaf_value.copy()
    values[np.argmax(np.abs(values))] *= 1 + 1e-6
    return replace(forest, leaf_value=values)


def one_threshold(forest):
    """The first threshold, moved to the next float32."""
    values = forest.threshold.copy()
    values[0] = np.nextafter(values[0], np.float32(np.inf))
    return replace(forest, threshold=values)


def missing_goes_elsewhere(forest):
    return replace(forest, default_left=1 - forest.default_left)


def children_swapped(forest):
    left, right = forest.left.copy(), forest.right.copy()
    left[0], right[0] = right[0], left[0]
    return replace(forest, left=left, right=right)


def another_start(forest):
    return replace(forest, base_margin=forest.base_margin + 1e-3)


@pytest.mark.parametrize("fault", [one_leaf, one_threshold, missing_goes_elsewhere, children_swapped, another_start])
def test_a_forest_that_differs(build, tmp_path, monkeypatch, fault):
    from lsd.export import forest_members as module

    original = module.forest_from_file
    monkeypatch.setattr(module, "forest_from_file", lambda path, library: fault(original(path, library)))
    failed(build(tmp_path / "b"), tmp_path, "margins of ")


def test_statistics_in_float32(build, tmp_path, monkeypatch):
    from lsd.runtime.features import sets

    original = sets.patch_statistics

    def rounded(*arguments):
        return {key: values.astype(np.float32).astype(np.float64) for key, values in original(*arguments).items()}

    monkeypatch.setattr(sets, "patch_statistics", rounded)
    failed(build(tmp_path / "b"), tmp_path, "statistics before rounding")


def test_feature_columns_in_another_order(build, tmp_path, monkeypatch):
    """The manifest lists two columns in each other's place: the forests would be fed the wrong ones."""
    from lsd.export import bundle_from_runs as module

    original = module._manifest

    def swapped(*arguments):
        manifest = original(*arguments)
        sets = {}
        for key, one in manifest.feature_sets.items():
            first, second, *rest = one.features
            sets[key] = replace(one, name="mine", features=(second, first, *rest))
        return replace(manifest, feature_sets=sets)

    monkeypatch.setattr(module, "_manifest", swapped)
    failed(build(tmp_path / "b"), tmp_path, "probability of golden patches")


def test_bands_in_another_order(build, tmp_path, monkeypatch):
    from lsd.runtime.chain import Chain

    original = Chain.features
    monkeypatch.setattr(
        Chain, "features", lambda self, one, pixels, bands: original(self, one, pixels[:, ::-1].copy(), bands)
    )
    failed(build(tmp_path / "b"), tmp_path, "probability of golden patches")


def test_a_forest_that_was_not_trained_on_these_rows_in_the_run_folder(runs, tmp_path):
    """The model file of another configuration has other columns."""
    for name, data in files(runs / "optical").items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(data)
    model = "models/boosted.txt"
    (tmp_path / "run" / model).write_bytes((runs / "all" / model).read_bytes())
    done = invoke(lsd_export, "build", tmp_path / "run", "-o", tmp_path / "b")
    assert done.code in (2, 3) and not (tmp_path / "b").exists(), done.err
    assert "error: " in done.err and "Traceback" not in done.err


def test_a_manifest_that_changes_on_its_way_to_the_disk(build, tmp_path, monkeypatch):
    """What is written is opened again and compared with what was certified."""
    from lsd.export import write as module

    original = module.write_bytes

    def losing(path, data):
        original(
            path, data.replace(b'"prevalence": 0.', b'"prevalence": 0.0') if path.name == "manifest.json" else data
        )

    monkeypatch.setattr(module, "write_bytes", losing)
    done = build(tmp_path / "b")
    assert done.code == 2 and "what was read back is not what was written" in done.error
    assert list(tmp_path.iterdir()) == []


def failed(done, place, stage):
    """Exit code 3, one line that names the stage, and no file."""
    assert done.code == 3, done
    assert stage in done.error and "of " in done.error and "stages differ from the reference" in done.error
    assert list(place.iterdir()) == []


def test_calibration_is_part_of_the_gate(bundle):
    """Golden probabilities are calibrated ones: a bundle that forgot its calibration fails its own self-test."""
    from lsd.runtime.bundle import open_bundle
    from lsd.runtime.chain import Chain
    from lsd.runtime.parity import check_golden

    opened = open_bundle(bundle)
    kept = opened.manifest.configurations
    changed = tuple(replace(one, calibration=Calibration("platt", (1.3, 0.1))) for one in kept)
    chain = Chain(replace(opened, manifest=replace(opened.manifest, configurations=changed)))
    assert {result.stage for result in check_golden(opened, chain) if not result.passed} == {"probability"}


# --- early exits -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exiting():
    """A chain of random members with exits, its exits as the run has them, and margins of simulated patches."""
    pytest.importorskip("onnx", reason="makes the graphs")
    pytest.importorskip("onnxruntime", reason="opens the encoders")
    from cascades import cascade_bundle

    from lsd.export.adversarial import simulated_patches
    from lsd.runtime.bands import BAND_NAMES
    from lsd.runtime.chain import Chain

    chain = Chain(cascade_bundle())
    configuration = chain.manifest.configurations[0]
    rows = chain.features(configuration, simulated_patches(60, 5), BAND_NAMES)
    margins = {member: chain.forests[member].margins(values) for member, values in rows.items()}
    return chain, configuration, margins


def exit_results(chain, configuration, exit, margins):
    """Both stages: rows as given, and the limits themselves."""
    from lsd.export.exit_gate import exit_stage, limits_stage

    names = [f"row {at}" for at in range(60)]
    rows = exit_stage(chain, configuration, exit, (margins, margins), 0.0, "simulated patches", names)
    return rows, limits_stage(chain, configuration, exit)


def test_exits_that_agree_pass_and_say_who_leaves(exiting):
    chain, configuration, margins = exiting
    rows, limits = exit_results(chain, configuration, configuration.exit, margins)
    assert rows.passed and limits.passed and rows.leave == rows.leave_by_reference
    assert (rows.leave.low, rows.leave.high) == (20, 20)  # a third each, see `cascade_bundle`
    assert len(rows.leave.patches) == 40 and set(rows.leave.patches.values()) == {"low", "high"}
    stored = rows.to_json()
    assert stored["leave"]["low"] == 20 and stored["passed"]
    assert "20 leave low, 20 high" in table_of([rows])


def nudged(exit):
    """The high limit one float64 further: no row shows it, the limit itself does."""
    return replace(exit, high=float(np.nextafter(exit.high, 1)))


def other_limits(exit):
    return replace(exit, low=exit.low + 0.05)


def other_answer(exit):
    """Who leaves is the same; what is said of it is not."""
    return replace(exit, calibration=Calibration("platt", (1.01, 0.0)))


@pytest.mark.parametrize(
    ("fault", "shows"),
    [(nudged, "limits"), (other_limits, "rows"), (other_answer, "rows")],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_an_exit_that_is_not_the_runs_own(exiting, fault, shows):
    chain, configuration, margins = exiting
    rows, limits = exit_results(chain, configuration, fault(configuration.exit), margins)
    assert not limits.passed and (shows == "limits" or not rows.passed)


def test_margins_that_differ_change_who_leaves(exiting):
    from lsd.export.exit_gate import exit_stage

    chain, configuration, margins = exiting
    other = {member: np.where(np.arange(len(values)) == 3, 30.0, values) for member, values in margins.items()}
    found = exit_stage(chain, configuration, configuration.exit, (margins, other), 1e-3, "rows", ["a", "b", "c", "d"])
    assert found.nan_mismatches + found.flips == 1 and found.leave_by_reference.patches["d"] == "high"
    with pytest.raises(GateError, match=r"exits differ for 'd' \(.*, expected high\)"):
        require([found], "here")


def test_a_patch_at_a_limit_that_leaves(exiting, monkeypatch):
    """`<=` in the place of `<`: the rows do not tell, the limits do."""
    from lsd.runtime.exits import Exit

    chain, configuration, margins = exiting
    monkeypatch.setattr(Exit, "leaves", lambda self, p: (p <= self.low) | (p >= self.high))
    rows, limits = exit_results(chain, configuration, configuration.exit, margins)
    assert rows.passed and limits.nan_mismatches == 2


@pytest.mark.parametrize("lost", ["run", "bundle"])
def test_an_exit_that_only_one_of_run_and_bundle_has(exiting, lost):
    from lsd.export.exit_gate import require_exits
    from lsd.runtime.chain import Chain

    chain, configuration, _ = exiting
    exits = dict(chain.exits)
    if lost == "run":
        del exits[configuration.name]
    else:
        from cascades import cascade_bundle

        chain = Chain(cascade_bundle(), exits="off", opened={})
    with pytest.raises(GateError, match=f"and the {lost} has none; export the run again"):
        require_exits(chain, exits)
    require_exits(chain, dict(chain.exits))
