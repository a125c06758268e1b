"""The comparisons run on small inputs; what is asserted is what arithmetic fixes, never a speed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from forests import random_forest, random_rows

from lsd.benchmarks.encoder_graphs import network_of, patches_of
from lsd.benchmarks.peers import encoders, forest_models, forest_peers, forests, frontier, start_up, statistics, turns
from lsd.benchmarks.peers.__main__ import COMPARISONS, main
from lsd.benchmarks.peers.forest_onnx import INPUT, onnx_of_forest
from lsd.benchmarks.peers.result import AbsentError, ResultFile, case_of, show
from lsd.benchmarks.peers.turns import Timed, Work, in_turns, ratio
from lsd.export.adversarial import simulated_patches
from lsd.runtime.backends.base import SessionOptions
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import open_bundle
from lsd.runtime.errors import BackendError
from lsd.runtime.features.sets import feature_set
from lsd.runtime.forest.walk import TableWalk
from lsd.train.encoders.recipe import read_encoder_recipe

PROJECT = Path(__file__).resolve().parents[2]
REFERENCE, RESULTS = PROJECT / "bundles" / "reference", PROJECT / "benchmarks" / "results"


@pytest.mark.parametrize("name", list(COMPARISONS))
def test_help(name):
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0 and "--commit" in shown.output


def test_an_unknown_comparison_is_refused():
    assert CliRunner().invoke(main, ["speed"]).exit_code == 2


# --- turns and results -----------------------------------------------------------------------------------------------


def test_everybody_takes_turns_and_begins_one():
    called = []
    works = {name: Work(lambda name=name: called.append(name), 1) for name in "abc"}
    timed = in_turns(works, turns=3)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"  # the first round warms up
    assert {name: len(one.us) for name, one in timed.items()} == {"a": 3, "b": 3, "c": 3}


def test_slow_peers_take_fewer_turns(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def takes(seconds):
        def call():
            now[0] += seconds

        return call

    works = {"fast": Work(takes(0.002), 4), "slow": Work(takes(2), 10), "very slow": Work(takes(6), 1)}
    timed = in_turns(works, turns=6)
    assert {name: len(one.us) for name, one in timed.items()} == {"fast": 6, "slow": 4, "very slow": 2}
    assert timed["fast"].median_us == pytest.approx(500) and timed["slow"].median_us == pytest.approx(200_000)


@pytest.mark.parametrize(("seconds", "calls", "first"), [(0.001, 20, 4), (0.5, 1, 1)], ids=["short", "long"])
def test_short_calls_are_repeated_and_long_ones_tried_once(monkeypatch, seconds, calls, first):
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def call():
        now[0] += seconds

    work = turns.repeated(call, items=3)
    assert work.items == 3 * calls and now[0] == pytest.approx(first * seconds)
    work.call()
    assert now[0] == pytest.approx((first + calls) * seconds)


def test_ratios_pair_the_turns():
    ours, peer = Timed((1.0, 2.0, 4.0)), Timed((10.0, 10.0))
    assert ratio(peer, ours) == {"median": 7.5, "least": 5.0, "most": 10.0}


def test_a_result_goes_on_where_it_stopped_unless_conditions_changed(tmp_path):
    file = tmp_path / "a" / "result.json"
    found = case_of(
        {"x": Timed((3.0,)), "y": Timed((6.0,))}, "x", {"y": {"exactness": "equal"}}, {"z": "no such library"}
    )
    ResultFile(file, {"commit": "1"}).put("case", found)
    again = ResultFile(file, {"commit": "1"})
    assert again.has("case") and again.cases["case"] == found
    assert not ResultFile(file, {"commit": "2"}).has("case")
    assert found["peers"]["y"]["times_ours"]["median"] == 2.0 and "times_ours" not in found["peers"]["x"]
    assert json.loads(file.read_text())["cases"]["case"]["not_measured"] == {"z": "no such library"}


def test_the_table_tells_what_was_not_measured(capsys):
    show("case", case_of({"x": Timed((3.0,))}, "ours", {}, {"z": "no such library"}))
    shown = capsys.readouterr().out
    assert "not measured: no such library" in shown and "3 us" in shown


# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("medians", "columns"), [(True, 126), (False, 108)])
def test_all_ways_to_statistics_agree(medians, columns):
    patches = np.ascontiguousarray(simulated_patches(3, seed=0))
    reference = statistics.reference_of(patches, medians)
    assert sorted(reference) == sorted(statistics.names_of(medians)) and len(reference) == columns
    if medians:
        assert set(reference) == set(feature_set("paper-126", BAND_NAMES).names)
    for way in (statistics.by_numpy, statistics.by_runtime):
        exact = statistics.exactness(way(patches, medians), reference)
        assert exact["max_relative_difference"] < 1e-9 and exact["equal_as_float32"] > 0.99


def test_a_wrong_statistic_is_told():
    patches = np.ascontiguousarray(simulated_patches(2, seed=0))
    reference = statistics.reference_of(patches, medians=False)
    wrong = {**reference, "red_skew": reference["red_skew"] + 0.01}
    exact = statistics.exactness(wrong, reference)
    assert exact["max_relative_difference"] == pytest.approx(0.01) and exact["equal_as_float32"] < 1


def test_statistics_writes_both_cases(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "PATCHES", 2)
    file = tmp_path / "statistics.json"
    done = CliRunner().invoke(main, ["statistics", "-o", str(file), "--turns", "1", "--commit", "abc"])
    assert done.exit_code == 0, done.output
    stored = json.loads(file.read_text())
    assert stored["conditions"]["commit"] == "abc" and len(stored["cases"]) == 2
    for case in stored["cases"].values():
        assert {statistics.NOTEBOOK, statistics.NUMPY, statistics.COPY} <= set(case["peers"])


# --- forests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "accumulator"), [(0, "float64"), (1, "float32"), (2, "float64")])
def test_the_graph_of_a_forest_follows_nan_and_thresholds(seed, accumulator):
    import onnxruntime

    forest = random_forest(seed, n_trees=30, accumulator=accumulator)
    forest = replace(forest, node_offset=forest.node_offset, base_margin=-0.5)
    rows = random_rows(seed, 400)
    session = onnxruntime.InferenceSession(onnx_of_forest(forest), providers=["CPUExecutionProvider"])
    found = session.run(None, {INPUT: rows})[0][:, 0]
    np.testing.assert_allclose(found, TableWalk(forest).margins(rows), atol=1e-5)


@pytest.fixture(scope="module")
def small_models(tmp_path_factory):
    """Five trees of each library, trained as the large ones are."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forest_models, "SIZES", {"lgbm_5": ("lightgbm", 5), "xgb_5": ("xgboost", 5)})
        patched.setattr(forest_models, "TRAINING_ROWS", 500)
        cache = tmp_path_factory.mktemp("models")
        found = forest_models.models(cache, ["lgbm_5", "xgb_5"])
        stamps = {one.file: one.file.stat().st_mtime_ns for one in found}
        again = forest_models.models(cache, ["lgbm_5", "xgb_5"])
        assert {one.file: one.file.stat().st_mtime_ns for one in again} == stamps  # trained once
    return found


