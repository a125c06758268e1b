"""Plans are really built, by TensorRT-RTX, which needs no GPU for it. Nothing here runs one."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
from commands import invoke
from typed_graphs import graph

from lsd.export.cli.engine import engine
from lsd.export.engines import build as build_module
from lsd.export.engines import inspect as inspect_module
from lsd.export.engines.build import build_engine
from lsd.export.engines.child import build_plan
from lsd.export.engines.inspect import inspect_plan, layers_of_network
from lsd.export.engines.report import expected_s
from lsd.export.engines.request import EngineRequest, request_from_file
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary, find_library
from lsd.runtime.engine_file import read_plan, report_path, write_engine
from lsd.runtime.engine_key import key_from_file_name
from lsd.runtime.engine_layers import EngineLayer, shares
from lsd.runtime.errors import BackendError, BundleError, GateError


def request(precision="fp16", **changes):
    return EngineRequest(**{"name": "tiny", "onnx": graph(precision), "precision": precision, **changes})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Listener:
    def __init__(self):
        self.phases, self.steps, self.go_on = [], 0, True

    def phase(self, name, steps):
        self.phases.append(name)

    def step(self, name):
        self.steps += 1
        return self.go_on


@pytest.fixture(scope="module")
def library():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx")
    found = find_library()
    if found.flavour != "tensorrt-rtx":
        pytest.skip(f"{found.title} comes first here, and builds for a GPU")
    return found


@pytest.fixture
def in_process(library, tmp_path, monkeypatch):
    """Callable: what the child does, in this process and as without a GPU: (plan, result, log, listener)."""
    monkeypatch.setattr(inspect_module, "compute_capability", lambda: None)

    def built(asked, content, **changes):
        (tmp_path / "graph.onnx").write_bytes(content)
        wanted = EngineRequest("tiny", tmp_path / "graph.onnx", asked, **changes)
        log, listener = LibraryLog(), Listener()
        return *build_plan(wanted, library, log, listener), log, listener

    return built


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_plan_is_built_in_each_precision_and_its_layers_are_known(in_process, precision):
    plan, result, _, listener = in_process(precision, graph(precision))
    assert plan[:4] == b"vtrt"
    assert result["shares"] == {precision: 1.0} and result["evidence"] == "builder listing"
    assert {"correlation", "gemm"} <= {layer["kind"] for layer in result["layers"]}
    assert "Building engine" in listener.phases and listener.steps > 10
    assert result["timing_cache"].startswith("none") and result["seconds"] > 0


def test_without_a_gpu_nothing_is_proven(in_process):
    _, result, _, _ = in_process("fp16", graph("fp16"))
    assert result["state"] == "unproven" and result["reason"].startswith("no GPU here")


@pytest.mark.parametrize(
    ("asked", "computes"), [("fp16", "fp32"), ("fp32", "fp16"), ("bf16", "fp16"), ("int8", "fp16")]
)
def test_a_graph_of_another_precision_is_refused_before_the_build(in_process, monkeypatch, asked, computes):
    monkeypatch.setattr(TensorRTLibrary, "configure", lambda *_: pytest.fail("went on to build"))
    with pytest.raises(GateError, match=f"asked for {asked}, found 100% {computes}"):
        in_process(asked, graph(computes))


def test_a_quantised_graph_counts_as_int8(library, tmp_path):
    builder = library.module.Builder(library.logger(LibraryLog()))
    network = library.network(builder)
    parser = library.module.OnnxParser(network, library.logger(LibraryLog()))
    assert parser.parse(graph("fp32", quantised=True)), library.parse_errors(parser)
    assert shares(layers_of_network(network)) == {"int8": 0.5, "fp32": 0.5}  # the head is not quantised


def test_an_operator_that_is_unknown_is_one_line_with_its_node(in_process):
    with pytest.raises(BackendError, match=r"cannot parse the graph, node 'stem' \(Frobnicate\): ") as caught:
        in_process("fp16", graph("fp16", op="Frobnicate"))
    assert "\n" not in str(caught.value)
    with pytest.raises(BackendError, match="cannot parse the graph"):
        in_process("fp16", b"garbage")


def test_a_graph_that_is_no_encoder_is_refused(in_process):
    with pytest.raises(BundleError, match=r"expected input patches float32 .* found .*'probability'"):
        in_process("fp16", graph("fp16", output="probability"))


def test_a_build_that_is_stopped_is_an_error(library, tmp_path):
    (tmp_path / "graph.onnx").write_bytes(graph("fp16"))
    listener = Listener()
    listener.go_on = False
    with pytest.raises(BackendError, match="cannot build it"):
        build_plan(EngineRequest("tiny", tmp_path / "graph.onnx", "fp16"), library, LibraryLog(), listener)


def test_a_memory_limit_is_taken(in_process):
    plan, _, _, _ = in_process("fp16", graph("fp16"), memory_limit_mb=64)
    assert plan


# --- what a GPU would show, with a library that plays one ------------------------------------------------------------


class Loaded:
    """A library that loads any plan and has this to say about its layers."""

    title = "TensorRT 10.3.0"

    def __init__(self, precision, error=None):
        layer = {"Name": "stem", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": precision}]}
        self.information, self.error = json.dumps({"Layers": [layer]}), error

    def load(self, plan, log, version_compatible=False):
        if self.error:
            raise BackendError(self.error)
        return "engine"

    def layer_information(self, engine):
        return self.information


NETWORK = [EngineLayer("stem", "CONVOLUTION", "fp16")]


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(inspect_module, "compute_capability", lambda: "sm87")


def test_an_engine_is_proven_by_its_layers_on_a_gpu(with_gpu):
    found = inspect_plan(Loaded("Half"), b"plan", NETWORK, LibraryLog(), "fp16", "tiny")
    assert (found.state, found.evidence) == ("proven", "inspector")


def test_an_engine_that_lost_the_precision_of_its_network_fails(with_gpu):
    with pytest.raises(GateError, match="found 100% fp32"):
        inspect_plan(Loaded("Float"), b"plan", NETWORK, LibraryLog(), "fp16", "tiny")


def test_an_engine_that_a_gpu_refuses_is_an_error_and_not_unproven(with_gpu):
    with pytest.raises(BackendError, match="capability nine"):
        inspect_plan(Loaded("Half", "capability nine"), b"plan", NETWORK, LibraryLog(), "fp16", "tiny")


def test_an_inspector_without_types_proves_nothing(with_gpu):
    found = inspect_plan(Loaded("N/A due to dynamic shapes"), b"plan", NETWORK, LibraryLog(), "fp16", "tiny")
    assert (found.state, found.evidence) == ("unproven", "network") and found.reason


def test_a_listing_of_another_precision_than_the_network_fails(monkeypatch):
    monkeypatch.setattr(inspect_module, "compute_capability", lambda: None)
    log = LibraryLog()
    log.keep("VERBOSE", "Layers:\nName: a, LayerType: gemm, Inputs: [ { Name: x, Datatype: Float }]")
    with pytest.raises(GateError, match="found 100% fp32"):
        inspect_plan(Loaded("Half", "no driver"), b"plan", NETWORK, log, "fp16", "tiny")


# --- in a child process ----------------------------------------------------------------------------------------------


def test_an_engine_from_end_to_end(library, tmp_path):
    said = []
    made = build_engine(request(), tmp_path, say=said.append)
    assert names(tmp_path) == [made.plan.name, report_path(made.plan).name]
    name, key = key_from_file_name(made.plan.name)
    assert (name, key.flavour, key.compute_capability, key.profile) == ("tiny", "tensorrt-rtx", "any", (1, 8, 32))
    assert key.version == library.version and "expected duration: unknown" in said[0]
    assert not made.reused and read_plan(made.plan)[:4] == b"vtrt"
    before = made.plan.stat().st_mtime_ns

    again = build_engine(request(), tmp_path, say=said.append)
    assert again.reused and again.document == made.document and "reused" in said[-1]
    assert made.plan.stat().st_mtime_ns == before

    assert expected_s(tmp_path, "tiny", "tensorrt-rtx", "fp16") == made.document["seconds"]
    assert expected_s(tmp_path, "tiny", "tensorrt", "fp16") is None
    made.plan.write_bytes(b"damaged")
    assert not build_engine(request(), tmp_path, say=said.append).reused
    assert any("not reused" in line and "was changed" in line for line in said)
    assert "expected duration: about" in said[-1]


def test_the_command(library, tmp_path):
    source = tmp_path / "all-net.0.fp16.onnx"
    source.write_bytes(graph("fp16"))
    done = invoke(engine, source, "--json", "--progress", "json", "--batch", "1,4,16")
    assert done.code == 0, done.err
    (report,) = json.loads(done.out)
    assert report["plan"].startswith(str(tmp_path / "engines" / "all-net.0.tensorrt-rtx-"))
    assert report["key"]["profile"] == [1, 4, 16]
    progress = [json.loads(line) for line in done.err.splitlines() if line.startswith('{"event"')]
    assert progress[-1]["complete"] and progress[-1]["done"] > 10 and "all-net.0: " in progress[-1]["note"]
    verdict = done.err.splitlines()[-1]
    assert verdict.startswith("PASSED") if report["state"] == "proven" else verdict.startswith("UNPROVEN")
    done = invoke(engine, source, "--batch", "1,4,16")
    assert done.code == 0 and "reused" in done.out and "100% fp16" in done.out

    source.write_bytes(graph("fp32", claims="fp16"))
    done = invoke(engine, source, "--output", tmp_path / "posing")
    assert done.code == 3 and "asked for fp16, found 100% fp32" in done.error
    assert names(tmp_path / "posing") == []


@pytest.fixture
def found(monkeypatch):
    """A library is found without being there."""
    fake = TensorRTLibrary(SimpleNamespace(BuilderFlag=SimpleNamespace()), "tensorrt-rtx", "1.7.1.116")
    monkeypatch.setattr(build_module, "find_library", lambda: fake)


def child(code):
    return [sys.executable, "-c", f"import os, signal, sys; {code}"]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_crash_is_one_line_with_signal_log_and_a_command_that_repeats_it(found, tmp_path, name):
    command = child(f"print('ERROR out of luck', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.{name})")
    with pytest.raises(BackendError) as caught:
        build_engine(request(), tmp_path, command=command)
    text = str(caught.value)
    assert f"the builder died ({name}" in text and "ERROR out of luck" in text and "\n" not in text
    assert ("--memory-limit-mb" in text) is (name == "SIGKILL")
    (kept,) = tmp_path.iterdir()
    assert kept.name.endswith(".plan.crashed")
    assert names(kept) == ["builder.log", "command.txt", "graph.onnx", "request.json"]
    again = shlex.split((kept / "command.txt").read_text())
    assert again == [*command, str(kept / "request.json")] and shlex.join(again) in text
    assert subprocess.run(again, check=False, capture_output=True).returncode < 0
    repeated = request_from_file(kept / "request.json")
    assert repeated.content() == request().content() and repeated.batch == (1, 8, 32)


def test_a_child_that_ends_without_a_result_has_crashed_too(found, tmp_path):
    with pytest.raises(BackendError, match=r"the builder died \(exit code 7\); its last lines: none"):
        build_engine(request(), tmp_path, command=child("sys.exit(7)"))


def test_what_the_child_refuses_leaves_nothing(found, tmp_path):
    write = "open(os.path.join(os.path.dirname(sys.argv[1]), 'result.json'), 'w').write"
    command = child(f"""{write}('{{"error": "GateError", "message": "no fp16"}}'); sys.exit(3)""")
    with pytest.raises(GateError, match="no fp16"):
        build_engine(request(), tmp_path, command=command)
    assert names(tmp_path) == []


def test_another_memory_limit_is_another_plan(found, tmp_path):
    fake = build_module.find_library()
    key = build_module._key_of(request(), fake, hashlib.sha256(request().content()).hexdigest())
    plan = tmp_path / key.file_name("tiny")
    write_engine(plan, b"plan", {"schema_version": 1, "options": {"memory_limit_mb": None}, "state": "unproven"})
    assert build_engine(request(), tmp_path, command=child("sys.exit(7)")).reused
    said = []
    with pytest.raises(BackendError, match="exit code 7"):
        build_engine(request(memory_limit_mb=64), tmp_path, say=said.append, command=child("sys.exit(7)"))
    assert "not reused" in said[0] and read_plan(plan) == b"plan"


def test_full_tensorrt_is_keyed_by_gpu_and_keeps_timings(monkeypatch, tmp_path):
    module = SimpleNamespace(
        BuilderFlag=SimpleNamespace(VERSION_COMPATIBLE=1), HardwareCompatibilityLevel=0, ITimingCache=0
    )
    fake = TensorRTLibrary(module, "tensorrt", "10.3.0")
    monkeypatch.setattr(build_module, "find_library", lambda: fake)
    monkeypatch.setattr("lsd.runtime.backends.tensorrt_library.compute_capability", lambda: "sm87")
    for changes, expected in (
        ({}, "tiny.tensorrt-10.3.0.sm87.fp16"),
        ({"version_compatible": True, "hardware_compatible": True}, "tiny.tensorrt-10.3.0+.sm80+.fp16"),
    ):
        with pytest.raises(BackendError, match="exit code 7"):
            build_engine(request(**changes), tmp_path, command=child("sys.exit(7)"))
        (kept,) = (path for path in tmp_path.iterdir() if path.name.startswith(expected))
        cache = request_from_file(kept / "request.json").timing_cache
        gpu = "sm80+" if changes else "sm87"
        assert cache == tmp_path.resolve() / f"timings.tensorrt-10.3.0.{gpu}.cache"
