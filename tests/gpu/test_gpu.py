"""What only a GPU can show: the device seam on real memory, networks on it, and products of a run that uses it.

Without a GPU every test here skips and says so; a skip is no pass.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from encoder_bundles import encoder_bundle
from encoder_graphs import encoder_graph
from single_run import fixed, products, run_once
from tiles import L2A_NEW, optical, radar, write_band_folder

from bundles import random_bundle
from lsd.export.adversarial import simulated_patches
from lsd.runtime.backends.base import SessionOptions
from lsd.runtime.backends.onnxruntime import open_session as open_on_onnxruntime
from lsd.runtime.backends.registry import open_session
from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.chain import Chain
from lsd.runtime.devices.choose import MODULES, open_device
from lsd.runtime.encoders import EncoderOptions
from lsd.runtime.errors import BackendError
from lsd.runtime.run import RunPlan
from lsd.runtime.scoring import ScoringOptions
from lsd.runtime.sigmoid import sigmoid
from lsd.runtime.stream.events import TileEnded

pytestmark = pytest.mark.gpu
OPTICAL = of_modality("optical")
ON_GPU = EncoderOptions("onnxruntime", "fp32", 8, SessionOptions(provider="cuda"))


@pytest.fixture(params=MODULES)
def device(request):
    """The first GPU by each binding."""
    try:
        opened = open_device(request.param)
    except BackendError as error:
        pytest.skip(f"no GPU through {request.param}: {error}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def cuda():
    """ONNX Runtime's CUDA provider works here."""
    graph = encoder_graph("fp32", 1, OPTICAL)
    try:
        open_session("onnxruntime", graph, ON_GPU.session).close()
    except BackendError as error:
        pytest.skip(f"no CUDA provider of ONNX Runtime: {error}")


def test_a_round_trip_through_device_memory(device):
    values = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    with device.current():
        stream, there, back = device.stream(), device.pinned(values.shape), device.pinned(values.shape)
        memory = device.allocate(values.nbytes)
        there.array[:], back.array[:] = values, 0
        device.copy_in(memory, there, stream)
        device.copy_out(back, memory, stream)
        device.wait(stream)
        np.testing.assert_array_equal(back.array, values)
        device.free(memory, back, there, stream)


def test_facts_and_times(device):
    with device.current():
        facts = device.properties()
        assert facts.name and facts.compute_capability.startswith("sm") and facts.total_memory_mb > 500
        stream, start, end = device.stream(), device.event(), device.event()
        source, memory = device.pinned((1 << 24,), np.uint8), device.allocate(1 << 24)
        device.record(start, stream)
        for _ in range(20):
            device.copy_in(memory, source, stream)
        device.record(end, stream)
        elapsed_ms = device.elapsed_ms(start, end)
        assert 0.5 < elapsed_ms < 10_000  # 335 MB; no bus takes less
        device.free(memory, source, end, start, stream)


def test_captured_copies_are_replayed(device):
    with device.current():
        stream, there, back = device.stream(), device.pinned((100,)), device.pinned((100,))
        memory = device.allocate(400)

        def work():
            device.copy_in(memory, there, stream)
            device.copy_out(back, memory, stream)

        try:
            graph = device.capture(stream, work)
        except BackendError as error:
            assert device.name == "pycuda" and "knows no CUDA graphs" in str(error)
            return
        for value in (1.0, 2.0):
            there.array[:], back.array[:] = value, 0
            device.launch(graph, stream)
            device.wait(stream)
            np.testing.assert_array_equal(back.array, np.full(100, value, np.float32))
        device.free(graph, memory, back, there, stream)


def test_two_streams_are_apart_and_threads_may_share_the_device(device):
    results = {}

    def work(number):
        with device.current():
            stream, there, back = device.stream(), device.pinned((1 << 20,)), device.pinned((1 << 20,))
            memory = device.allocate(4 << 20)
            for turn in range(10):
                there.array[:] = number + turn
                device.copy_in(memory, there, stream)
                device.copy_out(back, memory, stream)
                device.wait(stream)
                results[number, turn] = bool((back.array == number + turn).all())
            device.free(memory, back, there, stream)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(results) == 30 and all(results.values())