def test_rows_are_varied_and_one_in_fifty_is_missing():
    rows = forest_models.rows_of(2000, seed=1)
    assert rows.dtype == np.float32 and rows.shape == (2000, 126)
    assert np.isnan(rows).mean() == pytest.approx(0.02, abs=0.001)
    assert len(np.unique(np.nan_to_num(rows), axis=0)) == len(rows)


@pytest.mark.parametrize("number", [0, 1], ids=["lightgbm", "xgboost"])
@pytest.mark.parametrize("batch", [forest_peers.SINGLE, forest_peers.BATCH])
def test_every_peer_is_compared_with_the_library_that_trained(small_models, number, batch):
    model, rows = small_models[number], forest_models.rows_of(300, seed=3)
    found = forests.measure(model, batch, 1, rows, turns=1)
    own = "LightGBM" if number == 0 else "XGBoost DMatrix"
    assert {own, "ours, numpy", "Treelite GTIL", "ONNX Runtime"} <= set(found["peers"])
    assert set(found["peers"]) | set(found["not_measured"]) == set(forest_peers.names_for(model, batch))
    assert found["peers"][own]["equal"] and found["peers"]["ours, numpy"]["equal"]
    if forest_peers.OURS in found["peers"]:
        assert found["peers"][forest_peers.OURS]["equal"]
    assert all(one["max_difference"] < 1e-4 for one in found["peers"].values())
    assert all(reason for reason in found["not_measured"].values())
    assert ("LightGBM single row fast" in found["peers"]) is (number == 0 and batch == forest_peers.SINGLE)


@pytest.mark.parametrize("error", [ImportError("no module"), AbsentError("no module")])
def test_a_peer_that_is_not_there_is_skipped_with_the_reason(small_models, monkeypatch, error):
    def absent(model, threads):
        raise error

    monkeypatch.setitem(forest_peers.PEERS, "ONNX Runtime", absent)
    found, missing = forests.opened(small_models[0], forest_peers.BATCH, 1)
    assert "ONNX Runtime" not in found and missing["ONNX Runtime"] == "no module"


