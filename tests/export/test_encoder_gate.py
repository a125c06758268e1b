"""The gate of encoders: a sound network passes, every planted fault is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from encoder_runs import CONV_RECIPE, TRAP_RECIPE, write_encoder_run
from onnx import numpy_helper

from lsd.export import encoder_gate
from lsd.export.bundle_from_runs import BundleText, bundle_from_runs
from lsd.export.encoder_gate import Gate, certify_encoders
from lsd.export.encoder_members import EncoderEvidence, GraphOptions, converted_encoder
from lsd.export.golden import golden_patches
from lsd.export.sources import sources_of
from lsd.runtime.backends.base import EncoderGraph
from lsd.runtime.chain import Chain
from lsd.runtime.errors import GateError
from lsd.runtime.manifest import EncoderMember
from lsd.runtime.parity import StageResult, require

FEW = 96
USUAL = encoder_gate.CHECKED_PATCHES


class Certified:
    """A network, exported; `check` runs the gate on few patches with some graphs replaced."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoder_gate, "CHECKED_PATCHES", FEW)
        self.run = write_encoder_run(folder / "net", TRAP_RECIPE, folds=1)
        _, hard = golden_patches([self.run.scaling])
        gate = Gate(threads=1)
        ordinary = gate.ordinary(16)
        self.record, _, self.evidence = converted_encoder(
            self.run, GraphOptions(("fp16",)), np.concatenate([hard, ordinary]), ordinary
        )
        self.gate = gate

    def check(self, evidence: EncoderEvidence | None = None) -> list[StageResult]:
        results = certify_encoders(Asking(self.record), {"net": evidence or self.evidence}, self.gate)
        require(results, "the test")
        return results

    def with_graph(self, precision: str, content: bytes) -> EncoderEvidence:
        graphs = dict(self.evidence.graphs)
        graphs[precision] = (replace(graphs[precision][0], content=content),)
        return replace(self.evidence, graphs=graphs)

    def graph(self, precision: str) -> EncoderGraph:
        return self.evidence.graphs[precision][0]


class Asking:
    """As much of a chain as the gate needs: one configuration that asks the network alone."""

    def __init__(self, record: EncoderMember) -> None:
        from lsd.runtime.calibration import Calibration
        from lsd.runtime.combination import equal
        from lsd.runtime.manifest import Configuration, Part

        parts = (Part("encoder", ("net",), (1.0,)),)
        one = Configuration("net", record.bands, parts, equal(1), Calibration("none"), 0.5, 0.5, 0.2, {})
        self.manifest = type("Manifest", (), {"configurations": (one,), "encoders": {"net": record}})
        self.forests = {}

    features = staticmethod(lambda configuration, pixels, bands: {})
    probabilities = Chain.probabilities


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Certified(tmp_path_factory.mktemp("gate"), monkeypatch)


def changed(content: bytes, name_part: str, change) -> bytes:
    """The graph with one initializer changed: the largest whose name holds `name_part`."""
    model = onnx.load_model_from_string(content)
    found = [one for one in model.graph.initializer if name_part in one.name]
    chosen = max(found, key=lambda one: int(np.prod(one.dims)))
    chosen.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(chosen).copy()), chosen.name))
    return model.SerializeToString()


def test_a_sound_network_passes(certified):
    results = certified.check()
    stages = [result.stage for result in results]
    assert any("against torch" in stage for stage in stages) and any("fp16 against fp32" in stage for stage in stages)
    precision = next(result for result in results if "probability at fp16" in result.stage)
    assert precision.values == FEW + 19 and precision.max_error > 0 and precision.cosine > 0.9999


def test_one_weight_that_differs_is_seen_at_fp32(certified):
    def change(values):
        values.flat[0] += 0.05
        return values

    with pytest.raises(GateError, match="against torch"):
        certified.check(certified.with_graph("fp32", changed(certified.graph("fp32").content, "classify", change)))


def test_one_weight_that_differs_is_seen_at_fp16(certified):
    def change(values):
        values.flat[:] = values.flat[:] * np.asarray(0.9, values.dtype)
        return values

    with pytest.raises(GateError, match="fp16 against fp32"):
        certified.check(certified.with_graph("fp16", changed(certified.graph("fp16").content, "fuse", change)))


def test_swapped_bands_are_seen(certified):
    graph = certified.graph("fp32")
    swapped = replace(graph, bands=(graph.bands[1], graph.bands[0], *graph.bands[2:]))
    evidence = replace(certified.evidence, graphs={**certified.evidence.graphs, "fp32": (swapped,)})
    with pytest.raises(GateError, match="against torch"):
        certified.check(evidence)


def test_fp32_does_not_pass_as_fp16(certified):
    with pytest.raises(GateError, match="0 % of the convolutions and matrix products of 'net' run in fp16"):
        certified.check(certified.with_graph("fp16", certified.graph("fp32").content))


def test_a_blind_network_is_refused(certified):
    def change(values):
        return values * 1e-3

    blind = changed(certified.graph("fp32").content, "classify.weight", change)
    network = certified.evidence.networks[0][0]
    weight = network.head.classify.weight
    kept = weight.detach().clone()
    weight.data.mul_(1e-3)
    try:
        with pytest.raises(GateError, match=r"spread by .* expected 1 or more"):
            certified.check(certified.with_graph("fp32", blind))
    finally:
        weight.data.copy_(kept)


def test_a_graph_that_gives_nan_is_refused(certified):
    def change(values):
        values.flat[0] = np.nan
        return values

    with pytest.raises(GateError, match="expected a finite logit"):
        certified.check(certified.with_graph("fp16", changed(certified.graph("fp16").content, "fuse", change)))


def test_nothing_is_checked_on_fewer_than_3000_patches():
    assert USUAL >= 3_000


@pytest.mark.slow
def test_a_network_that_serves_optical_and_radar_alone_is_checked_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_gate, "CHECKED_PATCHES", FEW)
    run = write_encoder_run(tmp_path / "net", CONV_RECIPE, folds=2)
    bundle, results = bundle_from_runs([run.path], BundleText("b", "d", "Apache-2.0"), gate=Gate(threads=1))
    assert [source.name for source in sources_of(run.path)] == ["imported", "optical", "sar"]
    checked = [result.stage for result in results if "probability at fp16" in result.stage]
    assert len(checked) == 3 and any("4 bands" in stage for stage in checked)
    assert len(bundle.manifest.encoders) == 1 and bundle.manifest.encoders["net"].served[1] == run.bands[:4]
