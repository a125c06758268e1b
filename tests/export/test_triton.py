"""Model repositories: against Triton's published schema, and asked by a stand-in for its server; none was run here."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import files, invoke
from encoder_bundles import EXTERNAL, OPTICAL, encoder_bundle
from encoder_graphs import encoder_graph
from triton_server import Request, Server, Tensor, parameters

from bundles import random_bundle, write
from lsd.export.adversarial import simulated_patches
from lsd.export.cli.triton import triton
from lsd.export.triton import chain_model
from lsd.export.triton.config import chain_config
from lsd.export.triton.repository import MARKER, RepositoryOptions, write_repository
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.bundle import open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.encoders import EncoderOptions
from lsd.runtime.engine_file import PROVEN, UNPROVEN, write_engine
from lsd.runtime.engine_key import EngineKey
from lsd.runtime.errors import BackendError, BundleHashError, UsageError
from lsd.runtime.patches import PatchBatch

MODELS = ["slides", "slides_net_0", "slides_net_1", "slides_wide_0"]
TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}


@pytest.fixture(scope="module")
def forests(tmp_path_factory):
    return open_bundle(write(random_bundle(), tmp_path_factory.mktemp("bundle") / "forests"))


@pytest.fixture(scope="module")
def bundle(forests, tmp_path_factory):
    return open_bundle(write(encoder_bundle(forests), tmp_path_factory.mktemp("bundle") / "networks"))


def made(folder: Path, bundle, **options) -> Path:
    folder.mkdir()
    write_repository(folder, bundle, RepositoryOptions("slides", **options))
    return folder


def patches() -> np.ndarray:
    """Clear patches, some without radar, one of which nothing can be said."""
    pixels = simulated_patches(11, 5)
    pixels[:, BAND_NAMES.index("blue")] = np.minimum(pixels[:, BAND_NAMES.index("blue")], 1500)
    pixels[1::3, BAND_NAMES.index("asc_vh")] = np.nan
    pixels[2, BAND_NAMES.index("red")] = np.nan
    pixels[3, :, :4] = np.nan
    return pixels


def ask(model, *pixels: np.ndarray):
    return model.execute([Request([Tensor("patches", one)]) for one in pixels])


def outputs(response) -> dict[str, np.ndarray]:
    assert not response.has_error(), response.error().message()
    return {tensor.name: tensor.as_numpy() for tensor in response.output_tensors}


def expected(bundle, pixels: np.ndarray, **options) -> dict[str, np.ndarray]:
    """What the runtime's own chain answers."""
    place = np.arange(len(pixels))
    scores = Chain(bundle, encoders=EncoderOptions(**options)).score(PatchBatch(pixels, BAND_NAMES, place * 0, place))
    return {name: getattr(scores, name) for name in chain_model.OUTPUTS}