def test_two_threads_are_compared_with_one(small_models, monkeypatch):
    monkeypatch.setattr(forest_peers, "PEERS", {forest_peers.OURS: forest_peers.PEERS["ours, numpy"]})
    monkeypatch.setattr(forest_peers, "_one_thread", lambda threads: None)
    monkeypatch.setattr(forests, "PEERS", {**forest_peers.PEERS, "LightGBM": forest_peers.lightgbm})
    rows = forest_models.rows_of(50, seed=3)
    for threads, expected in ((1, {forest_peers.OURS}), (2, {forest_peers.OURS, forests.OURS_ONE_THREAD})):
        found = forests.measure(small_models[0], forest_peers.BATCH, threads, rows, turns=1)
        assert set(found["peers"]) == expected and all(one["equal"] for one in found["peers"].values())


def test_what_has_one_thread_says_so(small_models):
    _, missing = forests.opened(small_models[0], forest_peers.BATCH, 2)
    assert missing["ours, numpy"] == "works with one thread"


def test_wrong_margins_are_told():
    margins = np.array([0.5, -1.0])
    assert forests.exactness(margins, margins)["equal"]
    assert not forests.exactness(margins.astype(np.float32), margins)["equal"]
    wrong = forests.exactness(margins + np.array([0, 0.25]), margins)
    assert not wrong["equal"] and wrong["max_difference"] == 0.25


# --- encoders, frontier, start-up ------------------------------------------------------------------------------------


def test_encoders_are_compared_with_torch(monkeypatch):
    def absent(network, device):
        raise AbsentError("no compiler")

    monkeypatch.setattr(encoders, "torch_compiled", absent)
    monkeypatch.setattr(encoders, "COMPARED_PATCHES", 8)
    found = encoders.measure("small-convnet", "cpu", threads=1, turns=1)
    assert set(found) == {1, 8}
    for case in found.values():
        assert case["not_measured"][encoders.COMPILED] == "no compiler"
        assert case["peers"][encoders.EAGER]["max_logit_difference"] == 0
        assert case["peers"][encoders.OURS]["max_logit_difference"] < 1e-3
        assert case["peers"]["OpenVINO"]["max_logit_difference"] < 1e-2


@pytest.fixture(scope="module")
def small_network():
    recipe = read_encoder_recipe("small-convnet")
    patches = patches_of(recipe, 8)
    network = network_of(recipe, patches)
    return network, patches, encoders.Graphs(recipe, network)


def test_half_precision_is_near_and_not_the_same(small_network):
    """FP16 by torch and from the exported graph, on the CPU: each rounds otherwise, both near FP32."""
    network, patches, graphs = small_network
    full = encoders.torch_eager(network, "cpu")(patches)
    half = encoders.torch_eager(network, "cpu", half=True)(patches)
    with ExitStack() as opened:
        graph = graphs.at("fp16")
        assert graph.precision == "fp16" and graph.content != graphs.at("fp32").content
        exported = encoders.session_of(opened, "onnxruntime", graph, SessionOptions(threads=1))(patches)
    for found in (half, exported):
        assert found.dtype == np.float32 and found.shape == full.shape
        assert 0 < np.abs(found - full).max() < 0.05


def test_every_way_of_a_gpu_that_is_not_there_has_a_reason(small_network):
    network, _, graphs = small_network
    with ExitStack() as opened:
        ways = encoders.ways_of("cuda", network, graphs, 1, opened)
        assert {encoders.OURS, "torch eager FP16", "TensorRT FP16"} <= set(ways)
        for name in ("ONNX Runtime", "ONNX Runtime FP16", "TensorRT"):
            with pytest.raises(BackendError):
                ways[name]()


