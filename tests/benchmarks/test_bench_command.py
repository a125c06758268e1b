"""lsd-bench as its user meets it, on a small bundle and in a hurry; its figures are measured, not tested."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bench_results import HandClock, result, windows_of
from commands import invoke
from encoder_bundles import encoder_bundle

from bundles import random_bundle, write
from lsd.benchmarks.bench import backends, content, figures
from lsd.benchmarks.bench.command import main
from lsd.benchmarks.bench.conditions import file_stem
from lsd.benchmarks.bench.fresh_process import peak_mb
from lsd.benchmarks.bench.options import PARTS, BenchOptions
from lsd.benchmarks.bench.plots import percentile_plot, window_plot
from lsd.benchmarks.bench.report import report_page
from lsd.benchmarks.bench.stages import ABOUT
from lsd.benchmarks.bench.subject import open_subject
from lsd.benchmarks.bench.text import MOST_OVERHEAD, backend_rows, facts, flattened, result_text, run_stages
from lsd.benchmarks.bench.windows import Rule
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import BackendError
from lsd.runtime.native.library import native_library
from lsd.runtime.patches import PatchBatch, PatchGrid
from lsd.runtime.reader import patch_batches, read_windows
from lsd.runtime.scores import SCORED
from lsd.runtime.sources import tiles_of

REFERENCE = Path(__file__).resolve().parents[2] / "bundles" / "reference"
HEAVY = ("torch", "scipy", "matplotlib", "lightgbm", "treelite", "onnx", "onnxruntime", "openvino", "pynvml")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(random_bundle(), tmp_path_factory.mktemp("bundles") / "random")


@pytest.fixture(scope="module")
def measured(bundle, tmp_path_factory):
    """Outcome and folder of a whole measurement, in a hurry."""
    folder = tmp_path_factory.mktemp("results")
    words = ["--quick", "--window-s", "0.02", "--warm-up-s", "0", "--batch-size", "16", "--html", "-o", folder]
    return invoke(main, bundle, *words), folder


def only(folder, ending):
    (found,) = folder.glob(f"*{ending}")
    return found


def test_everything_is_measured_or_said_not_to_be(measured, bundle):
    outcome, folder = measured
    assert outcome.code == 0, outcome.err
    document = json.loads(only(folder, ".json").read_text())
    assert set(document["scenarios"]) == {"single-stream", "multi-stream", "offline", "server"}
    assert set(document["stages"]) == {"read", "copy", "features", "forest", "combine", "score"}  # it has no network
    assert set(document["tile"]["seconds"]) >= {"read", "score", "write"}
    assert document["tile"]["patches"] == document["tile"]["scored"] == 16
    assert set(document["backends"]) == {"native", "table", "compiled"}
    assert all(one["seconds_per_patch"] > 0 for one in document["backends"]["table"].values())
    assert "no compiled forest" in document["backends"]["compiled"]["not_measured"]
    cold = document["fresh"]["seconds"]
    assert cold["whole"]["median"] == pytest.approx(sum(one["median"] for name, one in cold.items() if name != "whole"))
    assert all(one["median"] > 0 for one in cold.values())
    if peak_mb() is not None:
        peaks = document["fresh"]["peak_mb"]
        assert 20 < peaks["opened"]["median"] <= peaks["first patch"]["median"] <= peaks["batches"]["median"] < 1000
    overhead = document["overhead"]
    assert set(overhead["share"]) == set(document["scenarios"]) and overhead["closed_loop_s"] > 0
    assert document["conditions"]["bundle"]["sha256"] == open_bundle(bundle).sha256
    assert document["answers"]["status"] == {"scored": 256}
    assert "SYNTHETIC" in document["conditions"]["content"] and document["accuracy"]["synthetic"] is True
    assert [path.name for path in folder.iterdir() if path.suffix not in (".json", ".html")] == []  # no tile is left


def test_the_file_name_holds_the_conditions(measured):
    _, folder = measured
    forests = "table" if native_library() is None else "native"
    assert re.fullmatch(
        rf"random-{forests}-onnxruntime\.fp32-\w+-\d+cpu-\d{{4}}-\d\d-\d\d\.json", only(folder, ".json").name
    )


def test_the_table_is_on_stdout_and_the_talk_on_stderr(measured):
    outcome, folder = measured
    lines = outcome.out.splitlines()
    assert lines[0].startswith("random ") and lines[-1] == f"result: {only(folder, '.json')}"
    assert re.search(r"^single-stream +1 ", outcome.out, re.MULTILINE)
    assert re.search(r"^lsd-bench's own overhead: single-stream ", outcome.out, re.MULTILINE)
    assert "trained on SYNTHETIC data" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("DONE | Runtime: ")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_page_with_plots_that_loads_nothing(measured):
    page = Page(only(measured[1], ".html").read_text())
    assert page.open == [] and "script" not in page.tags and "link" not in page.tags
    assert page.tags.count("svg") >= 4


def test_the_report_shows_intervals_and_what_spoilt_it():
    document = result()
    document["machine"]["disturbances"] = ["a compiler ran", "the host took a core"]
    document["scenarios"]["offline"].update(stable=False, spread=0.5)
    page = report_page(document, "title")
    assert page.count("Read with care") == 1 and page.count("<li>") == 3  # two disturbances, one scenario
    assert "<small>10 ms to 10 ms</small>" in page and "<small>spread 50 %</small>" in page
    assert "<dt>energy, offline</dt><dd>not measured</dd>" in page and "<dt>energy</dt><dd>no meter</dd>" in page
    assert "<dt>throttling</dt><dd>processor 0 times</dd>" in page
    assert f"<dt>bundle sha256</dt><dd>{'ab' * 32}</dd>" in page
    assert "measured 2026-11-26 00:00 UTC in 60 s" in page


def test_dots_stand_at_the_percentiles_of_the_table():
    """A curve of 5,000 samples reaches 99.8 %: it has p50, p90, p99, and no p99.9."""
    assert percentile_plot(result()).count("<circle") == 3 * 3  # single-stream, multi-stream, server


@pytest.mark.parametrize(
    ("longest", "wanted"),
    [(0.0, ["0 s"]), (10.3, ["0 s", "5 s", "10 s"]), (0.04, ["0 s", "0.01 s", "0.02 s", "0.03 s", "0.04 s"])],
)
def test_ticks_of_time_are_round(longest, wanted):
    document = result()
    for one in document["scenarios"].values():
        for number, window in enumerate(one["windows"]):
            window["begin_s"] = longest * number / (len(one["windows"]) - 1)
    assert re.findall(r">([\d.]+ s)</text>", window_plot(document)) == wanted


@pytest.mark.parametrize("medians", [[0.01, 0.0102, 0.0101], [0.02, 0.034, 0.03], [0.0001, 0.5, 0.01]])
def test_an_axis_of_latencies_has_ticks_however_narrow(medians):
    found = re.findall(r'class="latitude">([\d.]+ m?u?s)</text>', percentile_plot(result(medians)))
    assert 3 <= len(found) <= 12 and len(set(found)) == len(found)


def test_a_nested_document_becomes_pairs():
    nested = {
        "a_b": {"c": None, "d": 0.25, "e": {}, "f": []},
        "gpus": [{"name": "one"}, {"name": "two"}],
        "mode": {"not_measured": "no file"},
    }
    assert flattened(nested, "default") == [
        ("a b c", "default"), ("a b d", "0.25"), ("a b e", "none"), ("a b f", "none"), ("gpus 1 name", "one"),
        ("gpus 2 name", "two"), ("mode", "not measured: no file"),
    ]  # fmt: skip


def test_the_fastest_backend_is_named():
    """Of one size each: table in two thirds of the time for one patch, native for a batch."""
    document = result((0.03, 0.03, 0.03))
    document["conditions"]["options"]["backend"] = "native"
    one, batch = (figures.throughput_figures(windows_of([0.02] * 3, n), n) for n in (1, 64))
    document["backends"]["table"] = {"one": one, "batch": batch}
    assert backend_rows(document)[1:] == [
        ("native", "30 ms", "234 us", "in use; fastest: batch of 128"),
        ("compiled", "not measured", "not measured", ""),
        ("table", "20 ms", "312 us", "fastest: one patch"),
    ]
    told, page = result_text(document), report_page(document, "title")
    assert "fastest: one patch" in told and "backends compiled: none" in told and "fastest: one patch" in page
    del document["backends"]  # a result of an older lsd-bench
    assert backend_rows(document) == [] and "every backend" not in report_page(document, "title")


def test_every_backend_is_asked_in_turn_about_other_rows(bundle, monkeypatch):
    """Single rows and batches of the pool, by forests of known time; a backend that is not here has a reason."""
    subject, clock, asked = open_subject(bundle, BenchOptions()), HandClock(), []

    def chain_of(bundle, name, opened):
        if name == "compiled":
            raise BackendError("no compiled\nforest")
        return SimpleNamespace(forests=dict.fromkeys(subject.chain.forests, SimpleNamespace(margins=margins)))

    def margins(rows):
        asked.append(rows)
        clock.time_s += 0.001 * len(rows)

    monkeypatch.setattr(backends, "Chain", chain_of)
    subject.chain.backend = "none of them"
    began, rule = [], Rule(window_s=0.05, agree=2, most=2, warm_up_s=0.0)
    found = backends.measure_backends(subject, 64, clock, rule, began.append)
    assert began == list(found) == ["native", "table", "compiled"]
    members = len(subject.chain.feature_sets(subject.configuration))
    for size in backends.SIZES:
        assert found["table"][size]["seconds_per_patch"] == pytest.approx(0.001 * members)
    singles = [rows for rows in asked[::members] if len(rows) == 1]
    assert {len(rows) for rows in asked} == {1, 64} and not np.array_equal(singles[0], singles[1])
    assert found["compiled"] == {"not_measured": "no compiled forest"}


def test_stages_of_lsd_run_come_in_the_order_of_the_work():
    seconds = {name: {} for name in ("write", "new", "read", "encode", "score", "wait")}
    assert list(run_stages({"seconds": seconds})) == ["read", "wait", "score", "encode", "write", "new"]


def test_throughput_is_told_as_area():
    told = dict(facts(result((0.01, 0.01, 0.01))))["offline"]  # 128 patches in 10 ms
    assert told == "5,243 km2/s (12,800 patches/s of 0.4096 km2), pixels in memory"


def test_a_name_in_the_report_is_text():
    document = result()
    document["conditions"]["bundle"]["name"] = "<script>alert(1)</script>"
    page = report_page(document, "<b>title</b>")
    assert "<script>" not in page and "<b>title" not in page and "&lt;script&gt;" in page


def test_a_result_of_the_same_name_is_not_replaced(measured, bundle):
    _, folder = measured
    file = only(folder, ".json")
    before = file.read_bytes()
    again = ["--quick", "--parts", "offline", "--window-s", "0.01", "--batch-size", "8", "-o", folder, "-q", "-q"]
    refused = invoke(main, bundle, *again)
    assert refused.code == 2 and "--overwrite" in refused.error and file.read_bytes() == before
    done = invoke(main, bundle, *again, "--overwrite", "--json")
    assert done.code == 0 and done.err == ""
    document = json.loads(done.out)
    assert json.loads(file.read_text()) == document and set(document["scenarios"]) == {"offline"}
    assert document["stages"] is document["tile"] is document["fresh"] is None
    file.write_bytes(before)


def test_what_is_not_by_default_stands_in_the_name():
    when = datetime(2026, 11, 26)
    conditions = result()["conditions"]
    assert file_stem(conditions, when).startswith("made_up-auto-onnxruntime.fp32-")
    conditions["options"] = BenchOptions(
        backend="compiled", encoders="onnxruntime", provider="cuda", precision="fp16", encoder_batch=32, threads=4,
        exit="0.02,0.98",
    ).of_answers  # fmt: skip
    stem = file_stem(conditions, when)
    assert stem.startswith("made_up-compiled-onnxruntime.cuda.fp16-batch32-threads4-exit0.02_0.98-")
    assert stem.endswith("-2cpu-2026-11-26")


def test_overhead_above_its_limit_is_said_aloud():
    document = result()
    assert "MORE THAN" not in result_text(document)
    document["overhead"]["share"]["server"] = 2 * MOST_OVERHEAD
    assert "MORE THAN 1 %: server" in result_text(document)


def test_every_reason_is_told():
    told = result_text(result())
    assert "energy: no meter" in told
    assert "scenarios single-stream percentiles p99.9: 5,000 samples; p99.9 needs 10,000" in told


def test_queries_take_turns_through_the_pool(bundle):
    subject = open_subject(bundle, BenchOptions())
    seen = []
    ask = subject.query(100, seen.append)
    for _ in range(3):
        ask(100)
    first, second, third = seen
    assert np.shares_memory(first.pixels, subject.pixels)
    assert not np.array_equal(first.pixels, second.pixels) and np.array_equal(first.pixels, third.pixels)
    assert first is not third  # a batch remembers which pixels are invalid: it must not be asked twice
    assert isinstance(first, PatchBatch) and len(first) == 100


@pytest.mark.parametrize("configuration", ["all", "optical"])
def test_synthetic_patches_are_answered_by_the_configuration_asked_for(configuration):
    subject = open_subject(REFERENCE, BenchOptions(configuration=configuration))
    found = subject.chain.score(subject.batch(0, 64))
    names = [one.name for one in subject.chain.manifest.configurations]
    assert (found.status == SCORED).all() and {names[at - 1] for at in found.configuration} == {configuration}


def test_a_patch_does_not_depend_on_other_bands_or_on_their_number():
    every, optical = content.synthetic_patches(5, BAND_NAMES), content.synthetic_patches(5, of_modality("optical"))
    np.testing.assert_array_equal(every[:, :4], optical)
    assert every.dtype == np.float32 and np.isfinite(every).all()


def test_the_tile_holds_the_same_patches_as_lsd_run_reads_them(tmp_path):
    (tile,) = tiles_of([content.write_tile(tmp_path, BAND_NAMES, 2)])
    grid = PatchGrid(128, 128)
    batches = [batch for window in read_windows(tile, grid) for batch in patch_batches(window, grid, 4)]
    pixels = np.concatenate([batch.pixels for batch in batches])
    assert batches[0].bands == BAND_NAMES
    np.testing.assert_array_equal(pixels, content.synthetic_patches(4, BAND_NAMES))


def test_an_unknown_configuration_is_refused(bundle, tmp_path):
    done = invoke(main, bundle, "-o", tmp_path, "--configuration", "opticle")
    assert done.code == 2 and "did you mean 'optical'" in done.error


def test_the_command_line_for_lsd_run_is_that_of_the_measurement():
    options = BenchOptions(backend="compiled", encoder_batch=4, exit="off")
    assert options.words == ["--backend", "compiled", "--encoder-batch", "4", "--exit", "off"]
    assert BenchOptions().words == []
    assert BenchOptions(parts="offline,stages").chosen == ("offline", "stages") and BenchOptions().chosen == PARTS


def test_a_process_that_fails_is_one_line(bundle, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '  File \"x\", line 1' >&2\necho 'SomeError: why' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    done = invoke(main, bundle, "-o", tmp_path / "out", "--parts", "fresh", "-q")
    assert done.code == 2 and done.error.endswith("fresh process ended with exit code 1: SomeError: why")
    assert list((tmp_path / "out").iterdir()) == []


def test_networks_are_a_stage_of_their_own(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: networks are evaluated with it")
    folder = write(encoder_bundle(random_bundle()), tmp_path / "networks")
    hurry = ["--quick", "--window-s", "0.01", "--warm-up-s", "0", "--batch-size", "8", "--threads", "1"]
    done = invoke(main, folder, *hurry, "--parts", "offline,stages", "--precision", "fp16", "-o", tmp_path, "-q")
    assert done.code == 0, done.err
    assert "networks by onnxruntime fp16 on cpu" in done.out.splitlines()[0]
    file = only(tmp_path, ".json")
    assert "-onnxruntime.fp16-threads1-" in file.name
    document = json.loads(file.read_text())
    assert set(document["stages"]) == {"read", "copy", "features", "forest", "encode", "combine", "score"}
    assert document["encoders"]["net"]["threads"] == "1" and document["encoders"]["net"]["folds"] == "2"


def test_only_the_runtime_is_needed(bundle, tmp_path):
    words = [str(bundle), "--quick", "--parts", "single-stream", "--window-s", "0.01", "-o", str(tmp_path), "--html"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
        f"from lsd.benchmarks.bench.command import main; main({words!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(name.startswith(("lsd.export", "lsd.train")) for name in _imported())


def _imported():
    code = (
        "import sys, lsd.benchmarks.bench.measurement, lsd.benchmarks.bench.report, lsd.benchmarks.bench.command\n"
        "print(*sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_reference_chain_gives_golden_answers_still():
    """What is timed is what answers: the query scores as the chain does."""
    subject = open_subject(REFERENCE, BenchOptions(configuration="optical"))
    found = []
    subject.query(8, lambda batch: found.append(subject.chain.score(batch)))(8)
    direct = Chain(open_bundle(REFERENCE)).score(subject.batch(0, 8))
    np.testing.assert_array_equal(found[0].probability, direct.probability)


def test_the_page_about_it_names_what_there_is_and_its_commands_are_known():
    page = (REFERENCE.parents[1] / "docs" / "benchmarking.md").read_text()
    assert all(f"`{name}`" in page for name in (*PARTS, *ABOUT))
    lines = re.findall(r"^    lsd-bench (.*)$", page, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        main.make_context("lsd-bench", shlex.split(line))  # an unknown option would end it