def test_what_the_gpu_refuses_is_one_line(device):
    with device.current(), pytest.raises(BackendError, match=r"CUDA: .*[mM]emory"):
        device.allocate(1 << 50)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_network_gives_what_the_cpu_gives(cuda, precision):
    graph = encoder_graph(precision, 1, OPTICAL)
    patches = np.ascontiguousarray(simulated_patches(64, 3)[:, [BAND_NAMES.index(band) for band in OPTICAL]])
    reference = open_session("onnxruntime", encoder_graph("fp32", 1, OPTICAL), SessionOptions()).run(patches)
    session = open_session("onnxruntime", graph, ON_GPU.session)
    assert session.describe()["device"] == "cuda"
    found = np.concatenate([session.run(patches[at : at + 8]) for at in range(0, 64, 8)])
    turned = np.concatenate([session.run(np.ascontiguousarray(patches[::-1][at : at + 8])) for at in range(0, 64, 8)])
    assert np.abs(sigmoid(found) - sigmoid(reference)).max() <= (1e-4 if precision == "fp32" else 0.005)
    np.testing.assert_array_equal(found, turned[::-1])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_captured_calls_give_the_same_bits(cuda, precision):
    graph = encoder_graph(precision, 1, OPTICAL)
    patches = np.ascontiguousarray(simulated_patches(24, 3)[:, [BAND_NAMES.index(band) for band in OPTICAL]])
    captured = open_on_onnxruntime(graph, ON_GPU.session)
    plain = open_on_onnxruntime(graph, ON_GPU.session, cuda_graph=False)
    for at, n in ((0, 8), (8, 8), (16, 8), (0, 1), (3, 1), (5, 19), (0, 8)):
        some = patches[at : at + n]
        np.testing.assert_array_equal(captured.run(some), plain.run(some))
    assert (captured.describe()["cuda_graph"], plain.describe()["cuda_graph"]) == ("yes", "no")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Four tiles of 12 bands, 200 x 330 px, with a hole."""
    source = tmp_path_factory.mktemp("tiles")
    for number in range(4):
        folder = source / L2A_NEW.replace("T33", f"T3{number + 3}")
        dn = optical(200, 330, seed=number)
        dn[:, 20:60, 90:140] = 0
        write_band_folder(folder, dict(zip(("B04", "B03", "B02", "B08"), dn, strict=True)))
        names = [band for band in BAND_NAMES if band not in OPTICAL]
        for place in range(0, len(names), 2):
            pair = dict(zip(names[place : place + 2], radar(200, 330, seed=10 * number + place), strict=True))
            write_band_folder(folder, pair, nodata=0)
    return source


def score(sources, out, encoders, **options):
    """Products of a run with half of the patches undecided, and p of each patch."""
    bundle = encoder_bundle(random_bundle())
    margins = _first_margins(bundle)
    low, high = (float(value) for value in np.quantile(sigmoid(margins), (0.25, 0.75)))
    chain = Chain(bundle, encoders=encoders, exits=(low, high))
    told = run_once(sources, out, fixed(bundle, chain), RunPlan(scoring=ScoringOptions(**options)))
    results = [event.result for event in told if isinstance(event, TileEnded)]
    assert results and all(result.status == "done" for result in results), results
    return products(out)


def _first_margins(bundle):
    chain = Chain(bundle, opened={})
    one = chain.manifest.configurations[0]
    rows = chain.features(one, simulated_patches(60, 5), BAND_NAMES)
    return np.mean([chain.forests[member].margins(values) for member, values in rows.items()], axis=0)


def test_products_do_not_depend_on_batches_windows_or_the_order_of_tiles(cuda, tiles, tmp_path):
    every = sorted(tiles.iterdir())
    plain = score(every, tmp_path / "plain", ON_GPU)
    assert score(every[::-1], tmp_path / "turned", ON_GPU).keys() == plain.keys()
    for name, options in {"windows": {"window_columns": 2, "batch_size": 3}, "waiting": {"waiting": 8}}.items():
        assert score(every, tmp_path / name, ON_GPU, **options) == plain
    turned = {key: value for key, value in score(every[::-1], tmp_path / "again", ON_GPU).items() if "/" in key}
    assert turned == {key: value for key, value in plain.items() if "/" in key}


def test_products_are_those_of_the_cpu_within_1e_4(cuda, tiles, tmp_path):
    import rasterio

    every = sorted(tiles.iterdir())
    score(every, tmp_path / "gpu", ON_GPU)
    score(every, tmp_path / "cpu", EncoderOptions("onnxruntime", "fp32", 8, SessionOptions()))
    rasters = sorted((tmp_path / "gpu").rglob("*scores.tif"))
    assert len(rasters) == 4
    for path in rasters:
        with rasterio.open(path) as one, rasterio.open(tmp_path / "cpu" / path.relative_to(tmp_path / "gpu")) as other:
            np.testing.assert_allclose(one.read(1), other.read(1), rtol=0, atol=1e-4)