class Mean(torch.nn.Module):
    """As small as a network can be."""

    bands = ("red", "nir")

    def __init__(self):
        super().__init__()
        self.weigh = torch.nn.Linear(2, 1)

    def forward(self, patches):
        return self.weigh(patches.mean(dim=(2, 3)))[:, 0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler, importing itself
def test_turns_of_several_precisions_compile_nothing_again(monkeypatch):
    compiled, compile_it = [], torch.compile

    def counted(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(encoders.torch, "compile", lambda what, **how: compile_it(what, backend=counted, dynamic=False))
    network = Mean().eval()
    ways = [encoders.torch_compiled(network, "cpu"), encoders.torch_compiled(network, "cpu", half=True)]
    ways.append(encoders.torch_eager(network, "cpu", half=True))
    assert len(compiled) == 2 * len(encoders.BATCHES["cpu"])
    for _ in range(3):
        for batch in encoders.BATCHES["cpu"]:
            full, half, eager = (run(np.ones((batch, 2, 64, 64), np.float32)) for run in ways)
            assert np.array_equal(half, eager) and 0 < np.abs(half - full).max() < 0.01
    assert len(compiled) == 2 * len(encoders.BATCHES["cpu"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler, importing itself
@pytest.mark.parametrize("refuses", ["torch.compile itself", "the first call"])
def test_what_torch_cannot_compile_is_a_reason(small_network, monkeypatch, refuses):
    def fails(*given, **more):
        raise RuntimeError("no compiler\nlong story")

    compiled = fails if refuses == "torch.compile itself" else lambda *given, **more: fails
    monkeypatch.setattr(encoders.torch, "compile", compiled)
    with pytest.raises(AbsentError, match=r"^RuntimeError: no compiler$"):
        encoders.torch_compiled(small_network[0], "cpu")
    assert torch._dynamo.config.recompile_limit >= 3 * 3 * len(encoders.RECIPES)


def test_a_gpu_that_is_not_there_is_one_line(tmp_path):
    done = CliRunner().invoke(main, ["encoders", "--device", "cuda", "-o", str(tmp_path / "e.json")])
    assert done.exit_code == 2 and "finds no GPU; check the driver" in done.output
    assert not (tmp_path / "e.json").exists()


def test_nothing_on_the_frontier_is_beaten():
    rng = np.random.default_rng(0)
    points = {str(number): (float(us), float(f1)) for number, (us, f1) in enumerate(rng.random((60, 2)).round(1))}
    kept = frontier.frontier_of(points)

    def beats(a, b):
        return points[a] != points[b] and points[a][0] <= points[b][0] and points[a][1] >= points[b][1]

    unbeaten = {points[b] for b in points if not any(beats(a, b) for a in points)}
    assert {points[name] for name in kept} == unbeaten and len(kept) == len(unbeaten)


def test_every_configuration_of_the_reference_bundle_has_a_borrowed_accuracy():
    known = frontier.accuracies(RESULTS)
    names = {one.name for one in open_bundle(REFERENCE).manifest.configurations}
    assert names <= set(known) and frontier.NOTEBOOK in known
    assert all(0.5 < one.f1 < 1 and ".json of " in one.source for one in known.values())


def test_frontier_names_its_sources_and_draws(tmp_path, small_models, monkeypatch):
    monkeypatch.setattr(frontier, "PATCHES", 4)
    monkeypatch.setattr(frontier, "FEW", 1)
    found = frontier.measure(open_bundle(REFERENCE), small_models[0], frontier.accuracies(RESULTS), turns=1)
    points = [point for series in found["series"].values() for point in series.values()]
    assert len(points) > 16 and all(point["f1_borrowed_from"] for point in points)
    assert found["not_measured"]["networks"] == frontier.NO_NETWORK
    frontier.plot(found, "here", tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_names_on_the_frontier_stand_clear_of_each_other():
    """Five points at nearly one F1: the names are spread, each no lower than its point."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.set(xscale="log", xlim=(10, 1000), ylim=(0.6, 0.9))
    best = {f"series: {number}": (50.0 + number, 0.85 + 0.001 * number) for number in range(5)}
    frontier._draw_frontier(axes, best)
    heights = [text.get_position()[1] for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3", "4"]
    assert np.diff(heights).min() > 0.008  # of 0.3: a line of 8 points on an axis of five inches
    assert all(height > f1 for height, (_, f1) in zip(heights, best.values(), strict=True))


def test_the_first_patch_is_seen(tmp_path):
    environment = start_up.with_bytecode(tmp_path / "bytecode")
    tile = start_up.write_tile(tmp_path / "tile.tif")
    first = start_up.first_patch(REFERENCE, tile, tmp_path / "out", environment=environment)
    assert first.wall_s > 0.1
    assert first.processor_s > 0.1
    assert list((tmp_path / "bytecode").rglob("runtime/chain.*.pyc"))
    others = start_up.without_bytecode(tmp_path / "bytecode", tmp_path / "others")
    assert not list((tmp_path / "others").rglob("runtime/chain.*.pyc"))
    assert list((tmp_path / "others").rglob("click/core.*.pyc"))
    assert others["PYTHONPYCACHEPREFIX"] == str(tmp_path / "others")