# --- the schema -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema():
    """`model_config_pb2` of tritonclient, loaded alone: the package around it wants grpcio, of no use here."""
    package = pytest.importorskip("tritonclient", reason="tritonclient, which holds Triton's published schema")
    path = Path(package.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(schema, config: Path):
    from google.protobuf import text_format

    return text_format.Parse(config.read_text(encoding="utf-8"), schema.ModelConfig())


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_config_is_of_the_schema_and_fits_its_graph(bundle, schema, tmp_path, device):
    repository = made(tmp_path / "models", bundle, device=device, max_batch_size=4)
    assert sorted(path.parent.name for path in repository.glob("*/config.pbtxt")) == MODELS
    for name in MODELS[1:]:
        config = parsed(schema, repository / name / "config.pbtxt")
        graph = onnx.load(repository / name / "1" / "model.onnx").graph
        assert (config.name, config.backend, config.max_batch_size) == (name, "onnxruntime", 4)
        (taken,), (given,) = config.input, config.output
        batch, *dims = graph.input[0].type.tensor_type.shape.dim
        assert (taken.name, list(taken.dims)) == (graph.input[0].name, [dim.dim_value for dim in dims])
        assert batch.dim_param  # any number of patches
        assert (given.name, list(given.dims)) == (graph.output[0].name, [1])
        assert given.HasField("reshape") and list(given.reshape.shape) == []
        for ends, tensor in ((graph.input[0], taken), (graph.output[0], given)):
            kind = onnx.helper.tensor_dtype_to_np_dtype(ends.type.tensor_type.elem_type)
            assert tensor.data_type == schema.DataType.Value(TYPES[str(kind)])
        (group,) = config.instance_group
        assert (group.count, group.kind) == (1, schema.ModelInstanceGroup.Kind.Value(f"KIND_{device.upper()}"))
        assert list(config.dynamic_batching.preferred_batch_size) == [4]
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert [dict(one.parameters) for one in accelerators] == ([{"use_tf32": "0"}] if device == "gpu" else [])
        bands = config.parameters["bands"].string_value.split(",")
        assert len(bands) == taken.dims[0] and tuple(bands) in (OPTICAL, BAND_NAMES)


def test_the_config_of_the_chain_is_of_the_schema(bundle, schema, tmp_path):
    path = made(tmp_path / "models", bundle) / "slides" / "config.pbtxt"
    config = parsed(schema, path)
    assert (config.name, config.backend, config.max_batch_size) == ("slides", "python", 0)
    (taken,) = config.input
    assert (taken.name, list(taken.dims)) == ("patches", [-1, 12, 64, 64])
    scores = expected(bundle, patches())
    assert {one.name: (one.data_type, list(one.dims)) for one in config.output} == {
        name: (schema.DataType.Value(TYPES[str(array.dtype)]), [-1]) for name, array in scores.items()
    }
    assert [group.kind for group in config.instance_group] == [schema.ModelInstanceGroup.Kind.Value("KIND_CPU")]
    stated = {key: value.string_value for key, value in config.parameters.items()}
    assert stated == parameters(path)  # the stand-in reads what Triton would
    assert (stated["bundle_sha256"], stated["bands"]) == (bundle.sha256, ",".join(BAND_NAMES))
    assert json.loads(stated["encoders"]) == {"net": MODELS[1:3], "wide": MODELS[3:]}


def test_text_is_escaped(schema):
    from google.protobuf import text_format

    strange = 'a "b" \\ c\nd ä'
    config = text_format.Parse(chain_config("x", OPTICAL, {"key": strange}), schema.ModelConfig())
    assert config.parameters["key"].string_value == strange


# --- what lies in a repository ----------------------------------------------------------------------------------------


def test_graphs_lie_in_it_once_and_the_bundle_keeps_its_hash(bundle, tmp_path):
    repository = made(tmp_path / "models", bundle, precision="fp32")
    held = files(repository)
    assert held["slides_net_1/1/model.onnx"] == bundle.graphs("net", "fp32")[1].content
    assert held[f"slides_wide_0/1/{EXTERNAL}"] == bundle.graphs("wide", "fp32")[0].external[EXTERNAL]
    assert held["slides/1/model.py"] == Path(chain_model.__file__).read_bytes()
    assert not [name for name in held if name.startswith("slides/1/bundle/encoders")]
    assert open_bundle(repository / "slides/1/bundle", without_encoders=True).sha256 == bundle.sha256
    document = json.loads(held[MARKER])
    assert (document["bundle_sha256"], document["bands"]) == (bundle.sha256, list(BAND_NAMES))
    served = {one["name"]: one["sha256"] for listed in document["encoders"].values() for one in listed}
    assert served["slides_net_1"] == bundle.graphs("net", "fp32")[1].sha256


def test_the_same_bundle_gives_the_same_bytes(bundle, tmp_path):
    assert files(made(tmp_path / "a", bundle)) == files(made(tmp_path / "b", bundle))


def test_the_chains_model_needs_the_runtime_only():
    imported = re.findall(r"^(?:from|import) (lsd\.\w+|\w+)", Path(chain_model.__file__).read_text(), re.MULTILINE)
    assert set(imported) == {"__future__", "json", "collections", "pathlib", "typing", "numpy", "lsd.runtime"}


# --- what the chain answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "most"), [("fp32", 8), ("fp32", 3), ("fp16", 8)])
def test_answers_are_those_of_the_runtime_bit_for_bit(bundle, tmp_path, monkeypatch, precision, most):
    server = Server(made(tmp_path / "models", bundle, precision=precision, max_batch_size=most))
    model = server.load("slides", monkeypatch)
    pixels = patches()
    wanted = expected(bundle, pixels, precision=precision, batch_size=most)
    assert {0, 1, 2} == set(wanted["configuration"].tolist())
    for response, part in zip(ask(model, pixels, pixels[3:5]), (slice(None), slice(3, 5)), strict=True):
        found = outputs(response)
        assert list(found) == list(wanted)
        for name, array in found.items():
            assert array.dtype == wanted[name].dtype
            np.testing.assert_array_equal(array, wanted[name][part], err_msg=name)
    assert {model for model, _ in server.asked} == set(MODELS[1:])
    assert {n for _, n in server.asked} == {most}  # never joined with another request, nor answered in another shape


def test_a_bundle_without_networks_gives_the_chain_alone(forests, tmp_path, monkeypatch):
    server = Server(made(tmp_path / "models", forests))
    assert [path.name for path in server.repository.iterdir() if path.is_dir()] == ["slides"]
    found = outputs(ask(server.load("slides", monkeypatch), patches())[0])
    for name, array in expected(forests, patches()).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert server.asked == []


def test_nothing_is_answered_where_the_golden_patches_come_out_otherwise(bundle, tmp_path, monkeypatch):
    server = Server(made(tmp_path / "models", bundle))
    (server.repository / "slides_net_0/1/model.onnx").write_bytes(encoder_graph("fp32", 9, OPTICAL).content)
    model = server.load("slides", monkeypatch)
    (first,) = ask(model, patches())
    assert "stages differ from the reference" in first.error().message() and first.output_tensors == []
    asked = len(server.asked)
    assert ask(model, patches())[0].has_error() and len(server.asked) == asked  # for good


def test_a_network_that_is_not_ready_is_an_error_until_it_is(bundle, tmp_path, monkeypatch):
    server = Server(made(tmp_path / "models", bundle))
    model = server.load("slides", monkeypatch)
    server.down.add("slides_wide_0")
    assert "model 'slides_wide_0' of this server failed" in ask(model, patches())[0].error().message()
    server.down.clear()
    assert not ask(model, patches())[0].has_error()
    server.down.add("slides_net_0")
    assert ask(model, patches())[0].has_error()


def test_patches_of_other_bands_are_an_error_of_that_request_alone(bundle, tmp_path, monkeypatch):
    model = Server(made(tmp_path / "models", bundle)).load("slides", monkeypatch)
    wrong, right = ask(model, patches()[:, :4], patches())
    assert "expected patches float32 (n, 12, 64, 64)" in wrong.error().message()
    assert not right.has_error()


def test_a_bundle_that_is_not_the_one_stated_is_refused(bundle, tmp_path, monkeypatch):
    repository = made(tmp_path / "models", bundle)
    config = repository / "slides" / "config.pbtxt"
    config.write_text(config.read_text().replace(bundle.sha256, "0" * 64))
    with pytest.raises(BundleHashError, match=r"config\.pbtxt states 000000000000\.\.\."):
        Server(repository).load("slides", monkeypatch)


# --- TensorRT plans ---------------------------------------------------------------------------------------------------


def write_plans(folder: Path, bundle, precision="fp16", state=PROVEN, **changed) -> list[Path]:
    """A made-up plan for every graph."""
    folder.mkdir(exist_ok=True)
    written = []
    for member in bundle.manifest.encoders:
        for fold, graph in enumerate(bundle.graphs(member, precision)):
            facts = {"flavour": "tensorrt", "version": "10.3.0", "compute_capability": "sm87", "profile": (1, 8, 32)}
            key = EngineKey(**{**facts, **changed}, precision=precision, source_sha256=graph.sha256)
            written.append(folder / key.file_name(f"{member}.{fold}"))
            report = {"schema_version": 1, "state": state}
            write_engine(written[-1], f"plan of {member} {fold}".encode(), report)
    return written


def plans(folder: Path, **options) -> dict:
    return {"precision": "fp16", "device": "gpu", "plans": folder, **options}


def test_plans_are_served_in_place_of_graphs(bundle, schema, tmp_path):
    write_plans(tmp_path / "engines", bundle)
    repository = made(tmp_path / "models", bundle, **plans(tmp_path / "engines"))
    config = parsed(schema, repository / "slides_net_1" / "config.pbtxt")
    assert (config.backend, config.max_batch_size, len(config.optimization.ListFields())) == ("tensorrt", 8, 0)
    assert (repository / "slides_net_1/1/model.plan").read_bytes() == b"plan of net 1"
    assert not list(repository.rglob("*.onnx"))
    assert json.loads((repository / MARKER).read_text())["engines"] == "TensorRT 10.3.0 on sm87"


@pytest.mark.parametrize(
    ("changed", "options", "reason"),
    [
        ({"flavour": "tensorrt-rtx", "version": "1.7.1.116"}, {}, "which Triton does not serve"),
        ({"profile": (1, 4, 4)}, {}, "takes 1 to 4 patches, expected 1 to 8"),
        ({"profile": (8, 8, 8)}, {}, "takes 8 to 8 patches, expected 1 to 8"),
        ({"state": UNPROVEN}, {}, "was not inspected on a GPU yet"),
        ({"precision": "fp32"}, {}, r"expected a TensorRT engine in .*, found none"),
    ],
)
def test_plans_that_triton_could_not_serve_are_refused(bundle, tmp_path, changed, options, reason):
    write_plans(tmp_path / "engines", bundle, **changed)
    with pytest.raises(BackendError, match=reason):
        made(tmp_path / "models", bundle, **plans(tmp_path / "engines", **options))


def test_plans_that_leave_a_choice_are_refused(bundle, tmp_path):
    write_plans(tmp_path / "engines", bundle)
    write_plans(tmp_path / "engines", bundle, compute_capability="sm90")
    with pytest.raises(UsageError, match="several engines"):
        made(tmp_path / "a", bundle, **plans(tmp_path / "engines"))
    for path in (tmp_path / "engines").glob("net*sm87*.plan"):
        path.unlink()
    for path in (tmp_path / "engines").glob("wide*sm90*.plan"):
        path.unlink()
    with pytest.raises(UsageError, match=r"TensorRT 10\.3\.0 on sm87 and for TensorRT 10\.3\.0 on sm90"):
        made(tmp_path / "b", bundle, **plans(tmp_path / "engines"))


def test_a_changed_plan_is_refused(bundle, tmp_path):
    write_plans(tmp_path / "engines", bundle)[0].write_bytes(b"another")
    with pytest.raises(BundleHashError, match="was changed since it was built"):
        made(tmp_path / "models", bundle, **plans(tmp_path / "engines"))


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_repository_whole_or_not_at_all(bundle, tmp_path):
    out = tmp_path / "models"
    done = invoke(triton, bundle.path, "-o", out)
    assert done.code == 0 and "random-networks_wide_0: onnxruntime, fp32, encoders/wide.0.onnx" in done.out
    assert "PASSED" in done.err.splitlines()[-1] and "4 models" in done.err
    before = files(out)
    assert "--overwrite" in invoke(triton, bundle.path, "-o", out).error
    failed = invoke(triton, bundle.path, "-o", out, "--overwrite", "--precision", "int8")
    assert failed.code == 2 and "not in int8" in failed.error
    assert files(out) == before and [path.name for path in tmp_path.iterdir()] == ["models"]
    again = invoke(triton, bundle.path, "-o", out, "--overwrite", "--name", "slides", "--json")
    assert json.loads(again.out) == json.loads((out / MARKER).read_text())
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == MODELS


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--name", "a/b"], "cannot name a model"),
        (["--max-batch-size", "0"], "must be 1 or more"),
        (["--plans", "engines"], "give --device gpu"),
        (["--plans", "engines", "--device", "gpu"], "engines is no folder"),
        (["--precision", "bf16"], "does not compute in bf16"),
    ],
)
def test_wrong_use_is_one_line(bundle, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    done = invoke(triton, bundle.path, "-o", tmp_path / "models", *arguments)
    assert done.code == 2 and reason in done.error
    assert not (tmp_path / "models").exists()


def test_plans_for_a_bundle_without_networks_are_refused(forests, tmp_path):
    with pytest.raises(UsageError, match="holds no network"):
        made(tmp_path / "models", forests, **plans(tmp_path))
