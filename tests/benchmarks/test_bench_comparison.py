"""Only like is compared with like, and a gate closes on what is slower beyond its noise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bench_results import changed, result
from click.testing import CliRunner
from commands import invoke

from bundles import random_bundle, write
from lsd.benchmarks.bench import command, measurement
from lsd.benchmarks.bench.comparison import GATED, compare
from lsd.benchmarks.bench.conditions import differences

BASE = (0.0100, 0.0101, 0.0099, 0.0100, 0.0102)


def times(factor, scatter=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [factor * value * (1 + scatter * rng.uniform(-1, 1)) for value in BASE]


def ratio(comparison, name):
    return next(one for one in comparison.ratios if one.name == name)


def test_ratios_of_every_figure_with_intervals():
    found = compare(result(), result(times(1.2)))
    for name in GATED:
        one = ratio(found, name)
        assert one.ratio == pytest.approx(1.2) and one.low < 1.2 < one.high
        assert one.high - one.low < 0.04
    assert ratio(found, "stages forest").ratio == pytest.approx(1.2)
    assert ratio(found, "single-stream p99").ratio == pytest.approx(1.2)  # 1,000 samples in each window
    assert (found.differences, found.versions, found.left_out) == ((), (), ())


@pytest.mark.parametrize(
    ("factor", "scatter", "tolerance", "is_slower"),
    [
        (1.0, 0.0, 0.0, False),  # the same
        (1.2, 0.0, 0.1, True),
        (1.2, 0.0, 0.3, False),  # allowed
        (1.2, 0.5, 0.1, False),  # lost in noise
        (0.8, 0.0, 0.1, False),  # faster
    ],
)
def test_slower_means_beyond_tolerance_and_noise(factor, scatter, tolerance, is_slower):
    found = compare(result(), result(times(factor, scatter)))
    assert {one.name for one in found.slower(tolerance)} == (set(GATED) if is_slower else set())


def test_an_interval_needs_three_windows_and_a_gate_an_interval():
    found = compare(result(BASE[:2]), result(times(2.0)))
    one = ratio(found, "single-stream p50")
    assert (one.low, one.high) == (None, None) and one.ratio == pytest.approx(2, rel=0.02)
    assert found.slower(0.1) == []


def test_windows_that_were_not_counted_have_no_say():
    def disturb(document):
        for scenario in document["scenarios"].values():
            first = scenario["windows"][0]
            first["counted"] = False
            first["p50_s"] = first["seconds_per_patch"] = 1.0

    found = compare(result(), changed(result(), disturb))
    assert all(one.ratio == pytest.approx(1, rel=0.02) for one in found.ratios if one.name in GATED)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["bundle"].update(sha256="cd" * 32), "bundle sha256: abababababababab..., cdcdcdcdcdcdcdcd..."),
        (lambda c: c["options"].update(threads=4), "options threads: none, 4"),
        (lambda c: c["options"].update(precision="int8"), "options precision: fp32, int8"),
        (lambda c: c["machine"].update(processor="another"), "machine processor: made up, another"),
        (lambda c: c["machine"].update(gpus=["H100"]), "machine gpus: none, ['H100']"),
        (lambda c: c["machine"]["power_mode"].update(nvpmodel="15W"), "machine power mode nvpmodel: MAXN, 15W"),
        (lambda c: c.update(configuration="optical"), "configuration: all, optical"),
    ],
)
def test_other_conditions_are_named_and_refused(change, told, tmp_path):
    other = changed(result(), lambda document: change(document["conditions"]))
    assert differences(result()["conditions"], other["conditions"]) == [told]
    a, b = stored(tmp_path / "a.json", result()), stored(tmp_path / "b.json", other)
    refused = invoke(command.main, "--compare", a, b)
    assert refused.code == 2 and told in refused.error and refused.out == ""
    forced = invoke(command.main, "--compare", a, b, "--force")
    assert forced.code == 0 and "CONDITIONS DIFFER" in forced.out and told in forced.out


def test_other_versions_are_named_and_compared():
    other = changed(result(), lambda document: document["versions"].update({"lsd-edge": "0.2"}))
    found = compare(result(), other)
    assert found.versions == ("lsd-edge: 0.1, 0.2",) and found.ratios


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda d: d["settings"].update(patches=16), "multi-stream"),
        (lambda d: d["settings"].update(batch_size=16), "offline"),
        (lambda d: d["scenarios"]["server"].update(rate_per_s=60.0), "server"),
    ],
)
def test_a_part_that_asked_something_else_is_left_out(change, part):
    found = compare(result(), changed(result(), change))
    assert any(reason.startswith(part) for reason in found.left_out)
    names = [one.name for one in found.ratios]
    assert not any(name.startswith(part) for name in names) and "single-stream p50" in names


def test_what_may_have_spoilt_a_result_is_told():
    def spoil(document):
        document["machine"]["disturbances"] = ["the machine was busy before: load 9"]
        document["scenarios"]["offline"].update(stable=False, spread=0.5)

    found = compare(result(), changed(result(), spoil))
    assert found.cautions == (
        "second: the machine was busy before: load 9",
        "second: offline: windows do not agree (spread 50.0 %)",
    )


def test_compare_prints_a_table_or_json(tmp_path):
    a, b = stored(tmp_path / "a.json", result()), stored(tmp_path / "b.json", result(times(1.5)))
    table = invoke(command.main, "--compare", a, b)
    assert table.code == 0 and "single-stream p50" in table.out and "1.500" in table.out
    document = json.loads(invoke(command.main, "--compare", a, b, "--json").out)
    assert {one["name"] for one in document["ratios"]} >= set(GATED)


def stored(path, document):
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(random_bundle(), tmp_path_factory.mktemp("bundles") / "random")


@pytest.fixture
def measured(monkeypatch):
    """Callable that makes lsd-bench measure these times, under the conditions that it finds; returns what it was."""

    def prepare(medians):
        found = {}

        def document(self, conditions):
            found.update(result(medians), conditions=dict(conditions), settings=self.options.settings)
            found["scenarios"]["server"]["rate_per_s"] = self.options.rate or 50.0
            return found

        monkeypatch.setattr(measurement.Measurement, "document", document)
        return found

    return prepare


@pytest.mark.parametrize(
    ("factor", "words", "code"),
    [(1.0, [], 0), (1.5, [], 3), (1.5, ["--tolerance", "0.6"], 0), (1.05, ["--tolerance", "0.01"], 3)],
)
def test_the_gate(factor, words, code, bundle, measured, tmp_path):
    measured(BASE)
    assert invoke(command.main, bundle, "-o", tmp_path / "base").code == 0
    (baseline,) = (tmp_path / "base").iterdir()
    now = measured(times(factor))
    done = invoke(command.main, bundle, "-o", tmp_path / "now", "--gate", baseline, *words)
    assert done.code == code, done.err
    (file,) = (tmp_path / "now").iterdir()  # written also where the gate closes
    assert file.name == baseline.name
    assert now["scenarios"]["server"]["rate_per_s"] == 50.0  # that of the baseline, so that both can be compared
    if code:
        assert "4 figures are slower" in done.error and f"{factor:.3f} times" in done.error
    else:
        assert done.err.splitlines()[-1].startswith("DONE | Runtime: ")


def test_the_gate_refuses_other_conditions_before_it_measures(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(measurement.Measurement, "document", lambda *_: pytest.fail("measured all the same"))
    baseline = stored(tmp_path / "base.json", result())
    done = invoke(command.main, bundle, "-o", tmp_path / "now", "--gate", baseline)
    assert done.code == 2 and "bundle sha256" in done.error and "--force" in done.error


def test_the_gate_refuses_what_has_too_few_windows(bundle, measured, tmp_path):
    measured(BASE[:2])
    assert invoke(command.main, bundle, "-o", tmp_path / "base").code == 0
    (baseline,) = (tmp_path / "base").iterdir()
    done = invoke(command.main, bundle, "-o", tmp_path / "now", "--gate", baseline)
    assert done.code == 2 and "enough windows" in done.error


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is no result of lsd-bench"),
        ('{"kind": "lsd-bench", "schema_version": 99}', "has schema version 99, this lsd-bench knows 1"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_result_is_refused(content, told, tmp_path):
    odd = tmp_path / "odd.json"
    if content is not None:
        odd.write_text(content, encoding="utf-8")
    done = invoke(command.main, "--compare", odd, stored(tmp_path / "a.json", result()))
    assert done.code == 2 and told in done.error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected BUNDLE"),
        (["b", "--compare", "a.json", "b.json"], "--compare measures nothing"),
        (["b", "--tolerance", "0.2"], "--tolerance is for --gate"),
        (["b", "--gate", "a.json", "--tolerance", "-1"], "--tolerance must be 0 or more"),
        (["b", "--parts", "singel-stream"], "did you mean"),
        (["b", "--parts", "server"], "there is no bundle here"),
        (["b", "--patches", "0"], "patches must be 1..4096"),
        (["b", "--rate", "-1"], "rate must be above 0"),
        (["b", "--agreeing", "20"], "stability rule"),
    ],
)
def test_wrong_use_is_one_line(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(command.main, *words)
    assert done.code == 2 and told in done.error
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_a_rate_needs_the_single_stream(bundle, tmp_path):
    done = invoke(command.main, bundle, "-o", tmp_path, "--parts", "server")
    assert done.code == 2 and "give --rate" in done.error


def test_help():
    assert CliRunner().invoke(command.main, ["--help"]).exit_code == 0
