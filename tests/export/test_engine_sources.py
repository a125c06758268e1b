"""What an engine may be asked for, and where its graphs come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from commands import invoke
from typed_graphs import BANDS, graph

from bundles import random_bundle, write
from lsd.export.cli.engine import engine
from lsd.export.engines.request import EngineRequest
from lsd.export.engines.sources import graphs_of
from lsd.runtime.errors import BundleError, UsageError

REQUEST = EngineRequest("tiny", b"graph", "fp16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": (0, 8, 32)}, "batch sizes must rise"),
        ({"batch": (8, 1, 32)}, "batch sizes must rise"),
        ({"memory_limit_mb": 0}, "at least 1 MiB"),
    ],
)
def test_a_request_that_makes_no_sense(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(REQUEST, **changes)


def test_external_data_never_leaves_the_folder():
    with pytest.raises(BundleError, match="leaves the folder"):
        replace(REQUEST, external={"../weights": b""})


def test_an_onnx_file_is_one_graph(tmp_path):
    path = tmp_path / "all-net.0.fp16.onnx"
    path.write_bytes(graph("fp16"))
    ((name, found),) = graphs_of(path)
    assert name == "all-net.0" and found.bands == tuple(BANDS.split(",")) and found.precision == "fp16"


def test_sources_that_hold_no_graph(tmp_path):
    with pytest.raises(UsageError, match="holds no encoders"):
        graphs_of(write(random_bundle(), tmp_path / "bundle"))
    with pytest.raises(UsageError, match="there is no bundle"):
        graphs_of(tmp_path / "absent")
    (tmp_path / "x.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(BundleError, match="is not an ONNX file"):
        graphs_of(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(graph("fp16", claims="fp64"))
    with pytest.raises(BundleError, match="expected metadata lsd_bands and lsd_precision"):
        graphs_of(tmp_path / "x.onnx")


def test_a_precision_that_is_not_there_and_a_wrong_batch_are_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(graph("fp16"))
    done = invoke(engine, tmp_path / "x.onnx", "--precision", "fp32")
    assert done.code == 2 and "holds no fp32 graph (found: fp16)" in done.error
    done = invoke(engine, tmp_path / "x.onnx", "--batch", "8")
    assert done.code == 2 and "expected three numbers as in 1,8,32" in done.err
